#!/usr/bin/env python3
"""python3 tests/serve/throughput.py BIN [MODEL TOKENIZER]: tokens a second through qnt-serve, beside qnt-generate and the engine's own batches.

BIN: the folder of qnt-serve, qnt-generate and qnt-bench-gpt2. MODEL: the shipped one, or one by qnt-bench-gpt2 --make with a tokenizer of 50257
tokens. Needs the machine for itself: one round of each kind after the other, medians of the rounds."""

import contextlib
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from client import MODEL, ROOT, Server, exchange

binaries = sys.argv[1]
is_shipped = len(sys.argv) == 2
together = tempfile.TemporaryDirectory()  # a model and a tokenizer from elsewhere, in one folder
model = str(MODEL) if is_shipped else together.name
for folder in sys.argv[2:4]:
    for file in pathlib.Path(folder).resolve().iterdir():
        if file.name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
            os.symlink(file, f"{model}/{file.name}")
TOKENS, ROUNDS = (128, 5) if is_shipped else (64, 3)
PROMPT = "The old house stood at the end of the road, and"
REQUEST = {"prompt": PROMPT, "max_new_tokens": TOKENS, "temperature": 0}


def ask(connection, tokens):
    status, j, _ = exchange(connection, "POST", "/generate", REQUEST)
    assert status == 200, j
    tokens.append(j["tokens_generated"])
    return j


def clients(server, n, each):
    """Tokens a second of n clients that ask one after the other."""
    tokens = []

    def run():
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)) as c:
            for _ in range(each):
                ask(c, tokens)

    threads = [threading.Thread(target=run) for _ in range(n)]
    begin = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sum(tokens) / (time.monotonic() - begin)


def program(name, *arguments):
    return json.loads(subprocess.run([f"{binaries}/{name}", *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()[-1])


def generate():
    """One text by qnt-generate: its own times of prompt and steps, loading left out."""
    j = program("qnt-generate", "--model", model, "--prompt", PROMPT, "-n", str(TOKENS), "--json")
    return len(j["ids"]) / (len(j["prompt_ids"]) / j["prefill_tok_s"] + (len(j["ids"]) - 1) / j["decode_tok_s"])


def engine(batch):
    threads = str(len(os.sched_getaffinity(0)))
    j = program("qnt-bench-gpt2", "--model", model, "--formats", "int8_channel", "--threads", threads, "--batch", str(batch), "--prompt", "12", "--decode", str(TOKENS - 1),
                "--reps", "3")
    # of whole texts: prompts too
    return batch * TOKENS / (batch * 12 / j["prefill_tok_s"] + batch * (TOKENS - 1) / j["decode_tok_s"])


with Server(f"{binaries}/qnt-serve", "--model", model) as s:
    memory = s.rss_mb()
    clients(s, 16, 1)  # warm
    rounds = {"one client": [], "sixteen clients": [], "qnt-generate": [], "engine, one": [], "engine, sixteen": []}
    for i in range(ROUNDS):
        rounds["one client"].append(clients(s, 1, 10 if is_shipped else 3))
        rounds["sixteen clients"].append(clients(s, 16, 5 if is_shipped else 2))
        rounds["qnt-generate"].append(generate())
        if i == ROUNDS // 2:
            rounds["engine, one"].append(engine(1))
            rounds["engine, sixteen"].append(engine(16))
    rate = {k: statistics.median(v) for k, v in rounds.items() if v}
    for name, value in rate.items():
        print(f"{name}: {value:.0f} tokens/s")
    print(f"sixteen / one: {rate['sixteen clients'] / rate['one client']:.2f} (wanted {1.3 if is_shipped else 3})")
    print(f"sixteen / the engine's: {rate['sixteen clients'] / rate['engine, sixteen']:.2f} (wanted 0.7)")
    print(f"one / qnt-generate: {rate['one client'] / rate['qnt-generate']:.2f} (wanted 0.9)")
    print(f"ready after {1000 * s.ready_s:.0f} ms, {memory:.0f} MB resident, {s.rss_mb():.0f} MB afterwards")
