"""What became of each scenario with each client, as a table: printed, and kept as markdown."""

from pathlib import Path

from bench import CLIENTS

# Columns: who paid. A proof is signed by a stock client and shown by the lab itself.
PROOF = "proof"
COLUMNS = [*CLIENTS, PROOF]


def payers(told: dict) -> set[str]:
    """Who pays in a scenario."""
    named = {step["pay"] for step in told["steps"] if "pay" in step}
    return named | ({PROOF} if any("sign" in step for step in told["steps"]) else set())


class Table:
    def __init__(self):
        self.rows: list[tuple[str, dict[str, str]]] = []

    def note(self, name: str, told: dict, verdict: str) -> None:
        self.rows.append((name, {payer: verdict for payer in payers(told)}))

    def text(self) -> str:
        lines = [f"| scenario | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
        for name, cells in self.rows:
            lines.append(f"| {name} | {' | '.join(cells.get(column, '') for column in COLUMNS)} |")
        paid = {column: sum(cells.get(column) == "ok" for _, cells in self.rows) for column in COLUMNS}
        lines.append(f"| **ok, of {len(self.rows)}** | {' | '.join(str(paid[column]) for column in COLUMNS)} |")
        return "\n".join(lines) + "\n"

    def keep(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Clients and scenarios of the lab\n\n{self.text()}")
