"""The gateway attacked as a hostile client, a broken network and a bad night would.

python -m tests.resilience [--write] [SCENARIO…]
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.resilience import table
from tests.resilience.scenarios import SCENARIOS


def main() -> None:
    """Run scenarios, a row each, and end with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the rows beside this command")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what it began
    passed = [run(name, write=options.write) for name in options.scenarios or SCENARIOS]
    sys.exit(0 if all(passed) else 1)


def run(name: str, *, write: bool) -> bool:
    """Run one scenario in a folder of its own; whether it passed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="resilience") as folder:
        row = asyncio.run(SCENARIOS[name](Path(folder)))
    kept = table.kept(name, row, time.monotonic() - began)
    print(table.line(kept), flush=True)
    for fault in row.faults:
        print(f"    {fault}", file=sys.stderr, flush=True)
    if write:
        table.keep(kept)
    return row.passed


if __name__ == "__main__":
    main()
