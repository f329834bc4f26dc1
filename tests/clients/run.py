#!/usr/bin/env python3
"""What clients make of the gateway that is neither OpenAI's nor Anthropic's: Google's SDK with a token
as its key, and answers over the cap, which every client library must call incomplete.

    tests/clients/run.py BINARY     with google-genai and httpx2 installed; curl and node in the PATH
"""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import httpx2
from google import genai
from google.genai import errors, types

HERE = pathlib.Path(__file__).parent
MIB = 1024 * 1024
CAP = 2 * MIB


class Upstream(http.server.BaseHTTPRequestHandler):
    """Says what was asked of Gemini, or sends more than the cap without saying how much."""

    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Upstream.seen.append(dict(self.headers))
        text = body["contents"][0]["parts"][0]["text"]
        answer = {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": f"You said: {text}"}]}, "finishReason": "STOP"}
            ],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
        }
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        piece = b"data: " + b"x" * (64 * 1024) + b"\n\n"
        sent, size = 0, CAP + MIB if self.path == "/over" else CAP // 2
        try:
            while sent < size:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """The gateway hangs up on what is over the cap."""


def settings(folder, upstream):
    return f"""
data_dir: {folder}/data
server: {{port: 0, limits: {{response_stream_bytes_max: 2MiB}}}}
management: {{listen: "127.0.0.1:0"}}
metrics: {{port: 0}}
upstreams:
  gemini: {{url: "http://127.0.0.1:{upstream}", allow_private: ["127.0.0.1/32"]}}
routes:
  "POST /v1/models/*": {{upstream: gemini, access: token}}
  "GET /over": {{upstream: gemini, access: free}}
  "GET /under": {{upstream: gemini, access: free}}
"""


def asked(base, key):
    options = types.HttpOptions(base_url=base, retry_options=types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key=key, http_options=options)
    return client.models.generate_content(model="gemini-2.5-flash", contents="hello")


def check(what, held):
    print(f"clients: {'ok' if held else 'FAILED'}: {what}", flush=True)
    return held


def genai_works(base, token):
    """ID acceptance: the SDK's key parameter is our token."""
    held = check("google-genai calls through with a token as its key", asked(base, token).text == "You said: hello")
    sent = {name.lower(): value for name, value in Upstream.seen[-1].items()}
    held &= check("the token does not go on", all(token not in value for value in sent.values()))
    try:
        asked(base, token[:-1] + ("a" if token[-1] != "a" else "b"))
        return check("a wrong key is refused", False)
    except errors.ClientError as error:
        return check("a wrong key raises the SDK's own error with 401", error.code == 401) and held


def incomplete(base):
    """EDGE: an answer over the cap is cut so that every library says so."""
    run = lambda *command: subprocess.run(command, capture_output=True, timeout=60, check=False)
    held = True
    for path, code in (("/under", 0), ("/over", 18)):
        done = run("curl", "-sN", "-o", "/dev/null", base + path)
        held &= check(f"curl ends with {code} for {path}", done.returncode == code)
    held &= check("httpx reads what is below", len(httpx2.get(base + "/under").content) >= CAP // 2)
    try:
        httpx2.get(base + "/over")
        held &= check("httpx calls the rest missing", False)
    except httpx2.RemoteProtocolError:
        held &= check("httpx raises RemoteProtocolError", True)
    script = "fetch(process.argv[1]).then(a => a.arrayBuffer()).then(() => console.log('whole'), e => console.log(e.message))"
    for path, told in (("/under", b"whole"), ("/over", b"terminated")):
        done = run("node", "-e", script, base + path)
        held &= check(f"node says {told.decode()} of {path}", done.stdout.strip() == told)
    return held


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    upstream = Server(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "tollkeep.yaml")
        config.write_text(settings(folder, upstream.server_port))
        log = open(pathlib.Path(folder, "log"), "w+")
        # The gateway refuses names it does not know, and those around us are not meant for it.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEP_")}
        command = [binary, "serve", "--config", config, "--print-addr"]
        gateway = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        try:
            line = gateway.stdout.readline()
            if not line:
                log.seek(0)
                sys.exit(f"clients: the gateway did not start: {log.read()}")
            base = "http://" + json.loads(line)["data"]
            made = subprocess.run(
                [binary, "token", "create", "--json", "--data-dir", f"{folder}/data"],
                capture_output=True, check=True, text=True, timeout=60, env=env,
            )
            held = genai_works(base, json.loads(made.stdout)["secret"])
            held &= incomplete(base)
        finally:
            gateway.terminate()
            gateway.wait(timeout=60)
            log.close()
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
