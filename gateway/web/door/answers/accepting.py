"""Which of several content types a client would rather have (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from gateway.outside.spelling import decimal

MAX_RANGES = 64
"""That are looked at; browsers send eight."""


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The best accepted of the offered types, None where none is.

    Weight decides, then how closely the client named it, then the client's order, then the
    order of the offer.
    """
    ranges = [_range(entry) for entry in accept.lower().split(",", MAX_RANGES)[:MAX_RANGES]]
    ranked = []
    for index, kind in enumerate(offered):
        fits = [
            (_closeness(wanted, kind), -position, weight)
            for position, (wanted, weight) in enumerate(ranges)
            if _closeness(wanted, kind)
        ]
        if fits:
            # The closest range decides about a type, whatever a wider one says.
            closeness, position, weight = max(fits)
            ranked.append((weight, closeness, position, -index, kind))
    best = max(ranked, default=None)
    return best[-1] if best and best[0] > 0 else None


def _range(entry: str) -> tuple[str, float]:
    """A media range and its weight; one that makes no sense counts as none given."""
    kind, *parameters = (part.strip() for part in entry.split(";"))
    weight = 1.0
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "q":
            try:
                weight = min(1.0, max(0.0, decimal(value)))
            except ValueError:
                weight = 1.0
    return kind, weight


def _closeness(wanted: str, kind: str) -> int:
    """3 for the very type, 2 for its family, 1 for anything, 0 for another."""
    if wanted == kind:
        return 3
    if wanted == f"{kind.partition('/')[0]}/*":
        return 2
    return int(wanted == "*/*")
