"""A request of the corpus, and how one is written."""

import json
from typing import Any, NamedTuple

JSON = {"content-type": "application/json"}
MIB = 2**20
LARGE = 2 * MIB


class Hostile(NamedTuple):
    """A request with a name; `body` goes as it is."""

    name: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str]


def posted(name: str, path: str, body: Any) -> Hostile:
    """A request of JSON."""
    return Hostile(name, "POST", path, json.dumps(body).encode(), JSON)
