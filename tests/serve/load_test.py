#!/usr/bin/env python3
"""python3 tests/serve/load_test.py PROGRAM [--quick] [--only WORD...]: what qnt-serve must stand, on loopback, a server of its own for each check.

--quick: fewer and shorter, for builds with sanitizers (times are not judged there). Each check is a line "ok", "FAILED" or "skipped"."""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from client import MODEL, ROOT, HealthWatch, Server, Skipped, events, exchange, read_answer, run_checks

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("program")
arguments.add_argument("--quick", action="store_true")
arguments.add_argument("--only", nargs="*")
options = arguments.parse_args()
quick = options.quick
MIB = 1 << 20
PROMPTS = ["The old house", "In the first years of the century", "A small ship left", "Water is", "She opened the letter and read", "x", "Ünïcödé 😀", "1 2 3 4"]


shared = None  # quick: one server for all checks that do not need their own, because sanitizers start slowly


@contextlib.contextmanager
def serve(*extra, fresh=False, **kinds):
    global shared
    if quick and not (extra or kinds or fresh):
        shared = shared or Server(options.program, "--deadline", "600")
        yield shared
    else:
        with Server(options.program, *extra, **kinds) as s:
            yield s


def in_parallel(n, call):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(call, range(n)))


def ends_well(server, note):
    """Every check ends with SIGTERM and exit 0, so that sanitizers can tell what they found; the shared server ends at last."""
    code = server.process.poll() or 0 if server is shared else server.stop()[0]
    found = [line for line in server.errors if "Sanitizer" in line or "runtime error" in line]
    assert code == 0 and not found, f"exit {code}: {''.join(server.errors)[-2000:]}"
    return note


def start():
    times = []
    for _ in range(0 if quick else 3):
        with serve() as s:
            times.append(s.ready_s)
            ends_well(s, "")
    with serve() as s:
        ready = min(times + [s.ready_s])  # on a machine that is busy, the processor's time counts
        assert s.request("GET", "/ready")[0] == 200
        assert quick or ready < 1 or s.cpu_s() < 1, f"{ready:.2f} s until ready, {s.cpu_s():.2f} s of a processor"
        listening = []
        for table in "tcp", "tcp6":
            for line in open(f"/proc/{s.process.pid}/net/{table}").readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == s.port:
                    listening.append(fields[1].rsplit(":", 1)[0])
        assert listening == ["0100007F"], listening
        note = f"ready after {1000 * ready:.0f} ms, {s.rss_mb():.0f} MB resident, 127.0.0.1 only"
        return ends_well(s, note)


def endpoints():
    with serve() as s:
        assert s.request("GET", "/health")[1] == {"status": "ok"}
        facts = s.request("GET", "/metadata")[1]
        for side, name, dtype in ("quantized", "qnt-gpt2-5m", "int8"), ("baseline", "qnt-gpt2-5m-baseline", "f32"):
            assert facts[side]["name"] == name and facts[side]["dtype"] == dtype, facts[side]
            assert facts[side]["size_bytes"] > 1e6 and facts[side]["n_params"] == 5387776, facts[side]
        assert facts["limits"]["body_bytes"] == MIB and facts["limits"]["queue"] == 32 and facts["isa"] and facts["threads"] >= 1
        for path in "/generate", "/generate/baseline":
            status, j, _ = s.request("POST", path, {"prompt": "Water is", "max_new_tokens": 5})
            assert status == 200 and set(j) >= {"prompt", "completion", "tokens_generated", "total_time_ms", "tokens_per_second", "finish_reason", "model"}, j
            assert j["tokens_generated"] == 5 and j["finish_reason"] == "length" and j["prompt"] == "Water is"
            assert j["model"]["quantized"] == (path == "/generate") and j["model"]["size_bytes"] == facts["quantized" if j["model"]["quantized"] else "baseline"]["size_bytes"]
        status, j, _ = s.request("POST", "/generate", {"prompt": ["Water is", "x"], "max_new_tokens": 3})
        assert status == 200 and [r["prompt"] for r in j["results"]] == ["Water is", "x"] and j["tokens_generated"] == 6
        status, document, _ = s.request("GET", "/openapi.json")
        assert document["openapi"].startswith("3.") and document["info"]["version"] == facts["version"]
        for path, methods in document["paths"].items():  # what is described is there
            for method in methods:
                status = s.request(method.upper(), path.replace("{model}", "qnt-gpt2-5m"), b'{"max_new_tokens": 1}' if method == "post" else None)[0]
                assert status in (200, 400), (path, status)
        status, page, headers = s.request("GET", "/")
        assert status == 200 and page.startswith("<!doctype html>") and "default-src 'none'" in headers["Content-Security-Policy"]
        assert not [w for w in ('src="http', "src='http", "@import", "url(") if w in page]
        assert s.metric("qnt_generated_tokens_total", 'model="quantized"') >= 11 and s.metric("qnt_requests_total", "/generate\",status=\"200") == 2
        assert s.request("HEAD", "/health")[:2] == (200, "")
        status, _, headers = s.request("POST", "/health", {})
        return ends_well(s, f"{len(document['paths'])} paths")


def one_text_for_one_seed():
    with serve() as s:
        request = {"prompt": PROMPTS[0], "max_new_tokens": 24, "seed": 7, "temperature": 0.9}
        alone = [s.request("POST", "/generate", request)[1]["completion"] for _ in range(3)]
        others = random.Random(1)

        def one(i):
            if i % 2:
                return s.request("POST", "/generate", {"prompt": others.choice(PROMPTS), "max_new_tokens": 30, "seed": i})[1] and None
            return s.request("POST", "/generate", request)[1]["completion"]

        beside = [t for t in in_parallel(16, one) if t is not None]
        array = s.request("POST", "/generate", {**request, "prompt": [PROMPTS[1], PROMPTS[0], PROMPTS[3]]})[1]["results"][1]["completion"]
        assert len(set(alone + beside + [array])) == 1, set(alone + beside + [array])
        different = s.request("POST", "/generate", {**request, "seed": 8})[1]["completion"]
        assert different != alone[0]
        program = os.path.join(os.path.dirname(options.program), "qnt-generate")
        if os.path.exists(program):  # the same as without a server
            out = subprocess.run([program, "--prompt", PROMPTS[0], "-n", "24", "--seed", "7", "--temperature", "0.9", "--top-k", "40", "--json"],
                                 capture_output=True, text=True, cwd=ROOT, check=True)
            assert json.loads(out.stdout)["text"] == alone[0]
        return ends_well(s, f"{len(alone + beside) + 1} times {alone[0]!r}")


def streams():
    with serve() as s:
        request = {"prompt": "Ünïcödé 😀 ", "max_new_tokens": 60, "seed": 3, "temperature": 1.5, "top_k": 0}
        whole = s.request("POST", "/generate", request)[1]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", s.port, timeout=300)) as c:
            c.request("POST", "/generate", json.dumps({**request, "stream": True}))
            r = c.getresponse()
            assert r.getheader("Content-Type") == "text/event-stream"
            all_events = list(events(r))
            text = "".join(json.loads(d)["text"] for n, d in all_events if n == "message")
            name, done = all_events[-1]
            assert name == "done" and json.loads(done)["completion"] == text == whole["completion"], (text, whole["completion"])
            # the connection goes on
            c.request("POST", "/generate", json.dumps({**request, "prompt": ["a", "b"], "stream": True, "max_new_tokens": 5}))
            parts = {0: "", 1: ""}
            for n, d in events(c.getresponse()):
                j = json.loads(d)
                if n == "message":
                    parts[j["index"]] += j["text"]
            assert [r["completion"] for r in j["results"]] == [parts[0], parts[1]]
        # a stop string, wherever tokens end
        greedy = {"prompt": "The old house stood at the end of the road, and", "max_new_tokens": 40, "temperature": 0}
        full = s.request("POST", "/generate", greedy)[1]["completion"]
        for stop in full[5:12], full[9:20], full[0:2]:
            j = s.request("POST", "/generate", {**greedy, "stop": ["\x00never", stop]})[1]
            assert j["completion"] == full[: full.find(stop)] and j["finish_reason"] == "stop", (stop, j["completion"])
            assert j["tokens_generated"] < 40 or full.find(stop) > 0
        return ends_well(s, f"{len(all_events)} events, {len(text)} characters")


BAD = [  # body, a word of the message
    (b"", "empty"), (b"hello", "JSON"), (b"[]", "object"), (b"null", "object"), (b'{"prompt":"a"}{}', "end"), (b'{"prompt":"a"', "JSON"), (b"\xef\xbb\xbf{}", "JSON"),
    ({}, "prompt"), ({"prompt": 5}, "prompt"), ({"prompt": None}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": ["a"]}, "prompt"), ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": ["a"] * 17}, "prompt"), ({"prompt": {"a": 1}}, "prompt"), ({"prompt": "word " * 20000}, "context"), ({"prompt": "word " * 700}, "context"),
    (b'{"prompt":"a\xff"}', "prompt"), (b'{"prompt":"\\ud800"}', "surrogate"), (b'{"prompt":"\\udc00x"}', "surrogate"), (b'{"prompt":"a\nb"}', "prompt"),
    (b'{"prompt":"a","prompt":"b"}', "twice"), ({"prompt": "a", "temprature": 1}, "temprature"), (b'{"prompt":"a","x":' + b"[" * 100000, "x"),
    (b'{"prompt":' + b"[" * 100000, "prompt"), (b"[" * 100000, "object"), (b'{"prompt":' + b'{"a":' * 70 + b"1" + b"}" * 71, "prompt"),
]
for key, values in {
    "max_new_tokens": ["0", "-1", "1e9", "1000000000", '"5"', "1.5", "2.0", "null", "true", "NaN", "1e999", "[]", "18446744073709551616", "-0"],
    "temperature": ["-1", "-0.001", '"hot"', "NaN", "Infinity", "-Infinity", "1e999", "1e400", "1e300", "null", "[1]", "01", "+1", ".5", "1.", "0x1", "1e-999"],
    "top_p": ["0", "-1", "1.5", "NaN", "null", '"1"', "1e999", "-1e999", "{}", "0e0"],
    "top_k": ["-5", "1.5", "2147483648", "null", '"1"', "1e3", "true"],
    "seed": ["-1", "1.5", '"1"', "null", "18446744073709551616", "1e3", "NaN"],
    "stop": ["null", "5", '""', '["a", ""]', "[5]", "{}", json.dumps(["a"] * 17), json.dumps("a" * 257)],
    "stream": ["1", "null", '"true"', "tru"],
}.items():
    BAD += [(f'{{"prompt":"a","{key}":{v}}}'.encode(), key) for v in values]
GOOD = ['"temperature":0', '"temperature":1e-300', '"temperature":100', '"top_k":0', '"top_k":2147483647', '"top_p":1e-300', '"top_p":1', '"seed":18446744073709551615',
        '"stop":"\\u0000"', '"stop":[]', '"stream":false', '"max_new_tokens":1', '"temperature":0.0001,"top_p":0.999999999999']


def validation():
    with serve() as s:
        for body, word in BAD:
            for path in ("/generate", "/generate/baseline") if body else ("/generate",):
                status, j, _ = s.request("POST", path, body)
                assert status == 400, (body[:80] if isinstance(body, bytes) else body, status, j)
                assert word in j["error"]["message"], (body[:80] if isinstance(body, bytes) else body, j)
                assert word not in ("max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "stream") or j["error"]["param"] == word, j
        for good in GOOD:
            status, j, _ = s.request("POST", "/generate", '{"prompt":"a",' + ('' if "max_new" in good else '"max_new_tokens":2,') + good + "}")
            assert status == 200, (good, j)
        status, j, _ = s.request("POST", "/generate", {"prompt": "word " * 400, "max_new_tokens": 200})
        assert status == 200 and j["finish_reason"] in ("context", "length"), j
        for body in b"{", b"[]", {"dataset": "../../../etc/passwd"}, {"prompts": []}, {"prompts": [""]}, {"max_new_tokens": 0}, {"max_new_tokens": 257}, {"prompts": "a"}:
            assert s.request("POST", "/evaluate", body)[0] == 400, body
        for body, field in [({"prompt": "a", "logprobs": 1}, "logprobs"), ({"prompt": "a", "n": 17}, "n"), ({"prompt": ["a"] * 9, "n": 2}, "n"), ({"prompt": [1, "a"]}, "prompt"),
                            ({"prompt": [99999]}, "prompt"), ({"prompt": [[1], 2]}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": "a", "suffix": "b"}, "suffix"),
                            ({"prompt": "a", "best_of": 2}, "best_of"), ({"prompt": "a", "presence_penalty": 1}, "presence_penalty"),
                            ({"prompt": "a", "logit_bias": {"50256": -100}}, "logit_bias"), ({"max_tokens": 1}, "prompt")]:
            status, j, _ = s.request("POST", "/v1/completions", body)
            assert status == 400 and j["error"]["param"] == field, (body, j)
        assert s.request("POST", "/v1/completions", {"prompt": "a", "model": "gpt-4"})[0] == 404
        assert s.request("POST", "/generate", {"prompt": "a"}, headers={"Origin": "https://example.com"})[0] == 403
        assert s.request("POST", "/generate", {"prompt": "a", "max_new_tokens": 1}, headers={"Origin": f"http://127.0.0.1:{s.port}"})[0] == 200
        s.health()
        return ends_well(s, f"{len(BAD)} refused, {len(GOOD)} accepted")


def head(*lines, host=True):
    return ("\r\n".join((lines[0], *(["Host: x"] if host else []), *lines[1:])) + "\r\n\r\n").encode()


BODY = b'{"prompt":"Hello","max_new_tokens":2}'
POST = "POST /generate HTTP/1.1"
RAW = [  # name, bytes, statuses that are right
    ("plain", head(POST, f"Content-Length: {len(BODY)}", "Connection: close") + BODY, {200}),
    ("http 1.0", head("GET /health HTTP/1.0", host=False), {200}),
    ("absolute", head("GET http://example.invalid/health HTTP/1.1", "Connection: close"), {200}),
    ("query", head("GET /health?a=b HTTP/1.1", "Connection: close"), {200}),
    ("leading lines", b"\r\n\r\n" + head("GET /health HTTP/1.1", "Connection: close"), {200}),
    ("chunks", head(POST, "Transfer-Encoding: chunked", "Connection: close") + b"25;ext=1\r\n" + BODY + b"\r\n0\r\nTrailer: x\r\n\r\n", {200}),
    ("expect", head(POST, f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close") + BODY, {200}),
    ("percent crlf", head("GET /health HTTP/1.1", "X: a%0d%0aSet-Cookie: x=1", "Connection: close"), {200}),
    ("lengths that agree", head(POST, f"Content-Length: {len(BODY)}", f"Content-Length: {len(BODY)}", "Connection: close") + BODY, {200, 400}),
    ("expect other", head(POST, f"Content-Length: {len(BODY)}", "Expect: tea") + BODY, {417}),
    ("two lengths", head(POST, f"Content-Length: {len(BODY)}", "Content-Length: 1") + BODY, {400}),
    ("length and chunks", head(POST, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", {400}),
    ("chunks and length", head(POST, "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n", {400}),
    ("gzip chunks", head(POST, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", {501}),
    ("identity coding", head(POST, "Transfer-Encoding: identity"), {501}),
    ("chunk size", head(POST, "Transfer-Encoding: chunked") + b"ZZ\r\nabc\r\n", {400}),
    ("chunk of 2^64", head(POST, "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFF\r\nabc\r\n", {400, 413}),
    ("chunk beyond 2^64", head(POST, "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFF\r\nabc\r\n", {400}),
    ("chunk beyond the limit", head(POST, "Transfer-Encoding: chunked") + b"100001\r\nabc", {413}),
    ("endless chunk line", head(POST, "Transfer-Encoding: chunked") + b"1;" + b"x" * 70000, {400, 431}),
    ("small chunks", head(POST, "Transfer-Encoding: chunked", "Connection: close") + b"1\r\nx\r\n" * 20000 + b"0\r\n\r\n", {400}),
    ("no length", head(POST, "Connection: close") + BODY, {400}),
    ("bad length", head(POST, "Content-Length: abc"), {400}),
    ("negative length", head(POST, "Content-Length: -1"), {400}),
    ("huge length", head(POST, "Content-Length: 99999999999999999999999"), {400}),
    ("a terabyte", head(POST, "Content-Length: 1000000000000"), {413}),
    ("cut body", head(POST, "Content-Length: 100") + BODY, {400}),
    ("gzip", head(POST, "Content-Length: 5", "Content-Encoding: gzip") + b"xxxxx", {415}),
    ("multipart", head(POST, "Content-Length: 5", "Content-Type: multipart/form-data; boundary=x", "Connection: close") + b"--x--", {400}),
    ("101 headers", head("GET /health HTTP/1.1", *[f"X-{i}: y" for i in range(101)]), {431}),
    ("long header", head("GET /health HTTP/1.1", "X: " + "y" * 9000), {431}),
    ("long URI", head("GET /health?" + "a" * 9000 + " HTTP/1.1"), {414}),
    ("header without end", b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100000, {431}),
    ("blank in a name", head("GET /health HTTP/1.1", "Bad Header: x"), {400}),
    ("NUL in a header", head("GET /health HTTP/1.1", "X: a\0b"), {400}),
    ("no host", head("GET /health HTTP/1.1", host=False), {400}),
    ("two hosts", head("GET /health HTTP/1.1", "Host: y"), {400}),
    ("version 9.9", head("GET /health HTTP/9.9"), {505}),
    ("version 2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    ("version 0.9", b"GET /health\r\n\r\n", {400, 505}),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), {400}),
    ("noise", bytes(random.Random(5).randbytes(4000)), {400}),
    ("unknown method", head("FOO /generate HTTP/1.1", "Content-Length: 0", "Connection: close"), {405}),
    ("wrong method", head("GET /generate HTTP/1.1", "Connection: close"), {405}),
    ("unknown path", head("GET /nope HTTP/1.1", "Connection: close"), {404}),
    ("traversal", head("GET /../../etc/passwd HTTP/1.1", "Connection: close"), {404}),
    ("NUL in the path", head("GET /health%00 HTTP/1.1", "Connection: close"), {404}),
    ("upgrade", head("GET /health HTTP/1.1", "Upgrade: websocket", "Connection: close"), {200}),
]


def protocol():
    with serve() as s:
        for name, data, right in RAW:
            for half_closes in True, False:
                if not half_closes and name == "cut body":
                    continue
                with s.connect(20) as c:
                    begin = time.monotonic()
                    with contextlib.suppress(OSError):
                        c.sendall(data)
                        if half_closes:
                            c.shutdown(socket.SHUT_WR)
                    status, body = read_answer(c)
                    assert status in right, (name, half_closes, status, body[:300])
                    assert status < 400 or json.loads(body)["error"]["message"], (name, body)
                    assert b"Set-Cookie" not in body and b"root:" not in body
                    assert quick or time.monotonic() - begin < 5, f"{name}: {time.monotonic() - begin:.1f} s"
        with s.connect() as c:  # six at once, answered in their order
            c.sendall(b"".join(head("GET /health HTTP/1.1", *(["Connection: close"] if i == 5 else [])) for i in range(6)))
            data = b""
            while part := c.recv(65536):
                data += part
            assert data.count(b"HTTP/1.1 200") == 6, data
        with s.connect() as c:  # a byte at a time, and split anywhere
            for byte in head(POST, f"Content-Length: {len(BODY)}", "Connection: close") + BODY:
                c.sendall(bytes([byte]))
            assert read_answer(c)[0] == 200
        s.health()
        return ends_well(s, f"{len(RAW)} requests, each with and without closing its side")


def hostile_cases():
    archive = ROOT / "../shared/hostile/cases.tar.gz"
    if not archive.exists():
        raise Skipped("the set of hostile requests is not here")
    with serve() as s, tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)
        base = os.path.join(folder, "cases")
        cases = [c for c in json.load(open(os.path.join(base, "manifest.json")))["cases"] if c["kind"] == "http"]
        for case in cases:
            for half_closes in True, False:
                begin = time.monotonic()
                with s.connect(case.get("max_seconds", 10) * (5 if quick else 1)) as c:
                    with contextlib.suppress(OSError):
                        c.sendall(open(os.path.join(base, case["file"]), "rb").read())
                        if half_closes:
                            c.shutdown(socket.SHUT_WR)
                    status, body = read_answer(c)
                about = (case["file"], half_closes, status, body[:200])
                assert status is not None, about
                assert quick or time.monotonic() - begin < case.get("max_seconds", 10), about
                assert status < 500 or status in (501, 503, 505), about
                assert case["expect"] == "any" or (status < 400) == (case["expect"] == "ok"), about
                assert case["expect"] == "any" or "status" not in case or status in case["status"], about
                if status >= 400:
                    message = json.loads(body)["error"]["message"].lower()
                    assert not case.get("must_mention") or any(w.lower() in message for w in case["must_mention"]), about
                assert not [w for w in case.get("must_not", []) if w.encode() in body], about
                s.health()
        return ends_well(s, f"{len(cases)} requests, each with and without closing its side")


def load():
    clients, each = 16, 8 if quick else 200
    with serve() as s:
        requests = [{"prompt": p, "max_new_tokens": 16, "seed": i} for i, p in enumerate(PROMPTS)]
        right = [[s.request("POST", path, r)[1]["completion"] for r in requests] for path in ("/generate", "/generate/baseline")]
        counts, tokens, waits = {}, 0, []

        def one(client):
            nonlocal tokens
            choose = random.Random(client)
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", s.port, timeout=300)) as c:
                for _ in range(each):
                    i, side = choose.randrange(len(requests)), choose.random() < 0.25
                    begin = time.monotonic()
                    status, j, _ = exchange(c, "POST", "/generate/baseline" if side else "/generate", requests[i])
                    waits.append(time.monotonic() - begin)
                    counts[status] = counts.get(status, 0) + 1
                    if status == 200:
                        assert j["completion"] == right[side][i] and j["prompt"] == requests[i]["prompt"], "an answer to another request"
                        tokens += j["tokens_generated"]

        begin = time.monotonic()
        with HealthWatch(s) as health:
            in_parallel(clients, one)
        seconds = time.monotonic() - begin
        assert set(counts) <= {200, 429, 503} and counts[200] >= 0.9 * clients * each, counts
        note = health.check(10 if quick else 2)
        waits.sort()
        return ends_well(s, f"{counts}, {tokens / seconds:.0f} tokens/s, p99 {1000 * waits[int(len(waits) * 0.99)]:.0f} ms; {note}")


def keep_alive():
    with serve() as s, contextlib.closing(http.client.HTTPConnection("127.0.0.1", s.port)) as c:
        times = []
        for _ in range(30 if quick else 300):
            begin = time.monotonic()
            assert exchange(c, "POST", "/generate", {"prompt": "x", "max_new_tokens": 1})[0] == 200
            times.append(1000 * (time.monotonic() - begin))
        times.sort()
        p50 = times[len(times) // 2]
        assert quick or p50 < 20, f"p50 {p50:.1f} ms"
        return ends_well(s, f"{len(times)} requests on one connection, p50 {p50:.2f} ms, p99 {times[int(len(times) * 0.99)]:.2f} ms")


def soak():
    warm, many = (50, 200) if quick else (1000, 10000)
    with serve() as s:
        def some(n, client):
            choose = random.Random(client)
            connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=300)
            for i in range(n):
                kind = choose.randrange(20)
                if kind == 0:  # a new connection
                    connection.close()
                if kind == 1:
                    assert exchange(connection, "POST", "/generate", b'{"prompt":"a","temperature":-1}')[0] == 400
                elif kind == 2:
                    assert exchange(connection, "GET", choose.choice(["/metrics", "/metadata", "/health", "/"]))[0] == 200
                elif kind == 3:
                    connection.request("POST", "/generate", json.dumps({"prompt": "a", "max_new_tokens": 3, "stream": True}))
                    assert len(list(events(connection.getresponse()))) >= 1
                elif kind == 4:  # goes away
                    with s.connect() as c:
                        c.sendall(head(POST, f"Content-Length: {len(BODY)}") + BODY)
                else:
                    status, j, _ = exchange(connection, "POST", "/generate/baseline" if kind == 5 else "/generate",
                                            {"prompt": choose.choice(PROMPTS), "max_new_tokens": choose.randrange(1, 9), "seed": i})
                    assert status == 200, j
            connection.close()

        def settle():
            for _ in range(50):
                if s.metric("qnt_connections") == 1 and s.metric("qnt_running") == 0:
                    break
                time.sleep(0.1)
            return s.rss_mb(), s.descriptors()

        in_parallel(16, lambda i: some(warm // 16, i))
        memory, files = settle()
        begin = time.monotonic()
        in_parallel(16, lambda i: some(many // 16, 100 + i))
        seconds = time.monotonic() - begin
        memory_after, files_after = settle()
        assert quick or memory_after - memory <= 8, f"{memory:.1f} -> {memory_after:.1f} MB"
        assert abs(files_after - files) <= 5, f"{files} -> {files_after} descriptors"
        return ends_well(s, f"{many} requests in {seconds:.0f} s, {memory:.1f} -> {memory_after:.1f} MB, {files} -> {files_after} descriptors")


def slow_and_idle_clients():
    n, idle, seconds = (16, 60, 16) if quick else (64, 300, 20)
    with serve() as s:
        with HealthWatch(s) as health, contextlib.ExitStack() as stack:
            files, memory = s.descriptors(), s.rss_mb()
            slow_head = [stack.enter_context(s.connect()) for _ in range(n // 2)]
            slow_body = [stack.enter_context(s.connect()) for _ in range(n // 2)]
            for c in slow_body:
                c.sendall(head(POST, "Content-Length: 1000"))
            closed = set()
            begin = time.monotonic()
            for second in range(seconds):
                for c in slow_head + slow_body:
                    try:
                        if c not in closed:
                            c.sendall(b"P" if c in slow_head and second == 0 else b"x")
                    except OSError:
                        closed.add(c)
                time.sleep(max(0, begin + second + 1 - time.monotonic()))
            assert len(closed) == len(slow_head + slow_body), f"{len(closed)} of {n} were closed"
            # ask for what is long, read nothing
            readers = [stack.enter_context(s.connect()) for _ in range(n)]
            for c in readers:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                with contextlib.suppress(OSError):
                    c.sendall(head("GET / HTTP/1.1") * 400)
            idlers = [stack.enter_context(s.connect()) for _ in range(idle)]
            time.sleep(2)
            assert s.request("POST", "/generate", {"prompt": "a", "max_new_tokens": 2})[0] == 200
            end = time.monotonic() + 30
            while s.metric("qnt_connections") > 2:  # ours and that of the watch; nobody of the others reads meanwhile
                assert time.monotonic() < end, f"{s.metric('qnt_connections')} connections are left open"
                time.sleep(0.2)
            grown = s.rss_mb("VmHWM") - memory
            assert quick or grown <= 4 + 48, f"{grown:.0f} MB more"
            for _ in range(100):
                if s.descriptors() <= files + 5:
                    break
                time.sleep(0.1)
            assert s.descriptors() <= files + 5, f"{files} -> {s.descriptors()} descriptors"
            note = f"{n} slow, {n} that do not read, {idle} idle: all closed, at most {grown:.1f} MB more"
        return ends_well(s, f"{note}; {health.check(10 if quick else 2)}")


def pour(server, first, part, most):
    """Sends until the server stops it; its answer, the seconds, and the bytes it took."""
    sent, begin = 0, time.monotonic()
    with server.connect() as c:
        with contextlib.suppress(OSError):
            c.sendall(first)
            while sent < most:
                c.sendall(part)
                sent += len(part)
        return read_answer(c)[0], time.monotonic() - begin, sent


def floods():
    most = (32 if quick else 64) * MIB
    with serve() as s:
        for _ in range(3):
            s.request("POST", "/generate", {"prompt": "a", "max_new_tokens": 2})
        memory, notes = s.rss_mb(), []
        with HealthWatch(s) as health:
            with s.connect() as c:  # ten gigabytes promised
                begin = time.monotonic()
                c.sendall(head(POST, "Content-Length: 10000000000"))
                status, _ = read_answer(c)
                assert status == 413 and (quick or time.monotonic() - begin < 3), (status, time.monotonic() - begin)
            block = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
            floods_of = {
                "chunks": (head(POST, "Transfer-Encoding: chunked"), block),
                "small chunks": (head(POST, "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 10000),
                "a header line": (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y" * 65536),
                "header lines": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 10000),
                "empty lines": (b"", b"\r\n" * 30000),
                "a body without an end": (head(POST, "Content-Length: 1048577"), b"x" * 65536),
            }
            for name, (first, part) in floods_of.items():
                s.reset_peak()
                status, seconds, sent = pour(s, first, part, most)
                grown = s.rss_mb("VmHWM") - memory
                assert status in (400, 408, 413, 431, None), (name, status)
                assert sent < most, f"{name}: all {sent} bytes were taken"
                assert quick or grown <= 32, f"{name}: {grown:.0f} MB more"
                notes.append(f"{name} {status} after {sent / MIB:.1f} MiB, +{max(grown, 0):.1f} MB")
            s.reset_peak()  # sixteen at once, with bodies that are just allowed and cost much to read
            bodies = [b'{"prompt":[' + b'"a",' * 260000 + b'"a"]}', b'{"' + b'a":0,"b' * 100 + b'":0}', b'{"x":' + b"[" * 1000000]
            in_parallel(16, lambda i: s.request("POST", "/generate", bodies[i % 3]))
            grown = s.rss_mb("VmHWM") - memory
            assert quick or grown <= 4 + 48, f"bodies: {grown:.0f} MB more"
            notes.append(f"16 bodies of 1 MiB +{max(grown, 0):.1f} MB")
        return ends_well(s, "; ".join(notes) + "; " + health.check(10 if quick else 2))


LONG = {"prompt": "The", "max_new_tokens": 500, "seed": 1, "top_k": 0, "temperature": 1.2, "stop": "\x00"}


def post_bytes(request, path="/generate"):
    body = json.dumps(request).encode()
    return head(f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}") + body


def dropped_connections():
    with serve() as s:
        def drop(stream, reset, wait):
            c = s.connect()
            c.sendall(post_bytes({**LONG, "stream": stream, "prompt": ["The"] * 12}, "/generate/baseline"))
            time.sleep(wait)
            if reset:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.close()

        worst = 0
        for stream in False, True:
            for reset in False, True:
                before = s.metric("qnt_texts_total", 'finish_reason="cancelled"')
                drop(stream, reset, 0.15)
                dropped = time.monotonic()
                while s.metric("qnt_running"):  # each look takes about a step
                    assert time.monotonic() - dropped < (10 if quick else 1), "it works on for a client that has gone"
                worst = max(worst, time.monotonic() - dropped)
                ended = s.metric("qnt_texts_total", 'finish_reason="cancelled"') - before
                assert ended == 12, f"{ended} texts were cancelled"
        for i in range(10 if quick else 50):
            drop(i % 3 == 0, i % 2 == 0, 0.01)
        begin = time.monotonic()
        assert s.request("POST", "/generate", {"prompt": "a", "max_new_tokens": 4})[0] == 200
        next_s = time.monotonic() - begin
        time.sleep(0.5)
        cpu = s.cpu_s()
        time.sleep(1)
        busy = s.cpu_s() - cpu
        assert quick or (busy < 0.3 and next_s < 5), f"{busy:.2f} cores busy, the next request took {next_s:.2f} s"
        # a client that only closed its side is answered
        with s.connect() as c:
            c.sendall(post_bytes({**LONG, "max_new_tokens": 60 if quick else 300}))
            c.shutdown(socket.SHUT_WR)
            status, body = read_answer(c)
            assert status == 200 and json.loads(body)["tokens_generated"] >= 1
        return ends_well(s, f"the work ends within {1000 * worst:.0f} ms, with FIN and RST, whole and streamed; idle: {busy:.2f} cores")


def queue():
    with serve() as s:
        facts = s.request("GET", "/metadata")[1]["limits"]
        room = facts["queue"] + facts["batch"]
        results = in_parallel(room + 30, lambda i: s.request("POST", "/generate/baseline", {**LONG, "max_new_tokens": 40 if quick else 250, "seed": i}, timeout=300)[::2])
        statuses = [r[0] for r in results]
        assert set(statuses) == {200, 503}, statuses
        assert all(r[1]["Retry-After"] for r in results if r[0] == 503)
        assert statuses.count(200) >= room, f"{statuses.count(200)} of {room}"
        return ends_well(s, f"{statuses.count(200)} answered, {statuses.count(503)} with 503 and Retry-After")


def fairness():
    with serve() as s:
        ends = {}

        def ask(name, prompts, tokens, after):
            time.sleep(after)
            s.request("POST", "/generate/baseline", {**LONG, "prompt": prompts, "max_new_tokens": tokens}, timeout=300)
            ends[name] = time.monotonic()

        tokens = 60 if quick else 250
        jobs = [("first", ["The"] * 16, tokens, 0), ("second", ["The"] * 16, tokens, 0.05), ("one", "The", 4, 0.1)]
        in_parallel(3, lambda i: ask(*jobs[i]))
        assert ends["one"] < ends["second"], "one prompt waited for sixteen that came before it"
        return ends_well(s, f"a text of four tokens ends {ends['second'] - ends['one']:.2f} s before the sixteen that came first")


def evaluation():
    with serve() as s:
        with HealthWatch(s) as health:
            status, j, _ = s.request("POST", "/evaluate", {"max_new_tokens": 4} if quick else None)
            assert status == 200 and j["prompts"] == 8, j
            assert 0 <= j["similarity"] <= 1 and 0 <= j["jaccard"] <= 1 and 0 <= j["identical_share"] <= 1 and 0 <= j["kl_divergence"] < 0.1, j
            assert j["top1_agreement"] > 0.8 and j["compression"] > 3 and j["speed_up"] > 0, j
            assert sum(r["identical"] for r in j["results"]) / 8 == j["identical_share"]
            statuses = [r[0] for r in in_parallel(3, lambda i: s.request("POST", "/evaluate", {"prompts": ["Water is"] * 8, "max_new_tokens": 20 if quick else 200}))]
            assert sorted(statuses) == [200, 503, 503], statuses
            c = s.connect()  # dropped, the next one may begin
            c.sendall(post_bytes({"max_new_tokens": 256}, "/evaluate"))
            time.sleep(0.2)
            c.close()
            for _ in range(100):
                status, again, _ = s.request("POST", "/evaluate", {"prompts": ["Water is"], "max_new_tokens": 8})
                if status == 200:
                    break
                time.sleep(0.1)
            assert status == 200, status
        return ends_well(s, f"similarity {j['similarity']:.3f}, Jaccard {j['jaccard']:.3f}, KL {j['kl_divergence']:.5f}, speed-up {j['speed_up']}; {health.check(10 if quick else 2)}")


def term():
    with serve(fresh=True) as s:
        idle = s.connect()
        idle.sendall(head("GET /health HTTP/1.1"))
        idle.recv(4096)
        answers = []
        threads = [threading.Thread(target=lambda i=i: answers.append(s.request("POST", "/generate/baseline", {**LONG, "max_new_tokens": 60 if quick else 200, "seed": i}))) for i in range(4)]
        for t in threads:
            t.start()
        while s.metric("qnt_running") + s.metric("qnt_queue_length") < 4:
            time.sleep(0.005)
        code, seconds = s.stop()
        for t in threads:
            t.join()
        assert code == 0 and seconds < (25 if quick else 15), (code, seconds)
        assert [a[0] for a in answers] == [200] * 4 and all(a[1]["finish_reason"] in ("length", "stop", *(["shutdown"] if quick else [])) for a in answers), answers
        idle.close()
    with serve(fresh=True) as s:  # a second one ends it at once
        c = s.connect()
        c.sendall(post_bytes({**LONG, "prompt": ["The"] * 16}, "/generate/baseline"))
        time.sleep(0.1)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        code = s.process.wait(10)
        assert code == 128 + signal.SIGTERM or code == 0, code
        second = time.monotonic() - begin
        assert quick or second < 1
        c.close()
    return f"4 in flight answered, exit 0 after {seconds:.2f} s; a second SIGTERM: exit {code} after {1000 * second:.0f} ms"


def start_that_fails():
    def refused(code, word, *extra, env=None):
        p = subprocess.run([options.program, *extra], capture_output=True, text=True, cwd=ROOT, timeout=300, env={**os.environ, **(env or {})})
        lines = p.stderr.strip().splitlines()
        assert p.returncode == code and word in p.stderr and len(lines) == 1, (extra, env, p.returncode, p.stderr)

    with serve() as s:
        refused(1, str(s.port), "--port", str(s.port))
        refused(2, "port", "--port", "99999")
        refused(2, "port", "--port", "x")
        refused(1, "host", "--host", "999.1.1.1", "--port", "0")
        refused(1, "host", "--host", "example.invalid", "--port", "0")
        refused(1, "no/such", "--port", "0", "--model", "no/such")
        refused(1, "no/such", "--port", "0", env={"QUANTIZED_MODULE_PATH": "no/such"})
        refused(1, "no/such", "--port", "0", env={"TOKENIZER_PATH": "no/such"})
        refused(1, "int7", "--port", "0", "--format", "int7")
        refused(2, "cuda", "--port", "0", env={"DEVICE": "cuda"})
        refused(1, "temperature", "--port", "0", env={"TEMPERATURE": "nan"})
        refused(2, "top-k", "--port", "0", env={"TOP_K": "many"})
        refused(2, "address", env={"SERVER_ADDR": "here"})
        refused(1, "max-new-tokens", "--port", "0", env={"MAX_NEW_TOKENS": "100000"})
        s.health()
        ends_well(s, "")
    with serve(env={"TEMPERATURE": "0", "MAX_NEW_TOKENS": "3", "TOP_K": "5", "MODEL_ID": "mine"}) as s:
        j = s.request("POST", "/generate", {"prompt": "a"})[1]
        assert j["tokens_generated"] == 3 and j["model"]["name"] == "mine", j
        assert s.request("GET", "/metadata")[1]["defaults"]["temperature"] == 0
        return ends_well(s, "14 ways, one line each; the environment is read")


def few_descriptors():
    with serve(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))) as s:
        assert s.request("GET", "/metadata")[1]["limits"]["connections"] == 40
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(s.connect())
            cpu = s.cpu_s()
            time.sleep(1)
            busy = s.cpu_s() - cpu
            assert quick or busy < 0.5, f"{busy:.2f} cores busy"
            s.health()
        assert s.request("POST", "/generate", {"prompt": "a", "max_new_tokens": 2})[0] == 200
        return ends_well(s, f"200 connections with 64 descriptors: {busy:.2f} cores busy, recovers")


def model_that_is_truncated():
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "model")
        shutil.copytree(MODEL, copy)
        with serve("--model", copy) as s:
            request = {"prompt": "Water is", "temperature": 0, "max_new_tokens": 8}
            before = [s.request("POST", p, request)[1]["completion"] for p in ("/generate", "/generate/baseline")]
            os.truncate(os.path.join(copy, "model.safetensors"), 1000)
            after = [s.request("POST", p, request)[1]["completion"] for p in ("/generate", "/generate/baseline")]
            assert before == after
            return ends_well(s, "texts as before")


def no_file_and_no_connection():
    if not shutil.which("strace"):
        raise Skipped("strace is not installed")
    if quick:
        raise Skipped("sanitizers and strace do not go together")
    with serve() as s, tempfile.NamedTemporaryFile("r") as log:
        trace = subprocess.Popen(["strace", "-f", "-q", "-e", "trace=connect,open,openat,openat2,sendto,execve", "-o", log.name, "-p", str(s.process.pid)], stderr=subprocess.PIPE)
        time.sleep(0.5)
        if trace.poll() is not None:
            raise Skipped(f"strace: {trace.stderr.read().decode().strip()}")
        for body in {"prompt": "/etc/passwd", "max_new_tokens": 2}, {"prompt": "file:///etc/passwd http://example.invalid/"}, {"dataset": "/etc/passwd"}:
            s.request("POST", "/generate", body)
            s.request("POST", "/evaluate", {"prompts": ["/etc/shadow"], "max_new_tokens": 2, **({"file": "/etc/passwd"} if "dataset" in body else {})})
        s.request("GET", "/../../etc/passwd")
        s.request("GET", "http://example.invalid/health")
        s.request("GET", "/metrics")
        s.request("POST", "/v1/completions", {"prompt": "a", "model": "/etc/passwd"})
        trace.send_signal(signal.SIGINT)
        trace.wait()
        calls = [line for line in log.read().splitlines() if "open" in line or "connect(" in line or "execve" in line]
        foreign = [c for c in calls if '"/proc/self/' not in c and "/etc/localtime" not in c]
        assert not foreign, foreign
        return ends_well(s, f"{len(calls)} files opened, all of them /proc/self for /metrics; no connection made")


def the_shared_server():
    global shared
    server, shared = shared, None
    if server is None:
        raise Skipped("every check had a server of its own")
    return ends_well(server, "exit 0 of the server that all of them shared")


CHECKS = [start, endpoints, one_text_for_one_seed, streams, validation, protocol, hostile_cases, load, keep_alive, soak, slow_and_idle_clients, floods, dropped_connections,
          queue, fairness, evaluation, term, start_that_fails, few_descriptors, model_that_is_truncated, no_file_and_no_connection]
raise SystemExit(run_checks(CHECKS + [the_shared_server] * quick, options.only and [*options.only, "the_shared_server"]))
