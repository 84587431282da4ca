#!/usr/bin/env python3
"""python3 tests/hostile/files.py BIN CASES: runs the tools in BIN on every file and command line of CASES/manifest.json.

Each file goes through `qnt-inspect --verify`, whose verdict must be the one expected, and where it can be a model through qnt-generate and
qnt-quantize, to each kind of output. Wrong is: a crash, a finding of a sanitizer, a hang, peak memory beyond 512 MB (sanitizers: twice that),
a refusal that is not one line on standard error, one of qnt-inspect that does not name what is at fault, raw control bytes, an output of
qnt-quantize left behind by a refusal. Prints each wrong run and the counts; exit 1 if there was one."""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/models/qnt-gpt2-5m"
SANITIZER = ("runtime error:", "ERROR: AddressSanitizer", "LeakSanitizer", "terminate called", "Assertion", "double free", "stack smashing")
SLOW = 6  # times the seconds that a case may take: sanitizers
MODELS = ("safetensors", "gguf", "model_dir", "config", "vocab", "merges")
OUTPUTS = ("qnt", "gguf", "safetensors")


def run(command, seconds):
    """The exit code (a signal is negative, past `seconds` it is SIGKILL), standard output, standard error, peak memory in MB."""
    environment = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_maxrss / 1024


def what_is_wrong(case, judged, code, out, err, peak, most):
    """Of one run; "" if nothing. judged: the case says how this run must end."""
    text = (out + err).decode("utf-8", "replace")
    if code == -signal.SIGKILL:
        return "hang"
    if not 0 <= code <= 125:
        return f"crash: exit {code}"
    if found := [s for s in SANITIZER if s in text]:
        return f"sanitizer: {found[0]}"
    if peak > most:
        return f"peak memory {peak:.0f} MB"
    if code and err.count(b"\n") != 1:
        return "the refusal is not one line"
    if any(b < 32 and b not in b"\t\n" or b == 127 for b in out + err):
        return "raw control bytes"
    if not judged:
        return ""
    if case["expect"] == "ok" and code:
        return "refused"
    if case["expect"] == "error" and not code:
        return "accepted"
    if case["expect"] == "error" and "must_mention" in case and not any(w.lower() in text.lower() for w in case["must_mention"]):
        return f"names none of {case['must_mention']}"
    return next((f"says {w!r}" for w in case.get("must_not", []) if w in text), "")


def runs_of(case, programs, cases, outputs):
    """(tool, command, whether the case says how it must end) for each run."""
    if case["kind"] == "cli":
        names = {"{tool}": programs / "qnt-generate", "{quantize}": programs / "qnt-quantize", "{serve}": programs / "qnt-serve",
                 "{model}": MODEL, "{model_file}": MODEL / "model.safetensors"}
        command = [str(names.get(word, word)) for word in case["argv"]]
        command = [word.encode().decode("unicode_escape").encode("latin-1") if word.startswith("\\x") else word for word in command]
        if case["argv"][0] == "{quantize}":
            command += ["--format", "int8"]
        yield case["argv"][0].strip("{}"), command, True
        return
    path = str(cases / case["file"])
    yield "inspect", [programs / "qnt-inspect", "--verify", path], True
    if case["kind"] in MODELS:
        yield "generate", [programs / "qnt-generate", "--model", path, "--prompt", "a", "-n", "2", "--threads", "1"], False
        for kind in OUTPUTS:
            yield f"quantize to {kind}", [programs / "qnt-quantize", path, outputs / f"out.{kind}", "--format", "f32", "--threads", "1"], False


def main():
    programs, cases = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    sanitized = b"__asan_init" in (programs / "qnt-inspect").read_bytes()
    counts, wrong = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        outputs = pathlib.Path(folder)
        for case in json.loads((cases / "manifest.json").read_text())["cases"]:
            if case["kind"] == "http":  # tests/serve/load_test.py has these
                continue
            for tool, command, judged in runs_of(case, programs, cases, outputs):
                code, out, err, peak = run(command, case.get("max_seconds", 10) * SLOW)
                problem = what_is_wrong(case, judged, code, out, err, peak, 1024 if sanitized else 512)
                left = [f.name for f in outputs.iterdir()]
                if not problem and code and left:
                    problem = f"left behind: {left}"
                for f in outputs.iterdir():
                    f.unlink()
                counts[tool] += 1
                if problem:
                    wrong += 1
                    print(f"WRONG: {tool}: {case['file']} ({case['why']}): {problem}: {err.decode('utf-8', 'replace')[-300:].strip()}", flush=True)
    print(f"hostile files: {sum(counts.values())} runs ({', '.join(f'{n} {tool}' for tool, n in counts.items())}), {wrong} wrong")
    return 1 if wrong else 0


sys.exit(main())
