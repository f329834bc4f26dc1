"""Checks at an origin that a request came through the gateway unchanged.

Needs Python 3.9 and nothing else: copy this file. `Verifier` checks `X-Tollkeep-Signature`,
`verify_bolthub` checks `X-Gateway-Signature`. Give both the request as it was received: the raw
body, and the target before anything was decoded.
"""

import hashlib
import hmac
import re
import threading
import time

# How far the clocks may be apart, and how late a request may come.
FRESH_S = 300
# How long a nonce is remembered at least: longer than a signature is fresh, on either side.
REMEMBERED_S = 600
# Nonces remembered, twice, before requests are refused for want of room.
NONCES_MAX = 1_000_000
VALUE_CHARS_MAX = 8 * 1024

_NAME = r"[a-z0-9!#$%&'*+.^_`|~-]+"
_FORM = re.compile(
    r"t=(0|[1-9][0-9]{0,14}),n=([A-Za-z0-9_-]{22}),k=([A-Za-z0-9._-]{1,64}),"
    r"b=([0-9a-f]{64}|UNSIGNED),h=((?:" + _NAME + r"(?:;" + _NAME + r")*)?),v1=([0-9a-f]{64})"
)


class Refused(Exception):
    """The request is not to be trusted. `reason` is for your log, not for the caller."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def _bytes(text):
    # Fields come as Latin-1 from WSGI and ASGI: this gives the bytes that were sent.
    return text if isinstance(text, bytes) else text.encode("latin-1", "surrogateescape")


def _one(headers, name):
    """The one value of a field, or None. `headers` is a list of pairs, or a mapping."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    values = [value for known, value in pairs if known.lower() == name]
    return _bytes(values[0]) if len(values) == 1 else None


class Verifier:
    """Keeps the keys (`{id: secret}`), and remembers what it has seen. One for all threads."""

    def __init__(self, keys, nonces_max=NONCES_MAX):
        self._keys = {key: secret.encode() for key, secret in keys.items()}
        self._lock = threading.Lock()
        self._newer, self._older, self._began = set(), set(), 0
        self._nonces_max = nonces_max

    def verify(self, *, method, authority, target, headers, body, now=None):
        """Returns the id of the key that signed the request, or raises `Refused`.

        `authority` is the value of Host, `target` path and query as in the start line.
        """
        now = int(time.time()) if now is None else now
        value = (_one(headers, "x-tollkeep-signature") or b"").decode("latin-1")
        read = _FORM.fullmatch(value) if len(value) <= VALUE_CHARS_MAX else None
        if read is None:
            raise Refused("malformed")
        signed_at, nonce, key, body_hash, names, tag = read.groups()
        covered = names.split(";") if names else []
        if covered != sorted(set(covered)):
            raise Refused("malformed")
        if abs(int(signed_at) - now) > FRESH_S:
            raise Refused("stale")
        if key not in self._keys:
            raise Refused("unknown_key")
        if body_hash != "UNSIGNED":
            if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), body_hash):
                raise Refused("body_mismatch")
        path, _, query = target.partition("?")
        start = ["TOLLKEEP-ORIGIN-V1", key, signed_at, nonce, method, authority, path, query]
        lines = [_bytes(line) for line in [*start, body_hash, names]]
        for name in covered:
            received = _one(headers, name)
            if received is None:
                raise Refused("mismatch")
            lines.append(name.encode() + b":" + received)
        made = hmac.new(self._keys[key], b"\n".join(lines), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(made, tag):
            raise Refused("mismatch")
        if not self._take(f"{key}:{nonce}", now):
            raise Refused("replayed")
        return key

    def _take(self, nonce, now):
        """Remembers a nonce in two generations; False if it was seen, or there is no room."""
        with self._lock:
            age = now - self._began
            if age >= REMEMBERED_S:
                self._older = self._newer if age < 2 * REMEMBERED_S else set()
                self._newer, self._began = set(), now
            if nonce in self._older or nonce in self._newer or len(self._newer) >= self._nonces_max:
                return False
            self._newer.add(nonce)
            return True


def verify_bolthub(*, secrets, method, path, headers, body, now_ms=None):
    """Raises `Refused` unless one of the secrets signed the request.

    `path` has the form that the gateway signs (`path_form`): raw, or percent-decoded, without
    query. This form leaves query, authority and other fields open, and remembers nothing.
    """
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    names = ("x-gateway-timestamp", "x-gateway-nonce", "x-gateway-signature")
    signed_at, nonce, tag = (_one(headers, name) or b"" for name in names)
    if not re.fullmatch(rb"[0-9]{1,15}", signed_at) or not nonce or not tag:
        raise Refused("malformed")
    if not 0 <= now_ms - int(signed_at) <= 30_000:
        raise Refused("stale")
    canonical = b"\n".join([method.encode(), path.encode(), signed_at, nonce, body])
    for secret in filter(None, secrets):
        made = hmac.new(secret.encode(), canonical, hashlib.sha256).hexdigest()
        if hmac.compare_digest(made.encode(), tag):
            return
    raise Refused("mismatch")
