"""What is done in a scenario, step by step, and what must have come of it; README.md has the words."""

import base64
import collections
import concurrent.futures
import http.client
import json
import secrets
import threading

from bench import CLIENTS, PAYEE, ask, wait_for
from gateway import eventually


def problem_of(body: bytes) -> str:
    try:
        return json.loads(body).get("code", "")
    except (ValueError, AttributeError):
        return ""


class Begun:
    """A call on its way: what its caller has of the answer so far."""

    def __init__(self, url: str, fields: dict):
        self.status: int | None = None
        self.had = 0
        self.is_whole = False
        self.thread = threading.Thread(target=self.read, args=(url, fields), daemon=True)
        self.thread.start()

    def read(self, url: str, fields: dict) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            connection.request("GET", f"/{path}", headers=fields)
            answer = connection.getresponse()
            self.status = answer.status
            while read := answer.read1(65536):
                self.had += len(read)
            self.is_whole = answer.length == 0
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()


class Scenario:
    """One file of scenarios/: its steps in order, then what must have come of them."""

    def __init__(self, lab, told: dict):
        self.lab, self.told = lab, told
        self.proofs: dict[str, dict] = {}
        self.sessions: dict[str, str] = {}
        self.tenant: str | None = None
        self.begun: Begun | None = None

    def run(self) -> None:
        try:
            self.run_steps()
        finally:
            self.put_right()

    def put_right(self) -> None:
        """Whatever came of it, the next scenario finds everything as it should be."""
        lab = self.lab
        lab.upstream.gate.set()
        lab.gateway.let_disk_go()
        if lab.gateway.process.poll() is not None:
            lab.gateway.start()
        if any("clock" in step for step in self.told["steps"]):
            lab.chain.set_clock(0)
        if any("configure" in step for step in self.told["steps"]):
            lab.gateway.configure([])

    def run_steps(self) -> None:
        lab = self.lab
        lab.facilitator.fault(op="none")
        before = self.before = lab.balances()
        lab.upstream.taken()
        lab.facilitator.calls()
        for step in self.told["steps"]:
            (kind, _), *_ = step.items()
            try:
                getattr(self, f"do_{kind}")(**step)
            except AssertionError as error:
                raise AssertionError(f"at {json.dumps(step)}: {error}") from None
        self.check_moved(before)
        self.check("upstream calls", len(lab.upstream.taken()), self.told["upstream"])
        calls = lab.facilitator.calls()
        if "settle" in self.told:
            self.check("settle calls", calls["settle"], self.told["settle"])
        self.check("payment fields at the upstream", lab.upstream.leaked, set())

    def check_moved(self, before: dict[str, int]) -> None:
        want = self.told["moved"]
        moved = {}

        def settled() -> bool:
            nonlocal moved
            after = self.lab.balances()
            moved = {address: after[address] - before[address] for address in after}
            return moved[PAYEE] == want

        try:
            wait_for("payment on chain", 10, lambda: settled() or None) if want else settled()
        except AssertionError:
            pass
        self.check("units received", moved[PAYEE], want)
        self.check("units paid", -sum(units for address, units in moved.items() if address != PAYEE), want)

    @staticmethod
    def check(what: str, found, want) -> None:
        assert found == want, f"{what}: {found}, not {want}"

    def do_fault(self, fault: dict) -> None:
        self.lab.facilitator.fault(**fault)

    def do_pay(self, pay: str, method: str, path: str, within: int = 0, **want) -> None:
        """A client pays. `within`: again and again, until it is answered so."""
        eventually(within, lambda: self.paid(pay, method, path, **want))

    def paid(self, pay: str, method: str, path: str, status: int = 200, body: str | None = None, **want) -> None:
        more = {"CREDIT": want["credit"]} if "credit" in want else {}
        told = self.lab.client(pay, [method, self.lab.url + path, *([body] if body else [])], **more)
        self.check("status", told.get("status"), status) if "status" in told else self.check("answer", told, status)
        if "code" in want:
            self.check("code", problem_of(told.get("body", "").encode()), want["code"])
        if "session" in want:
            self.sessions[want["session"]] = told["session"]["token"]
            self.check("balance", told["session"]["balance"], want.get("balance"))
            assert told["session"]["expires"].endswith("Z"), told["session"]
        # What is settled when all was delivered has no receipt yet.
        if status != 200 or not want.get("receipt", True):
            return
        receipt = told["receipt"]
        assert receipt, "no receipt"
        assert receipt["success"] and receipt["transaction"].startswith("0x"), f"receipt: {receipt}"
        self.check("payer", receipt["payer"].lower(), self.lab.chain.payers[list(CLIENTS).index(pay)].lower())
        if body:
            self.check("body at the upstream", json.loads(told["body"])["sent"], body)

    def do_sign(self, sign: str, path: str, method: str = "GET", called: str | None = None) -> None:
        self.proofs[sign] = self.lab.proof(method, path, called)

    def do_send(self, send: str, path: str, within: int = 0, **want) -> None:
        """Shows a proof. `within`: again and again, until it is answered so."""
        eventually(within, lambda: self.told_of(path, self.proofs[send], want))

    def do_use(self, use: str, path: str, times: int = 1, within: int = 0, **want) -> None:
        """Calls by the token of a session. `within`: again and again, until it is answered so."""
        for _ in range(times):
            fields = {"x-session-token": self.sessions[use]}
            eventually(within, lambda: self.told_of(path, fields, {"receipt": False} | want))

    def do_ask(self, ask: str, within: int = 0, **want) -> None:
        """Shows nothing."""
        eventually(within, lambda: self.told_of(ask, {}, want))

    def told_of(self, path: str, fields: dict, want: dict) -> None:
        try:
            status, fields, body = ask(self.lab.url + path, headers=fields | want.get("beside", {}))
        except (OSError, http.client.HTTPException) as error:
            self.check("answer", type(error).__name__, want.get("broken", "none broken"))
            return
        assert "broken" not in want, f"status {status} and {len(body)} bytes, not a broken answer"
        found = f"{status} {problem_of(body)}: {body[:300]!r}"
        assert status == want["status"], f"{found}, not {want['status']}"
        if "code" in want:
            assert problem_of(body) == want["code"], f"{found}, not {want['code']}"
        if "reason" in want:
            self.check("reason", json.loads(body).get("reason"), want["reason"])
        asks = "payment-required" in fields
        # PAY-3: a caller who is asked to pay again would pay twice.
        self.check("asks for a payment", asks, want.get("challenge", False))
        if "units" in want:
            asked = json.loads(base64.b64decode(fields["payment-required"]))
            self.check("units asked for", asked["accepts"][0]["amount"], want["units"])
        if "balance" in want:
            self.check("balance", fields.get("x-session-balance"), want["balance"])
        if want.get("receipt", status == 200):
            receipt = json.loads(base64.b64decode(fields["payment-response"]))
            assert receipt["transaction"], f"receipt: {receipt}"
        if "payment" in want:
            self.check("x-tollkeep-payment", fields.get("x-tollkeep-payment"), want["payment"])
        self.check("told again", fields.get("x-tollkeep-replayed") == "true", want.get("again", False))

    def do_race(self, race: str, path: str, callers: int, served: int) -> None:
        """Many callers show one proof at once."""
        url, headers = self.lab.url + path, self.proofs[race]
        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            statuses = [status for status, *_ in pool.map(lambda _: ask(url, headers=headers), range(callers))]
        self.check("served", statuses.count(200), served)
        others = {status for status in statuses if status != 200}
        assert others <= {402, 409, 429}, f"others were answered {others}"

    def do_begin(self, begin: str, path: str) -> None:
        """Shows a proof, and does not wait for the answer."""
        self.begun = Begun(self.lab.url + path, self.proofs[begin])

    def do_until(self, until: str) -> None:
        """Waits for a point on the way of the call that was begun."""
        lab, begun = self.lab, self.begun
        before = self.before
        points = {
            "verify": lambda: lab.facilitator.calls(peek=True)["verify"],
            "settle": lambda: lab.facilitator.calls(peek=True)["settle"],
            "on chain": lambda: lab.chain.balance(PAYEE) > before[PAYEE],
            "upstream": lambda: lab.upstream.is_waiting.is_set(),
            "byte": lambda: begun.had,
            "whole": lambda: begun.is_whole,
        }
        # Otherwise the state that the payment has on disk.
        wait_for(until, 15, points.get(until, lambda: lab.gateway.states()[:1] == [until]))

    def do_hold(self, hold: str) -> None:
        """`upstream`: its answer waits, where the path says; `disk`: nothing is written any more."""
        if hold == "disk":
            return self.lab.gateway.hold_disk()
        self.lab.upstream.is_waiting.clear()
        self.lab.upstream.gate.clear()

    def do_release(self, release: str) -> None:
        self.lab.gateway.let_disk_go() if release == "disk" else self.lab.upstream.gate.set()

    def do_kill(self, kill: str) -> None:
        """Kills the gateway and starts another on its data; `kill` is what the caller has had until then."""
        lab = self.lab
        lab.gateway.kill()
        lab.gateway.let_disk_go()
        lab.upstream.gate.set()
        if self.begun:
            self.begun.thread.join(30)
            had = "whole" if self.begun.is_whole else "part" if self.begun.had else "head" if self.begun.status else "nothing"
            # A head and what follows go out together or not.
            assert had in kill.split(" or "), f"the caller had {had}, not {kill}"
        lab.gateway.start()

    def do_clock(self, clock: int) -> None:
        """The clock of the chain is so many seconds ahead of ours."""
        self.lab.chain.set_clock(clock)

    def do_configure(self, configure: list) -> None:
        """The file as it was at first, with these texts replaced."""
        self.lab.gateway.configure(configure)

    def do_tenant(self, tenant: str) -> None:
        """`made`, `suspended` or `resumed`; its token is shown beside proofs from now on."""
        gateway = self.lab.gateway
        if tenant == "made":
            self.tenant, self.token = gateway.tenant()
            return
        word = {"suspended": "suspend", "resumed": "resume"}[tenant]
        gateway.api("POST", f"/api/v1/tenants/{self.tenant}/{word}", {})

    def do_token(self, token: str, path: str, within: int = 0, **want) -> None:
        """As `send`, beside the token of the tenant; without a proof if there is none by that name."""
        fields = self.proofs.get(token, {}) | self.token
        eventually(within, lambda: self.told_of(path, fields, want))

    def do_flood(self, flood: int, path: str, spoiled: str | None = None, **want) -> None:
        """So many calls from a network of their own, with nothing or with a proof that was spoiled: how often each was
        answered how."""
        fields = {}
        if spoiled:
            fields = {"payment-signature": spoil(self.proofs[spoiled]["PAYMENT-SIGNATURE"])}
        rows = len(self.lab.gateway.states())
        url, source = self.lab.url + path, f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.9"

        def one(_) -> str:
            status, told, body = ask(url, headers=fields, source=source)
            return f"{status} {problem_of(body)}{' +' if 'payment-required' in told else ''}"

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = dict(collections.Counter(pool.map(one, range(flood))))
        self.check("answers", set(found), set(want["answers"]))
        for answer, (least, most) in want["answers"].items():
            assert least <= found[answer] <= most, f"{answer}: {found[answer]} times, not {least} to {most}"
        self.check("rows of payments", len(self.lab.gateway.states()), rows)
        calls = self.lab.facilitator.calls(peek=True)
        if "verify" in want:
            self.check("verify calls", calls["verify"], want["verify"])


def spoil(proof: str) -> str:
    """Signed for something else."""
    told = json.loads(base64.b64decode(proof))
    told["payload"]["authorization"]["nonce"] = f"0x{secrets.token_hex(32)}"
    return base64.b64encode(json.dumps(told).encode()).decode()
