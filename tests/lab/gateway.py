"""The gateway under test: started, killed, started again on the same data, reconfigured and asked by its operator."""

import json
import os
import secrets
import sqlite3
import subprocess
import time
from pathlib import Path

from bench import Processes, ask, free_port, wait_for


def clean_environment() -> dict:
    """The gateway refuses names that it doesn't know, and those around us are not meant for it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOLLKEEP_")}


def filled(text: str, **values) -> str:
    """A template with what stands between @ filled in."""
    for name, value in values.items():
        text = text.replace(f"@{name.upper()}@", str(value))
    return text


class Gateway:
    def __init__(self, processes: Processes, binary: Path, folder: Path, config: str):
        self.processes, self.binary, self.folder = processes, binary, folder
        self.config = config
        # Proofs name the place that they were signed for, so it has to stay the same.
        self.ports = {"data": free_port(), "management": free_port()}
        key = subprocess.run([binary, "key", "generate"], env=clean_environment(), capture_output=True, check=True, text=True)
        self.key = key.stdout.strip()
        self.url = f"http://127.0.0.1:{self.ports['data']}"
        self.management = f"http://127.0.0.1:{self.ports['management']}"
        self.held: sqlite3.Connection | None = None
        self.configure([])
        self.start()

    def start(self) -> None:
        env = clean_environment() | {"TOLLKEEP_MANAGEMENT_KEY": self.key}
        serve = [self.binary, "serve", "--print-addr", "--config", "tollkeep.yaml"]
        self.process, _ = self.processes.start("gateway", serve, 60, cwd=self.folder, env=env)

    def kill(self) -> None:
        """As a crash would: nothing is said to it before."""
        self.process.kill()
        self.process.wait()
        self.processes.forget(self.process)

    def configure(self, changes: list[list[str]]) -> None:
        """The file as it was at first, with these texts replaced; a running gateway takes it over by itself."""
        text = filled(self.config, **{f"{name}_port": port for name, port in self.ports.items()})
        for old, new in changes:
            assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        fresh = self.folder / "tollkeep.yaml.new"
        fresh.write_text(text)
        fresh.rename(self.folder / "tollkeep.yaml")

    def api(self, method: str, path: str, body: dict | None = None) -> dict:
        status, _, told = ask(self.management + path, body, {"authorization": f"Bearer {self.key}"}, method)
        assert status < 300, f"{method} {path}: {status} {told[:300]!r}"
        return json.loads(told) if told else {}

    def booked(self) -> int:
        """What the books say was received: what was earned, and what is owed."""
        rows = [*self.api("GET", "/api/v1/revenue?by=route"), *self.api("GET", "/api/v1/credits")]
        return sum(int(row["amount"]) for row in rows)

    def unresolved(self) -> list[dict]:
        """Payments that somebody works on, or that nobody knows about."""
        rows = self.api("GET", "/api/v1/payments?limit=200")["data"]
        return [row for row in rows if row["state"] not in ("spent", "credit", "voided", "released")]

    def database(self) -> sqlite3.Connection:
        files = list((self.folder / "data").glob("*.db"))
        assert len(files) == 1, f"databases: {files}"
        return sqlite3.connect(files[0], isolation_level=None, timeout=30, check_same_thread=False)

    def states(self) -> list[str]:
        """Where the payments stand on disk, the latest first."""
        database = self.database()
        try:
            return [state for (state,) in database.execute("SELECT state FROM payments ORDER BY created_at DESC")]
        finally:
            database.close()

    def hold_disk(self) -> None:
        """From now on nothing that the gateway writes is on disk, until it is let go."""
        self.held = self.database()
        self.held.execute("BEGIN IMMEDIATE")

    def let_disk_go(self) -> None:
        if self.held:
            self.held.execute("ROLLBACK")
            self.held.close()
            self.held = None

    def tenant(self) -> tuple[str, dict]:
        """A tenant of its own: its id, and the field of a token of it."""
        name = f"lab-{secrets.token_hex(4)}"
        tenant = self.api("POST", "/api/v1/tenants", {"name": name})["id"]
        project = self.api("POST", "/api/v1/projects", {"name": name, "tenant": tenant})["id"]
        token = self.api("POST", "/api/v1/tokens", {"project": project})["secret"]
        return tenant, {"authorization": f"Bearer {token}"}

    def agrees(self, moved) -> None:
        """The books say what the chain says, as soon as nothing is open any more."""
        last = {}

        def same() -> bool:
            nonlocal last
            last = {"chain": moved(), "books": self.booked(), "open": [row["state"] for row in self.unresolved()]}
            return last["chain"] == last["books"] and not last["open"] or None

        try:
            wait_for("agreement", 90, same)
        except AssertionError:
            raise AssertionError(f"the books don't agree with the chain: {last}") from None
        check = self.api("GET", "/api/v1/ledger/check")
        assert check["valid"], check


def eventually(seconds: float, attempt) -> None:
    """Until it goes well; then the last complaint is told."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
