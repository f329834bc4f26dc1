"""bolthub's verifier as its users run it, and ours, against live requests of the gateway.

    python3 live.py BINARY
"""

import base64
import contextlib
import http.client
import http.server
import json
import logging
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock

import bolthub_verify
import flask
from werkzeug.serving import make_server

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERIFIERS = ROOT / "examples" / "origin-verifiers"
sys.path.insert(0, str(VERIFIERS / "python"))
import tollkeep_origin  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)

SECRET = "origin-key-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e"
PREVIOUS = "origin-key-of-last-year-9bHc3dJf6gVa1eUi5oQx"
BODY = '{ "q": "Zölle ☕" }\n'.encode()


def flask_app(hook):
    app = flask.Flask("origin")
    app.before_request(hook)
    app.add_url_rule("/<path:path>", "all", lambda path: path, methods=["GET", "POST", "PUT", "DELETE"])
    return app


def v1_hook():
    verifier = tollkeep_origin.Verifier({"a": SECRET})

    def hook():
        request = flask.request
        try:
            verifier.verify(
                method=request.method,
                authority=request.environ["HTTP_HOST"],
                target=request.environ["RAW_URI"],
                headers=list(request.headers),
                body=request.get_data(),
            )
        except tollkeep_origin.Refused as refused:
            flask.abort(403, description=refused.reason)

    return hook


class PlainOrigin(http.server.BaseHTTPRequestHandler):
    """Calls the plain function with the path as it came."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        result = bolthub_verify.verify_gateway_signature(
            method=self.command,
            path=self.path.split("?")[0],
            signature=self.headers.get("X-Gateway-Signature"),
            timestamp=self.headers.get("X-Gateway-Timestamp"),
            nonce=self.headers.get("X-Gateway-Nonce"),
            body=body.decode(),
            secrets=[SECRET],
        )
        text = b"ok" if result.valid else result.error.encode()
        self.send_response(200 if result.valid else 403)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def flask_server(hook):
    return serving(make_server("127.0.0.1", 0, flask_app(hook), threaded=True))


CONFIG = """
upstreams:
{upstreams}
routes:
{routes}
"""


@contextlib.contextmanager
def gateway(binary, upstreams):
    """A gateway with an upstream under /NAME for each (port, signing)."""
    lines = [
        f'  {name}: {{ url: "http://127.0.0.1:{port}", allow_private: ["127.0.0.1/32"], signing: {signing} }}'
        for name, (port, signing) in upstreams.items()
    ]
    rate = "rate_limit: { requests: 1000, window: 1s }"
    routes = [f'  "ANY /{name}/*": {{ upstream: {name}, access: free, {rate} }}' for name in upstreams]
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "tollkeep.yaml")
        config.write_text(CONFIG.format(upstreams="\n".join(lines), routes="\n".join(routes)))
        command = [binary, "serve", "--print-addr", "--config", str(config)]
        for key in ["data_dir=./data", "server.port=0", "management.listen=127.0.0.1:0", "metrics.port=0"]:
            command += ["--set", key]
        command += ["--set", "server.security.rate_limiting.enabled=false"]
        env = {"KEY": SECRET, "PREVIOUS": PREVIOUS}
        log = pathlib.Path(folder, "log")
        with log.open("w") as errors:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            line = process.stdout.readline()
            if not line:
                raise AssertionError(log.read_text())
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield json.loads(line)["data"]
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def call(data, method, target, body=None):
    host, port = data.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


REQUESTS = [
    ("GET", "/data", None),
    ("GET", "/data?page=2&q=a%20b", None),
    ("GET", "/caf%C3%A9", None),
    ("GET", "/a%20b+c", None),
    ("DELETE", "/items/7", None),
    ("POST", "/data", BODY),
    ("PUT", "/data", b"{}"),
    ("POST", "/data", b"x" * 200_000),
]

KEYS = 'keys: [{ id: a, secret: "${KEY}" }, { id: b, secret: "${PREVIOUS}" }]'


class Live(unittest.TestCase):
    binary = None

    def accepts(self, name, origin, signing, status=200, requests=REQUESTS):
        with origin as port, gateway(self.binary, {name: (port, signing)}) as data:
            for method, path, body in requests:
                with self.subTest(f"{method} {path}"):
                    self.assertEqual(call(data, method, f"/{name}{path}", body)[0], status)

    # EDGE-120 EDGE-123
    def test_flask_accepts_the_decoded_form(self):
        for active in "ab":
            hook = bolthub_verify.flask_hmac_middleware([SECRET, PREVIOUS])
            signing = f"{{ mode: bolthub, path_form: decoded, active: {active}, {KEYS} }}"
            self.accepts("flask", flask_server(hook), signing)

    def test_flask_refuses_the_raw_form_of_an_encoded_path_and_another_key(self):
        hook = lambda: bolthub_verify.flask_hmac_middleware([SECRET])  # noqa: E731
        raw = f"{{ mode: bolthub, active: a, {KEYS} }}"
        self.accepts("flask", flask_server(hook()), raw, 403, [("GET", "/caf%C3%A9", None)])
        other = f"{{ mode: bolthub, path_form: decoded, active: b, {KEYS} }}"
        self.accepts("flask", flask_server(hook()), other, 403)
        self.accepts("flask", flask_server(hook()), "{ mode: off }", 403)

    # EDGE-120
    def test_the_plain_function_accepts_the_raw_form(self):
        signing = f"{{ mode: bolthub, active: a, {KEYS} }}"
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PlainOrigin)
        self.accepts("plain", serving(server), signing)

    # EDGE-120
    def test_the_secret_form_is_accepted_too(self):
        def hook():
            sent = flask.request.headers.get("X-Gateway-Secret")
            if not bolthub_verify.verify_gateway_secret(header_value=sent, secrets=[SECRET]).valid:
                flask.abort(403)

        self.accepts("flask", flask_server(hook), f"{{ mode: secret, active: a, {KEYS} }}")
        self.accepts("flask", flask_server(hook), f"{{ mode: secret, active: b, {KEYS} }}", 403)

    # EDGE-121 EDGE-122
    def test_our_verifier_accepts_v1_behind_flask(self):
        self.accepts("flask", flask_server(v1_hook()), f"{{ mode: v1, active: a, {KEYS} }}")
        self.accepts("flask", flask_server(v1_hook()), f"{{ mode: v1, active: b, {KEYS} }}", 403)


class Vectors(unittest.TestCase):
    # EDGE-120
    def test_bolthub_verify_gives_the_verdicts_of_the_vectors(self):
        cases = json.loads((VERIFIERS / "vectors.json").read_text())["bolthub"]["cases"]
        self.assertEqual(len(cases), 24)
        for case in cases:
            with self.subTest(case["name"]), mock.patch.object(bolthub_verify.time, "time") as clock:
                # Half a millisecond on: int(x * 1000) must not fall below it.
                clock.return_value = (case["verify_at_ms"] + 0.5) / 1000
                result = bolthub_verify.verify_gateway_signature(
                    method=case["method"],
                    path=case["verifier_path"],
                    signature=case["headers"].get("X-Gateway-Signature"),
                    timestamp=case["headers"].get("X-Gateway-Timestamp"),
                    nonce=case["headers"].get("X-Gateway-Nonce"),
                    body=base64.b64decode(case["body_b64"]).decode(),
                    secrets=case["secrets"],
                )
                self.assertEqual(result.valid, case["valid"], result.error)


if __name__ == "__main__":
    Live.binary = sys.argv.pop(1)
    unittest.main()
