"""Cases, the target they run against, and what a case may ask of the gateway besides its SDK."""

import base64
import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import zlib

# The target is on this machine; a proxy meant for package registries has no part in it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None)

DIRECT = "--direct" in sys.argv
TARGET = json.loads(os.environ["TOLLKEEP_DEMO"])
DATA_URL = TARGET["data_url"].rstrip("/")
TOKEN = TARGET.get("token") or "tok-none"

CASES = []


def case(title, gateway_only=False):
    """Registers a function as a case. With `gateway_only` it is skipped under `--direct`."""

    def register(function):
        CASES.append((title, gateway_only, function))
        return function

    return register


def run():
    """Runs every case, prints a line for each and the closing line, and returns the exit status."""
    passed, failed, skipped = 0, 0, 0
    for title, gateway_only, function in CASES:
        if gateway_only and DIRECT:
            skipped += 1
            print(f"skip  {title}")
            continue
        started = time.monotonic()
        try:
            function()
        except Exception:
            failed += 1
            print(f"FAIL  {title}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"pass  {title} ({time.monotonic() - started:.2f} s)")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


def raises(kind, function):
    """The error of this kind that the function must raise."""
    try:
        got = function()
    except kind as error:
        return error
    raise AssertionError(f"want {kind}, got {got!r}")


def managed(path, body=None):
    """What the management API answers: to a body that is posted, else to a question."""
    request = urllib.request.Request(
        TARGET["management_url"].rstrip("/") + "/api/v1/" + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "authorization": "Bearer " + TARGET["management_key"],
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status in (200, 201), answer.status
        return json.load(answer)


def new_token(**limits):
    """The secret of a new token with these limits."""
    return managed("tokens", {"project": "default", "limits": limits})["secret"]


def counted_token():
    """The secret of a new token whose calls a budget counts."""
    token = managed("tokens", {"project": "default"})
    scope = {"token": token["id"]}
    budget = {"name": token["id"], "scope": scope, "unit": "tokens", "limit": 10**9, "window": "day"}
    managed("budgets", budget)
    return token["secret"]


def accounted(secret, request, told):
    """Asserts that usage record and receipt of a request say what its client was told: the tokens
    in and out."""
    receipts = wait_for("the receipt is made", lambda: receipts_of(secret, request), 10)
    records = managed("usage/records?request=" + request)["data"]
    assert (len(receipts), len(records)) == (1, 1), (receipts, records)
    payload = receipts[0].split(".")[1]
    receipt = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    record = records[0]
    lines = json.loads(record["lines"])
    assert receipt["lines"] == lines, (receipt, record)
    assert receipt["quality"] == record["quality"] == "reported", (receipt, record)
    assert receipt["cost"]["amount"] == record["cost_nano_usd"], (receipt, record)

    def sum_of(*kinds):
        used = [pair for line in lines for pair in line["usage"].items()]
        return sum(count for name, count in used if name.startswith(kinds))

    assert (sum_of("in_", "cache_"), sum_of("out_")) == told, (lines, told)
    assert record["tokens"] == sum(told), record


def receipts_of(secret, request):
    """The receipts of a request, none while there are none."""
    url = f"{DATA_URL}/.well-known/tollkeep/receipts/{request}"
    asked = urllib.request.Request(url, headers={"authorization": "Bearer " + secret})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)["receipts"]
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return []


def unknown_token():
    """A token with the right form and check digits that no gateway has minted."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    body = "tok-" + "Unknown" + "0" * 36
    check, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        check, digit = divmod(check, 62)
        digits = alphabet[digit] + digits
    return body + digits


def streams_open():
    """How many streams the gateway says are open."""
    with urllib.request.urlopen(TARGET["metrics_url"], timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    samples = [line for line in lines if line.startswith("tollkeep_streams_open")]
    assert samples, "there is no metric tollkeep_streams_open"
    return sum(float(line.rsplit(" ", 1)[1]) for line in samples)


def wait_for(what, condition, seconds):
    """Waits until the condition holds, and gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (got := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return got


def cancelled(open_stream):
    """Reads the start of a slow stream, closes it, and waits until the gateway has let it go too.

    `open_stream` gives an iterator with `close`.
    """
    stream = open_stream()
    events = iter(stream)
    for _ in range(2):
        next(events)
    if not DIRECT:
        wait_for("the stream is counted", lambda: streams_open() >= 1, 2)
    stream.close()
    if not DIRECT:
        wait_for("the stream is let go", lambda: streams_open() == 0, 2)


SLOW = "sandbox:chunks=300,gap=100; A long story"
OVERSIZE = "x" * (21 * 1024 * 1024)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
