"""A browser without a window, driven through two pipes: nothing is installed for it, no port is opened."""

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from bench import Missing

# Stands for a wallet: it asks the test for each answer, as a wallet asks its owner.
WALLET = """
window.ethereum = { request: ({ method, params }) => new Promise((resolve, reject) => {
  window.walletAsked = window.walletAsked || [];
  const at = window.walletAsked.push({ resolve, reject }) - 1;
  walletAsks(JSON.stringify({ at, method, params }));
}) };
"""


class Browser:
    """One page."""

    def __init__(self, folder: Path):
        program = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
        if not program:
            raise Missing("chromium is not installed")
        to_browser, ours = os.pipe()
        theirs, from_browser = os.pipe()
        os.set_inheritable(to_browser, True)
        os.set_inheritable(from_browser, True)

        def pipes() -> None:
            # Where it reads and writes: 3 and 4.
            os.dup2(to_browser, 253)
            os.dup2(from_browser, 254)
            os.dup2(253, 3)
            os.dup2(254, 4)

        options = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--disable-background-networking", "--window-size=900,1000", f"--user-data-dir={folder / 'profile'}"]
        log = open(folder / "browser.log", "ab")
        self.process = subprocess.Popen(
            [program, *options, "about:blank"], stdout=log, stderr=log, close_fds=False, preexec_fn=pipes
        )
        os.close(to_browser)
        os.close(from_browser)
        self.out, self.into = os.fdopen(theirs, "rb"), os.fdopen(ours, "wb", buffering=0)
        self.answers: dict[int, dict] = {}
        self.events: list[dict] = []
        self.heard = threading.Condition()
        self.number, self.session = 0, None
        threading.Thread(target=self.listen, daemon=True).start()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Log"):
            self.ask(f"{part}.enable")

    def listen(self) -> None:
        text = b""
        while part := self.out.read1(65536):
            text += part
            while b"\0" in text:
                one, text = text.split(b"\0", 1)
                told = json.loads(one)
                with self.heard:
                    if "id" in told:
                        self.answers[told["id"]] = told
                    else:
                        self.events.append(told)
                    self.heard.notify_all()

    def ask(self, method: str, **parameters) -> dict:
        self.number += 1
        number = self.number
        asked = {"id": number, "method": method, "params": parameters}
        if self.session:
            asked["sessionId"] = self.session
        self.into.write(json.dumps(asked).encode() + b"\0")
        with self.heard:
            assert self.heard.wait_for(lambda: number in self.answers, 60), f"no answer to {method}"
            told = self.answers.pop(number)
        assert "error" not in told, f"{method}: {told}"
        return told["result"]

    def event(self, method: str, seconds: float = 30) -> dict:
        """The next event of this kind."""

        def found():
            return next((event for event in self.events if event["method"] == method), None)

        with self.heard:
            assert self.heard.wait_for(found, seconds), f"no {method}: {self.events[-5:]}"
            event = found()
            self.events.remove(event)
        return event["params"]

    def open(self, url: str, wallet: bool = True) -> None:
        if wallet:
            self.ask("Runtime.addBinding", name="walletAsks")
            self.ask("Page.addScriptToEvaluateOnNewDocument", source=WALLET)
        self.ask("Page.navigate", url=url)
        self.event("Page.loadEventFired")

    def run(self, script: str):
        told = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wallet_asked(self) -> dict:
        return json.loads(self.event("Runtime.bindingCalled")["payload"])

    def wallet_says(self, at: int, value) -> None:
        self.run(f"walletAsked[{at}].resolve({json.dumps(value)})")

    def wait_for(self, script: str, seconds: float = 30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never {script}: {self.run('document.body.innerText')}")

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list:
        """What the page did that it may not, or did wrong."""
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown")
        told = [event["params"] for event in self.events if event["method"] in kinds]
        # That a price is asked for, and an icon not found, is told as an error of the network.
        return [one for one in told if one.get("entry", {}).get("source") != "network"]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
