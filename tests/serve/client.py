"""What the tests of qnt-serve share: a server of their own, requests, raw sockets, and how a check reports. Standard library only."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/models/qnt-gpt2-5m"


class Server:
    """A qnt-serve of our own on a free port of loopback."""

    def __init__(self, program, *arguments, env=None, preexec=None, wait=120):
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [str(program), "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **(env or {})}, preexec_fn=preexec)
        self.errors = []
        line = self.process.stdout.readline()
        self.ready_s = time.monotonic() - self.started
        match = re.search(r"http://[^:]+:(\d+)", line)
        if not match:
            raise RuntimeError(f"the server did not start: {self.process.stderr.read()}")
        self.port = int(match[1])
        self.reader = threading.Thread(target=self._read_errors, daemon=True)
        self.reader.start()

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, within=25):
        """SIGTERM; the exit code, and how long it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within)
        self.reader.join(5)
        return code, time.monotonic() - begin

    def rss_mb(self, field="VmRSS"):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(field + r":\s+(\d+)", status)[1]) / 1024

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connect(self, timeout=30):
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def request(self, method, path, body=None, timeout=300, headers=None):
        """Status, JSON (or text), headers; on a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as c:
            return exchange(c, method, path, body, headers)

    def health(self):
        """Seconds until /health answers."""
        begin = time.monotonic()
        status, _, _ = self.request("GET", "/health", timeout=10)
        assert status == 200, status
        return time.monotonic() - begin

    def metric(self, name, labels=""):
        text = self.request("GET", "/metrics")[1]
        found = re.findall(rf"^{name}(?:{{([^}}]*)}})? ([-0-9.e+]+)$", text, re.M)
        return sum(float(v) for l, v in found if labels in l)


def exchange(connection, method, path, body=None, headers=None):
    data = None if body is None else body if isinstance(body, (bytes, str)) else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
    r = connection.getresponse()
    text = r.read().decode()
    is_json = (r.getheader("Content-Type") or "").startswith("application/json")
    return r.status, json.loads(text) if is_json and text else text, r.headers


def read_answer(sock):
    """Status and body of the one answer on a raw socket, until it closes; an interim 100 is let pass. None: closed without one."""
    data = b""
    with contextlib.suppress(OSError):
        while part := sock.recv(65536):
            data += part
    while data.startswith(b"HTTP/1.1 100"):
        data = data.split(b"\r\n\r\n", 1)[1]
    if not data.startswith(b"HTTP/1.1 "):
        return None, data
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def events(response):
    """(name, data) of a stream of server-sent events."""
    name, data = "message", []
    for line in response:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data.append(line[6:])
        elif not line:
            yield name, "\n".join(data)
            name, data = "message", []


class HealthWatch:
    """Asks /health all the time, on another thread; worst is the longest answer."""

    def __init__(self, server, pause=0.05):
        self.server, self.pause, self.worst, self.asked, self.problem = server, pause, 0.0, 0, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(self.pause):
            try:
                self.worst = max(self.worst, self.server.health())
                self.asked += 1
            except Exception as e:  # every kind of failure is one
                self.problem = self.problem or repr(e)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def check(self, most=2.0):
        assert self.problem is None, f"/health failed: {self.problem}"
        assert self.asked > 0 and self.worst <= most, f"/health took {self.worst:.2f} s"
        return f"/health {self.asked} times, at most {1000 * self.worst:.0f} ms"


class Skipped(Exception):
    pass


def run_checks(checks, only=None):
    """Runs functions that return a line of figures; one line each. The exit code."""
    failed = skipped = passed = 0
    for check in checks:
        if only and not any(word in check.__name__ for word in only):
            continue
        name, begin = check.__name__.replace("_", " "), time.monotonic()
        try:
            figures = check()
            passed += 1
            print(f"ok: {name}: {figures} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Skipped as e:
            skipped += 1
            print(f"skipped: {name}: {e}", flush=True)
        except Exception as e:
            failed += 1
            print(f"FAILED: {name}: {type(e).__name__}: {e}", flush=True)
            if os.environ.get("QNT_TRACE"):
                import traceback
                traceback.print_exc()
    print(f"serve: {passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0
