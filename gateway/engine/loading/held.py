"""What lies beside an endpoint in memory, and under which name."""

from typing import NamedTuple

from gateway.catalog.cards import AdapterCard
from gateway.engine.weights.files import Origin


class Held(NamedTuple):
    """The adapter that a route means now, and the name its weights have in memory.

    The name says the digest: what runs keeps the weights it began with under another. `rank` is
    the largest of its layers', 0 of what is no low rank.
    """

    card: AdapterCard
    name: str
    origin: Origin
    size_bytes: int
    rank: int = 0
