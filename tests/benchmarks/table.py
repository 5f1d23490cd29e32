"""One table of measurements, every row a ratio of two figures of the same run."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HEADER = ("measured", "gateway", "compared with", "is", "ratio", "aim")
UNMEASURED = "unmeasured"


@dataclass(frozen=True)
class Row:
    """`value` and `reference` are in `unit`; None where they could not be measured, and `why`."""

    name: str
    unit: str
    value: float | None
    compared_with: str
    reference: float | None
    aim: str = ""
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        ratio = f"{UNMEASURED}: {self.why}" if self.why else UNMEASURED
        if self.value is not None and self.reference:
            ratio = f"{self.value / self.reference:.2f}"
        return (
            self.name, self._shown(self.value), self.compared_with,
            self._shown(self.reference), ratio, self.aim,
        )

    def _shown(self, value: float | None) -> str:
        return UNMEASURED if value is None else f"{value:.4g} {self.unit}"


def markdown(rows: Iterable[Row]) -> str:
    """The table, its columns aligned for a terminal too."""
    lines = [HEADER, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    return "\n".join(_line(cells, widths) for cells in ruled)


def told(rows: Iterable[Row]) -> Iterator[Row]:
    """Say each row while the next is measured."""
    for row in rows:
        print(*row.cells, sep="; ", file=sys.stderr, flush=True)
        yield row


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def percentile(seconds: list[float], percent: float) -> float:
    """The value below which that share of a list lies; the nearest rank."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
