#!/usr/bin/env python3
"""python3 tests/serve/page_test.py PROGRAM [FOLDER]: the page of qnt-serve in headless Chromium, which must be installed; screenshots go to FOLDER.

Speaks the DevTools protocol over a pipe, so that nothing but the standard library is needed."""

import base64
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from client import Server, Skipped, run_checks

program, shots = sys.argv[1], pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
browser_program = shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    def __init__(self, folder):
        to_browser, self.out = os.pipe()
        self.input, from_browser = os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_browser, from_browser)]  # away from 3 and 4, which they become

        def wire():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [browser_program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
             f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=wire, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (to_browser, from_browser, *ends):
            os.close(fd)
        self.rest, self.events, self.last, self.session = b"", [], 0, None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Network", "Log":
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def read(self):
        while b"\0" not in self.rest:
            part = os.read(self.input, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters, **({"sessionId": self.session} if self.session else {})}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def run(self, script):
        r = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in r, r["exceptionDetails"]
        return r["result"].get("value")

    def wait(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"waited in vain for {script}"
            time.sleep(0.1)
        return value

    def shoot(self, name):
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
            (shots / f"{name}.png").write_bytes(base64.b64decode(data))

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def complaints(self):
        return [e["params"] for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]


def page():
    if not browser_program:
        raise Skipped("Chromium is not installed (Debian: chromium)")
    with Server(program) as s, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Browser(folder) as b:
        here = f"http://127.0.0.1:{s.port}"
        b.call("Emulation.setDeviceMetricsOverride", width=1200, height=850, deviceScaleFactor=1, mobile=False)
        b.call("Page.navigate", url=here + "/")
        b.wait("document.readyState === 'complete' && document.querySelector('#about')?.textContent.includes('million')")
        facts = s.request("GET", "/metadata")[1]
        assert abs(float(b.run("at('temperature').value")) - facts["defaults"]["temperature"]) < 1e-6
        assert b.run("at('max_new_tokens').max") == str(facts["context"])
        b.shoot("empty-light")
        prompt = "She opened the letter and read \U0001F600"
        b.run(f"at('prompt').value = {json.dumps(prompt)}; at('seed').value = '11'; at('max_new_tokens').value = 90; at('max_new_tokens').dispatchEvent(new Event('input')); at('go').click()")
        b.wait("at('status').textContent === 'Done.'")
        shown = b.run("sides.map(s => s.querySelector('.text').textContent)")
        for text, path in zip(shown, ("/generate", "/generate/baseline")):
            request = {"prompt": prompt, "seed": 11, "max_new_tokens": 90, **{k: facts["defaults"][k] for k in ("temperature", "top_k", "top_p")}}
            assert text == prompt + s.request("POST", path, request)[1]["completion"], text
        figures = b.run("sides.map(s => [...s.querySelectorAll('dd')].map(d => d.textContent))")
        assert all(float(f[0]) > 0 and int(f[1]) > 0 and f[2].endswith("ms") and f[3].endswith("MB") for f in figures), figures
        assert "the speed" in b.run("at('summary').textContent")
        b.shoot("light")
        b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        b.shoot("dark")
        b.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        b.shoot("narrow-dark")
        assert b.run("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"
        b.call("Emulation.setEmulatedMedia", features=[])
        # an error is told, a text can be stopped, and the server stops with it
        b.run("at('prompt').value = 'word '.repeat(2000); at('go').click()")
        assert "context" in b.wait("at('status').className === 'bad' && at('status').textContent")
        b.shoot("error-narrow-light")
        b.run("at('prompt').value = 'The'; at('max_new_tokens').value = 512; at('go').click()")
        b.wait("sides[0].querySelector('.text').textContent.length > 20")
        b.run("at('stop').click()")
        assert b.wait("at('status').textContent === 'Stopped.'")
        for _ in range(50):
            if s.metric("qnt_running") == 0:
                break
            time.sleep(0.1)
        assert s.metric("qnt_running") == 0
        # text is never markup
        b.run("at('prompt').value = '<img src=x onerror=alert(1)><b>x</b>'; at('max_new_tokens').value = 3; at('seed').value = ''; at('go').click()")
        b.wait("at('status').textContent.startsWith('Seed')")
        assert b.run("document.querySelectorAll('.text img, .text b').length") == 0
        foreign = [u for u in b.requests() if not u.startswith((here, "data:"))]
        complaints = [c for c in b.complaints() if c.get("entry", {}).get("text", "").find("400") < 0]
        assert not foreign and not complaints, (foreign, complaints)
        assert s.stop()[0] == 0
        return f"{len(b.requests())} requests, all to the server; figures {figures}"


raise SystemExit(run_checks([page]))
