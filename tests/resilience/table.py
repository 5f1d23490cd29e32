"""The rows of the last long run: as JSON, and as the table of this folder's README."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.resilience.row import Row, first

HERE = Path(__file__).parent
JSON = HERE / "last.json"
README = HERE / "README.md"
HEADING = "## The last long run\n"
COLUMNS = ("scenario", "what was done", "what was promised", "what was seen", "", "when")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A row with its scenario's name, its day, its seconds and its machine."""

    scenario: str
    date: str
    seconds: int
    machine: str
    passed: bool
    done: str
    promised: str
    seen: str
    faults: tuple[str, ...]


def kept(scenario: str, row: Row, seconds: float) -> Kept:
    """A row as it is kept."""
    return Kept(
        scenario=scenario,
        date=datetime.now(UTC).date().isoformat(),
        seconds=round(seconds),
        machine=machine(),
        passed=row.passed,
        done=row.done,
        promised=row.promised,
        seen=row.seen,
        faults=row.faults,
    )


def line(row: Kept) -> str:
    """A row of the table."""
    seen = row.seen if row.passed else f"{row.seen}. **{first(row.faults)}**"
    verdict = "pass" if row.passed else "**FAIL**"
    when = f"{row.date}, {row.seconds} s"
    cells = (row.scenario, row.done, row.promised, seen, verdict, when)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def keep(row: Kept) -> None:
    """Put a row in the place of its scenario's last one."""
    rows = {known.scenario: known for known in _known()} | {row.scenario: row}
    data = msgspec.json.format(msgspec.json.encode(list(rows.values())))
    JSON.write_bytes(data + b"\n")
    before, heading, _ = README.read_text().partition(HEADING)
    lines = [line(known) for known in rows.values()]
    machines = "; ".join(sorted({known.machine for known in rows.values()}))
    ruled = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *lines]
    README.write_text(f"{before}{heading}\n{machines}.\n\n" + "\n".join(ruled) + "\n")


def machine() -> str:
    """How many processors of what kind."""
    facts = Path("/proc/cpuinfo")
    names = facts.read_text().splitlines() if facts.exists() else []
    model = next((text for text in names if text.startswith("model name")), "")
    kind = model.partition(": ")[2] or platform.machine()
    return f"{os.cpu_count()} cores, {kind}, Python {platform.python_version()}"


def _known() -> list[Kept]:
    if not JSON.exists():
        return []
    return msgspec.json.decode(JSON.read_bytes(), type=list[Kept])
