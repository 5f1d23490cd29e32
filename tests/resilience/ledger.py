"""What clients were answered, and may therefore rely on."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.accounts.keys import KeyStore


@dataclass(frozen=True)
class Owner:
    """A key: its id, its secret, and where its webhooks are received."""

    id: str
    secret: str
    webhook: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What says who asks."""
        return {"Authorization": f"Bearer {self.secret}"}


def new_owner(
    data: Path, name: str, *, concurrent_samples: int | None = None, operator: bool = False
) -> tuple[Owner, str]:
    """An owner with a new key, and the secret that its webhooks are signed with."""
    keys = KeyStore(data)
    key, secret = keys.create(name, concurrent_samples=concurrent_samples, operator=operator)
    return Owner(key.id, secret), key.webhook_secret


@dataclass(frozen=True)
class AcceptedRun:
    """A run that a client knows the id of, and the seed that colours its picture."""

    owner: Owner
    seed: int
    may_be_cancelled: bool = False


@dataclass(frozen=True)
class AcceptedBatch:
    """A batch of the Batch API, and the ids of its lines."""

    owner: Owner
    line_ids: tuple[str, ...]


@dataclass
class Ledger:
    """The promises of one scenario.

    `kept` are URLs and the bytes that were taken for them, `pictures` URLs and the seeds of
    the pictures that were answered. `faults` are answers that nobody should get. Of those
    who were refused so many were told that nobody draws, rather than that they ask too much.
    """

    runs: dict[str, AcceptedRun] = field(default_factory=dict)
    batches: dict[str, AcceptedBatch] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    num_broken_off: int = 0
    num_refused: int = 0
    num_unavailable: int = 0
    faults: list[str] = field(default_factory=list)

    def told(self) -> str:
        """What was asked and answered to the end, the most first."""
        return ", ".join(f"{count} × {kind}" for kind, count in self.answered.most_common())
