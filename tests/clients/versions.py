"""Which of the clients that the suite runs are behind: `python -m tests.clients.versions`.

It asks pip and npm for the newest version of each, prints a line for every one that has a newer
than is pinned here, and ends with 1 where there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from tests.clients.environments import NODE, PYTHON

PIP = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?==(?P<version>[\w.]+)")
NPM = re.compile(r"(npm:)?((?P<name>@?[\w./-]+)@)?(?P<version>\d[\w.-]*)")
OLD_ON_PURPOSE = re.compile(r"-old$|-[\d.]+$")
"""Environments whose versions are there because people still have them."""


class Pinned(NamedTuple):
    """A client as the suite installs it."""

    registry: str
    name: str
    version: str


def pinned() -> Iterator[Pinned]:
    """Every client that ought to be the newest."""
    for environment, requirements in PYTHON.items():
        for found in map(PIP.fullmatch, requirements):
            assert found, f"{environment}: a version that is not pinned"
            if not OLD_ON_PURPOSE.search(environment):
                yield Pinned("pypi", found["name"], found["version"])
    for name, version in NODE.items():
        match = NPM.fullmatch(version)
        assert match, f"{name}: a version that is not pinned"
        if not OLD_ON_PURPOSE.search(name):
            yield Pinned("npm", match["name"] or name, match["version"])


def newest(client: Pinned) -> str:
    """The version that pip or npm, as they are set up here, give to who asks for none."""
    if client.registry == "npm":
        return _said("npm", "view", client.name, "version").strip()
    listed = _said(sys.executable, "-m", "pip", "index", "versions", client.name)
    return listed.partition("(")[2].partition(")")[0]


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def is_behind(version: str, latest: str) -> bool:
    """Whether there is a newer version; of versions that cannot be ordered, whether another."""
    try:
        return Version(version) < Version(latest)
    except InvalidVersion:
        return version != latest


def main() -> int:
    """Print those that are behind."""
    clients = sorted(set(pinned()))
    with ThreadPoolExecutor(8) as threads:
        latest = list(threads.map(newest, clients))
    behind = [
        (client, version)
        for client, version in zip(clients, latest, strict=True)
        if is_behind(client.version, version)
    ]
    for client, version in behind:
        print(f"{client.registry}: {client.name} {client.version}, there is {version}")
    print(f"{len(behind)} of {len(clients)} clients are behind")
    return int(bool(behind))


if __name__ == "__main__":
    sys.exit(main())
