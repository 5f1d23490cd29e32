"""What a scenario did, what was promised, and what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One scenario; it passed if no promise was broken."""

    done: str
    promised: str
    seen: str
    faults: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults


def first(faults: Sequence[str], limit: int = 5) -> str:
    """The first of some faults, and how many more there are."""
    more = f"; and {len(faults) - limit} more" if len(faults) > limit else ""
    return "; ".join(faults[:limit]) + more
