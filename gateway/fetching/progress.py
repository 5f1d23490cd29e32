"""How far downloads are, for whoever looks: the terminal, the log, `/status`, the metrics."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import structlog

from gateway.telemetry import metrics
from gateway.telemetry.sizes import shown_bytes

TELL_SECONDS = 10.0
"""Between two lines about one download."""

log = structlog.get_logger()


class Fetching(msgspec.Struct, frozen=True):
    """A download under way: of what it fetches, how much is here."""

    model: str
    num_files: int
    done_bytes: int
    total_bytes: int
    seconds: float

    @property
    def rate(self) -> str:
        """Bytes a second so far."""
        return f"{shown_bytes(self.done_bytes / max(self.seconds, 1e-3))}/s"


class Fetch:
    """One download under way; files come in threads of their own."""

    def __init__(self, model: str, num_files: int, total_bytes: int, tell: "Tell") -> None:
        self.model = model
        self.is_stopped = False
        self._num_files = num_files
        self._total_bytes = total_bytes
        self._tell = tell
        self._began = time.monotonic()
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    def at(self, name: str, done_bytes: int) -> None:
        """Of a file is here so much.

        Raises:
            Stopped: nobody wants it any more.
        """
        if self.is_stopped:
            raise Stopped
        with self._lock:
            self._done[name] = done_bytes
        shown = self.shown()
        metrics.FETCHED_BYTES.labels(self.model).set(shown.done_bytes)
        self._tell(shown)

    def shown(self) -> Fetching:
        """How it stands now."""
        with self._lock:
            done = sum(self._done.values())
        seconds = time.monotonic() - self._began
        return Fetching(self.model, self._num_files, done, self._total_bytes, seconds)


class Stopped(Exception):
    """A download is not wanted any more."""


Tell = Callable[[Fetching], None]

_under_way: dict[int, Fetch] = {}


def under_way() -> list[Fetching]:
    """Every download of this process."""
    return [fetch.shown() for fetch in _under_way.copy().values()]


@contextmanager
def followed(model: str, num_files: int, total_bytes: int, tell: Tell) -> Iterator[Fetch]:
    """A download, to be seen while the block runs."""
    fetch = Fetch(model, num_files, total_bytes, tell)
    metrics.FETCH_TOTAL_BYTES.labels(model).set(total_bytes)
    _under_way[id(fetch)] = fetch
    try:
        yield fetch
    finally:
        fetch.is_stopped = True
        del _under_way[id(fetch)]


def in_log() -> Tell:
    """Tells of a download in the log, now and then."""
    return seldom(
        lambda one: log.info("fetching", model=one.model, done=done_of(one), rate=one.rate)
    )


def seldom(tell: Tell) -> Tell:
    """Tells no oftener than every ten seconds."""
    last = time.monotonic()

    def maybe(fetching: Fetching) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            tell(fetching)

    return maybe


def done_of(fetching: Fetching) -> str:
    """`1.2 GiB of 6.5 GiB`."""
    return f"{shown_bytes(fetching.done_bytes)} of {shown_bytes(fetching.total_bytes)}"
