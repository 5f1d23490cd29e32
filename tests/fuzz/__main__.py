"""`python -m tests.fuzz`: mutated requests of every dialect, by the thousand.

In this process by default; `--url` hunts in a server, `--database` on another database.
Exits with 1 if anything is found.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.hunt import Hunt, hunt
from tests.fuzz.seeds import requests, things
from tests.fuzz.wire import Answered, Ask, Sent, inside, over
from tests.fuzz.world import gateway, valid_requests


def main() -> int:
    """Hunt as the command line says, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="a SQLAlchemy URL; default: SQLite")
    parser.add_argument("--url", help="a server to hunt in, with fetch_urls off; default: none")
    parser.add_argument("--key", help="an API key of that server")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    found = asyncio.run(_hunt(options))
    for finding in found.findings:
        print(
            f"#{finding.number} {finding.sent.method} {finding.sent.target[:200]!r}: {finding.why}"
        )
    answered = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    print(f"{options.requests} requests in {time.monotonic() - began:.0f} s ({answered})")
    print(f"{len(found.findings)} found")
    return 1 if found.findings else 0


async def _hunt(options: argparse.Namespace) -> Hunt:
    count, seed = options.requests, options.seed
    if options.url:
        ask = _keyed(over(options.url), options.key)
        return await hunt(ask, requests(await things(ask)), requests=count, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(Path(folder), options.database) as app:
            ask = inside(app)
            valid = valid_requests(app, await things(ask))
            return await hunt(ask, valid, requests=count, seed=seed)


def _keyed(ask: Ask, key: str | None) -> Ask:
    """Asks with a key, unless a mutation brings its own."""
    if not key:
        return ask

    async def asking(sent: Sent) -> Answered:
        if any(name == b"authorization" for name, _ in sent.headers):
            return await ask(sent)
        headers = (*sent.headers, (b"authorization", f"Bearer {key}".encode()))
        return await ask(Sent(sent.method, sent.target, headers, sent.body))

    return asking


if __name__ == "__main__":
    sys.exit(main())
