"""The parts of the bench: what is installed, what is started, what is read from the chain."""

import hashlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Who is paid. Nobody has its key.
PAYEE = "0x00000000000000000000000000000000000b0b0b"
CLIENTS = {
    "x402-fetch-v2": ["node", "clients/x402-fetch-v2.mjs"],
    "x402-fetch-v1": ["node", "clients/x402-fetch-v1.mjs"],
    # Its payer has not allowed Permit2 to spend anything.
    "x402-fetch-not-allowed": ["node", "clients/x402-fetch-v2.mjs"],
    "x402-upto": ["node", "clients/x402-upto.mjs"],
    # The same, with a payer of its own: who does not pay is not served so again.
    "x402-upto-late": ["node", "clients/x402-upto.mjs"],
    "x402-python": ["venv", "clients/x402_httpx.py"],
}


class Missing(Exception):
    """A tool or package that the bench needs is not there."""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def wait_for(what: str, seconds: float, found):
    """What `found` gives as soon as it gives anything."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


def ask(url: str, body=None, headers=None, method=None, timeout=60, source=None) -> tuple[int, dict, bytes]:
    """One request on a connection of its own: status, header fields in lower case, body."""
    host, _, path = url.removeprefix("http://").partition("/")
    own = (source, 0) if source else None
    connection = http.client.HTTPConnection(host, timeout=timeout, source_address=own)
    try:
        method = method or ("GET" if body is None else "POST")
        sent = json.dumps(body).encode() if isinstance(body, dict) else body
        fields = {"content-type": "application/json"} if sent is not None else {}
        connection.request(method, f"/{path}", sent, fields | (headers or {}))
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, got, answer.read()
    finally:
        connection.close()


class Installed:
    """The packages of the lockfiles, in a cache."""

    def __init__(self, cache: Path):
        self.node = cache / "node"
        self.venv = cache / "venv"
        for tool in ("node", "npm", "python3"):
            if not shutil.which(tool):
                raise Missing(f"{tool} is not installed")
        if os.uname().machine != "x86_64":
            raise Missing("anvil of npm is for x86_64")
        cache.mkdir(parents=True, exist_ok=True)
        try:
            self.install(cache, "node", ("package.json", "package-lock.json"), self.install_node)
            self.install(cache, "python", ("requirements-x402.txt",), self.install_python)
        except (subprocess.CalledProcessError, OSError) as error:
            raise Missing(f"packages could not be installed: {error}") from error
        # Modules are looked for beside the file that names them.
        for part in ("contracts", "clients"):
            shutil.rmtree(self.node / part, ignore_errors=True)
            shutil.copytree(HERE / part, self.node / part)
        for part in HERE.glob("*.mjs"):
            shutil.copy(part, self.node)

    @staticmethod
    def install(cache: Path, name: str, files: tuple, install) -> None:
        stamp = cache / f"{name}.stamp"
        want = hashlib.sha256(b"".join((HERE / file).read_bytes() for file in files)).hexdigest()
        if not stamp.exists() or stamp.read_text() != want:
            stamp.unlink(missing_ok=True)
            install()
            stamp.write_text(want)

    def install_node(self) -> None:
        shutil.rmtree(self.node, ignore_errors=True)
        self.node.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, self.node)
        npm = ["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=self.node, check=True)

    def install_python(self) -> None:
        shutil.rmtree(self.venv, ignore_errors=True)
        subprocess.run(["python3", "-m", "venv", self.venv], check=True)
        pip = [self.venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--root-user-action", "ignore", "--requirement", HERE / "requirements-x402.txt"]
        subprocess.run(pip, check=True)

    def command(self, name: str) -> list[str]:
        program, script = CLIENTS[name]
        return [str(self.venv / "bin/python") if program == "venv" else program, script]


class Processes:
    """What was started here, stopped by its id."""

    def __init__(self, logs: Path):
        self.logs = logs
        self.running: list[subprocess.Popen] = []

    def start(self, name: str, command: list, seconds: float, **more) -> tuple[subprocess.Popen, dict]:
        """A process, and the line of JSON that it says when it is ready."""
        log = open(self.logs / f"{name}.log", "ab")
        pipe = subprocess.PIPE
        started = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, **more)
        self.running.append(started)
        told: list[bytes] = []
        reader = threading.Thread(target=lambda: told.append(started.stdout.readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        if not told or not told[0].strip():
            raise AssertionError(f"{name} did not start:\n{(self.logs / f'{name}.log').read_text()[-2000:]}")
        # Nobody reads what else it says; it must not wait for that.
        threading.Thread(target=lambda: [None for _ in started.stdout], daemon=True).start()
        return started, json.loads(told[0])

    def forget(self, process: subprocess.Popen) -> None:
        """It has ended, and its id may be another's soon."""
        self.running.remove(process)
        process.stdin.close()

    def stop(self) -> None:
        for process in reversed(self.running):
            process.stdin.close()
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Chain:
    def __init__(self, processes: Processes, installed: Installed, payers: int):
        self.facilitator_key = f"0x{secrets.token_hex(32)}"
        self.keys = [f"0x{secrets.token_hex(32)}" for _ in range(payers)]
        named = zip(CLIENTS, self.keys)
        allowing = [key for name, key in named if not name.endswith("not-allowed")]
        keys = {"PAYER_KEYS": ",".join(self.keys), "ALLOWING_KEYS": ",".join(allowing)}
        keys["FACILITATOR_KEY"] = self.facilitator_key
        command = ["node", "chain.mjs", "--port", str(free_port())]
        _, told = processes.start("chain", command, 60, cwd=installed.node, env=os.environ | keys)
        self.rpc, self.token, self.payers = told["rpc"], told["token"], told["payers"]

    def call(self, method: str, *params):
        status, _, body = ask(self.rpc, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        told = json.loads(body)
        assert status == 200 and "result" in told, f"{method}: {body[:300]!r}"
        return told["result"]

    def balance(self, address: str) -> int:
        # balanceOf(address)
        data = f"0x70a08231{address.removeprefix('0x').lower():0>64}"
        return int(self.call("eth_call", {"to": self.token, "data": data}, "latest"), 16)

    def set_clock(self, ahead_s: int) -> None:
        """Its blocks are of so many seconds from now, as soon as there is one."""
        self.call("evm_setTime", int(time.time()) + ahead_s)

        def is_so() -> bool:
            block = self.call("eth_getBlockByNumber", "latest", False)
            return abs(int(block["timestamp"], 16) - time.time() - ahead_s) < 5

        wait_for("block of that time", 10, is_so)


class Facilitator:
    def __init__(self, processes: Processes, installed: Installed, chain: Chain):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = ["node", "facilitator.mjs", "--port", str(port), "--rpc", chain.rpc]
        env = os.environ | {"FACILITATOR_KEY": chain.facilitator_key}
        processes.start("facilitator", command, 60, cwd=installed.node, env=env)

    def fault(self, **fault) -> None:
        status, _, body = ask(f"{self.url}/fault", fault)
        assert status == 200, body

    def calls(self, peek: bool = False) -> dict:
        """How often each operation was called since this was asked last, or since then with `peek`."""
        return json.loads(ask(f"{self.url}/calls", {"peek": peek})[2])


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Gateways are killed here, with connections open."""


class Upstream:
    """What is sold: the path says what becomes of a call."""

    BIG = 60 * 1024 * 1024

    def __init__(self):
        self.lock = threading.Lock()
        self.calls: list[tuple[str, bytes]] = []
        # What waits at it is answered; a path says whether it waits.
        self.gate, self.is_waiting = threading.Event(), threading.Event()
        self.gate.set()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with upstream.lock:
                    upstream.calls.append((self.path, body))
                    fields = {name.lower() for name in self.headers}
                    upstream.leaked |= {f for f in fields if f.startswith(("payment-", "x-payment"))}
                try:
                    upstream.answer(self, self.path.rstrip("/").rsplit("/", 1)[-1], body)
                except OSError:
                    # Whoever asked is gone.
                    self.close_connection = True

            do_POST = do_GET

        self.leaked: set[str] = set()
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler, kind: str, body: bytes) -> None:
        if kind in ("big", "drip", "kib"):
            length = {"big": self.BIG, "drip": 200_000, "kib": 3 * 1024}[kind]
            to.send_response(200)
            to.send_header("content-length", str(length))
            to.end_headers()
            for sent in range(0, length, 65536):
                to.wfile.write(b"x" * min(65536, length - sent))
                to.wfile.flush()
                if kind == "drip":
                    self.wait()
            return
        if kind == "breaks":
            to.send_response(200)
            to.send_header("content-length", "1000000")
            to.end_headers()
            to.wfile.write(b"x" * 100_000)
            to.wfile.flush()
            to.close_connection = True
            return
        if kind == "held":
            self.wait()
        status = int(kind) if kind.isdigit() else 200
        text = json.dumps({"sold": kind, "sent": body.decode()}).encode()
        to.send_response(status)
        to.send_header("content-type", "application/json")
        to.send_header("content-length", str(len(text)))
        to.end_headers()
        to.wfile.write(text)

    def wait(self) -> None:
        if not self.gate.is_set():
            self.is_waiting.set()
        self.gate.wait(60)

    def taken(self) -> list[tuple[str, bytes]]:
        """The calls since this was asked last."""
        with self.lock:
            calls, self.calls = self.calls, []
        return calls
