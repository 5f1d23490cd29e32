"""Ways through an entry point that cost the host less than running it line by line.

A card says which: `graphs` replays recorded launches, `regional` runs compiled blocks. A lane
answers what it is ready for; all else goes the plain way, and what was asked for is made ready
beside work, never in front of a person who waits.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog
import torch

from gateway.engine.adapters.adapters import Adapters
from gateway.engine.forwards.graphs import Captures, GraphLane, Recorder, recorder_of
from gateway.engine.forwards.regional import RegionalLane
from gateway.engine.pipelines.parking import Entry

log = structlog.get_logger()


class Lane(Protocol):
    """A faster way through one entry point."""

    def run(self, adapters: Adapters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call, by whatever way is ready for it."""
        ...

    def prepare(self) -> bool:
        """Make ready one thing that was asked for; false where there is none."""
        ...

    def close(self) -> None:
        """Give the entry point back."""
        ...


class Lanes:
    """The lanes of one device's entry points, and the memory that they may take."""

    def __init__(self, device: torch.device, recorder: Recorder | None = None) -> None:
        self.captures = Captures()
        self.recorder = recorder or recorder_of(device)
        self._lanes: dict[Entry, Lane | None] = {}

    def pads(self, entry: Entry) -> bool:
        """Whether an entry point's forwards are best of few sizes."""
        return isinstance(self._lane(entry), GraphLane)

    def run(
        self, entry: Entry, adapters: Adapters, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a forward whose rows have some adapters."""
        lane = self._lane(entry)
        if lane is None:
            return entry.original(*args, **kwargs)
        return lane.run(adapters, args, kwargs)

    def prepare(self) -> bool:
        """Make ready one thing that was asked for; false where there is none."""
        return any(lane.prepare() for lane in self._lanes.values() if lane)

    def forget(self, entries: Iterable[Entry]) -> None:
        """Let go of entry points that are gone."""
        for entry in entries:
            if lane := self._lanes.pop(entry, None):
                lane.close()

    def _lane(self, entry: Entry) -> Lane | None:
        if entry not in self._lanes:
            make = self._makers.get(entry.lane)
            self._lanes[entry] = make(entry) if make else None
        return self._lanes[entry]

    @property
    def _makers(self) -> dict[str, Callable[[Entry], Lane | None]]:
        return {"graphs": self._graphs, "regional": RegionalLane.of}

    def _graphs(self, entry: Entry) -> Lane | None:
        if self.recorder is None:
            log.warning("no graphs on this device: it runs as it is", entry=str(entry))
            return None
        return GraphLane(entry, self.recorder, self.captures)
