#!/usr/bin/env python3
"""report_gpt2.py FOLDER MODELS [--threads 1,2] [--rounds 3] [--qnt MODEL]: GPT-2 of qnt and of other engines side by side in one run.

FOLDER holds a driver bench_e2e.py; `bench_e2e.py one PEER FORMAT THREADS MODELS REPS` prints a JSON line as qnt-bench-gpt2 does. MODEL is
what `qnt-bench-gpt2 --make MODEL` wrote. Each round runs every engine once, in turn, so that a machine that becomes slower does so for all;
the table has the median over the rounds. Nothing else may run meanwhile. Rows: build/report/gpt2.jsonl, table: build/report/gpt2.md.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

BENCH = os.path.join("build", "release", "bin", "qnt-bench-gpt2")
PEERS = ["llama.cpp q8_0", "llama.cpp q4_0", "llama.cpp q4_k_m", "llama.cpp f16", "ctranslate2 int8", "onnxruntime int8", "torch dyn_int8"]
FORMATS = ["int8_channel", "int8:32", "int4:32", "nf4:64", "f16", "f32"]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not rows:
        print(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("models")
    p.add_argument("--qnt", required=True, metavar="MODEL")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--peers", default=",".join(PEERS))
    p.add_argument("--formats", default=",".join(FORMATS))
    p.add_argument("--prompt", default="128")
    p.add_argument("--decode", default="128")
    a = p.parse_args()

    rows = []
    for round_ in range(a.rounds):
        for threads in a.threads.split(","):
            jobs = [[BENCH, "--model", a.qnt, "--formats", f, "--threads", threads, "--prompt", a.prompt, "--decode", a.decode, "--reps", "3"] for f in a.formats.split(",")]
            jobs += [[sys.executable, os.path.join(a.folder, "bench_e2e.py"), "one", *peer.split(" "), threads, a.models, "3"] for peer in a.peers.split(",")]
            for job in jobs:
                for row in run(job):
                    rows.append({**row, "round": round_})
                    print(f"round {round_}: {row['peer']} {row['format']} {threads} threads: prefill {row['prefill_tok_s']:.0f}, decode {row['decode_tok_s']:.1f} tokens/s, "
                          f"others used {row['other_cpu']:.2f} cores", flush=True)
    os.makedirs(os.path.join("build", "report"), exist_ok=True)
    with open(os.path.join("build", "report", "gpt2.jsonl"), "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)

    table = ["| engine | format | threads | prefill tokens/s | decode tokens/s | of the limit | peak RSS MB |", "|---|---|---|---|---|---|---|"]
    for key in dict.fromkeys((r["threads"], r["peer"], r["format"]) for r in sorted(rows, key=lambda r: r["threads"])):
        mine = [r for r in rows if (r["threads"], r["peer"], r["format"]) == key]
        mid = lambda field: statistics.median(r[field] for r in mine)
        limit = f"{mid('decode_of_limit'):.2f}" if "decode_of_limit" in mine[0] else ""
        table.append(f"| {key[1]} | {key[2]} | {key[0]} | {mid('prefill_tok_s'):.0f} | {mid('decode_tok_s'):.1f} | {limit} | {mid('peak_rss_mb'):.0f} |")
    text = "\n".join(table) + "\n"
    with open(os.path.join("build", "report", "gpt2.md"), "w") as out:
        out.write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
