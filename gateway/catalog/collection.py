"""The catalogue as its folders are now, and with what was added or withdrawn by request.

Whoever answers a request takes one catalogue and stays with it; the next request's may be
another. A look at the folders takes some microseconds a card. It is taken for each request,
unless that came to more than a part of the time; for what is not found, always.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from gateway.catalog.cards import CARD, AdapterCard, CardError
from gateway.catalog.catalog import Catalog, Heard, RunsScheduler
from gateway.catalog.heads.endings import WEIGHTS, ends
from gateway.catalog.heads.stamps import Stamp, is_settled, stamps_of
from gateway.catalog.sources.weights import INDEXES, SNAPSHOTS
from gateway.catalog.survey.survey import faults_of, oddities_of, state_of

SHARE = 20
"""Between two looks at the folders passes so many times what a look takes."""

FRESH_SECONDS = 1.0
"""For so long what is wrong with files is good for everyone who asks."""

Key = tuple[str, str]
Sight = dict[str, Stamp | None]

log = structlog.get_logger()


class Folders(msgspec.Struct, frozen=True):
    """Where cards lie: folders of models and of what lies beside them, those that win last."""

    models: tuple[Path, ...] = ()
    adapters: tuple[Path, ...] = ()
    controls: tuple[Path, ...] = ()
    embeddings: tuple[Path, ...] = ()

    def watched(self) -> Iterator[Path]:
        """What to look at, to see a card or file come or go, or a card change.

        A folder shows what comes and goes in it, so that files of weights are not among them.
        """
        for folder in self.models:
            yield folder
            for inner in _entries(folder):
                if inner.suffix == ".toml":
                    yield inner
                else:
                    yield from _marks(inner)
        for folder in (*self.adapters, *self.controls, *self.embeddings):
            yield folder
            for owner in _entries(folder):
                yield owner
                for inner in _entries(owner):
                    if not ends(inner, WEIGHTS):
                        yield from (inner, inner / CARD)


NOWHERE = Folders()


class Added(NamedTuple):
    """An adapter that was added by request, and the name it has besides its id, if any."""

    card: AdapterCard
    name: str | None


class Collection:
    """The one place that knows what is served now; safe from any thread.

    `read` makes the catalogue of its folders. What is wrong with them and with files of models
    is told in the log, a line each, whenever it is found to have changed.
    """

    def __init__(self, read: Callable[[], Catalog], folders: Folders = NOWHERE) -> None:
        self._read = read
        self._folders = folders
        self._tried: RunsScheduler | None = None
        self._heard: Heard | None = None
        self._added: dict[Key, Added] = {}
        self._withdrawn: set[Key] = set()
        self._passed_over: set[str] = set()
        self._unusable: dict[str, str] = {}
        self._oddities: dict[str, str] = {}
        self._faults: Mapping[str, CardError] = {}
        self._faults_due = 0.0
        self._lock = threading.RLock()
        self._inspecting = threading.Lock()
        self._watched: list[str] = []
        self._seen: Sight | None = None
        self._due = 0.0
        self._latest: Catalog | None = None
        self._read_anew()

    @property
    def latest(self) -> Catalog:
        """What was served when the folders were last looked at; costs nothing."""
        assert self._latest is not None
        return self._latest

    @classmethod
    def of(cls, catalog: "Catalog | Collection") -> "Collection":
        """A catalogue that no folder changes."""
        return catalog if isinstance(catalog, Collection) else cls(lambda: catalog)

    def now(self) -> Catalog:
        """What is served now."""
        if time.monotonic() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self.latest

    def renewed(self) -> Catalog:
        """What is served now, however lately that was looked at."""
        with self._lock:
            self._look()
        return self.latest

    def replace(self, catalog: Catalog) -> None:
        """Serve what another process has found, in the place of what was read here."""
        with self._lock:
            self._read = lambda: catalog
            self._read_anew()

    def faults(self) -> Mapping[str, CardError]:
        """Why models cannot be loaded, or not without fetching them, by id, as a moment ago."""
        self._inspect(is_due=False)
        return self._faults

    def learn(self, tried: RunsScheduler, heard: Heard) -> None:
        """Have the catalogue know what an engine found out of its models."""
        with self._lock:
            self._tried, self._heard = tried, heard
            self._publish()

    def add(self, card: AdapterCard, name: str | None = None) -> None:
        """Serve an adapter, whatever the folders say of its route, and under a name if any."""
        with self._lock:
            self._added[card.endpoint, card.route] = Added(card, name)
            self._withdrawn.discard((card.endpoint, card.route))
            self._read_anew()

    @contextmanager
    def trial(self, card: AdapterCard, name: str | None = None) -> Iterator[None]:
        """Serve an adapter as well, if what is done with it in the block succeeds."""
        before = self._added.get(key := (card.endpoint, card.route))
        was_withdrawn = key in self._withdrawn
        self.add(card, name)
        try:
            yield
        except BaseException:
            with self._lock:
                self._added.pop(key, None)
                self._added |= {key: before} if before else {}
                self._withdrawn |= {key} if was_withdrawn else set()
                self._publish()
            raise

    def withdraw(self, card: AdapterCard) -> None:
        """Serve an adapter no more, whatever the folders say."""
        with self._lock:
            key = (card.endpoint, card.route)
            self._added.pop(key, None)
            self._withdrawn |= {key} & self._found.adapters.keys()
            self._publish()

    def _look(self) -> None:
        began = time.monotonic()
        seen = stamps_of(self._watched)
        ended = time.monotonic()
        self._due = ended + SHARE * (ended - began)
        if seen != self._seen:
            self._read_anew()

    def _read_anew(self) -> None:
        places = (_place(added.card) for added in self._added.values())
        self._watched = [str(path) for path in (*self._folders.watched(), *places) if path]
        seen = stamps_of(self._watched)
        self._found = self._read()
        self._seen = seen if is_settled(seen.values()) else None
        self._publish()
        self._inspect(is_due=True)

    def _publish(self) -> None:
        adapters = {
            key: card for key, card in self._found.adapters.items() if key not in self._withdrawn
        }
        names: dict[str, str] = {}
        for key, (card, name) in self._added.items():
            place = _place(card)
            if card.endpoint in self._found.endpoints and (place is None or place.exists()):
                adapters[key] = card
                names |= {name: card.id} if name else {}
        served = msgspec.structs.replace(
            self._found,
            adapters=adapters,
            aliases=names | self._found.aliases,
            tried=self._tried or self._found.tried,
            heard=self._heard or self._found.heard,
            renewed=self.renewed,
        )
        if served != self._latest:
            self._latest = served

    def _inspect(self, *, is_due: bool) -> None:
        """Look at files, by a lock of its own: whoever looks at folders does not wait for it."""
        with self._inspecting:
            began = time.monotonic()
            if not is_due and began < self._faults_due:
                return
            self._faults = faults = faults_of(self.latest)
            ended = time.monotonic()
            self._faults_due = ended + max(FRESH_SECONDS, SHARE * (ended - began))
            unusable = (id for id, fault in faults.items() if state_of(fault) == "unusable")
            self._tell({id: str(faults[id]) for id in unusable})

    def _tell(self, unusable: dict[str, str]) -> None:
        """Say what is new; of an endpoint that cannot be used its adapters' lines say no more."""
        passed_over = {str(stray) for stray in self.latest.passed_over}
        for stray in sorted(passed_over - self._passed_over):
            log.warning("a file is not used", fault=stray)
        oddities = oddities_of(self.latest)
        for id, told in oddities.items():
            if self._oddities.get(id) != told and id not in unusable:
                log.warning("an adapter may not draw as meant", model=id, hint=told)
        for id, fault in unusable.items():
            owner = id.partition(":")[0]
            if self._unusable.get(id) != fault and (id == owner or owner not in unusable):
                log.warning("a model cannot be used", model=id, fault=fault)
        for id in sorted(self._unusable.keys() - unusable.keys()):
            log.info("a model can be used again, or is gone", model=id)
        self._passed_over, self._unusable, self._oddities = passed_over, unusable, oddities


def _marks(folder: Path) -> Iterator[Path]:
    """What shows that a folder of models is one, or has some in it."""
    names = (CARD, *INDEXES)
    yield from (folder / name for name in names)
    if not any((folder / name).exists() for name in names):
        commits = folder / SNAPSHOTS
        yield from (folder, commits, folder / "refs" / "main")
        inner = (*_entries(folder), *_entries(commits))
        yield from (place / name for place in inner for name in INDEXES)


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:
        return []


def _place(card: AdapterCard) -> Path | None:
    """Where the file of an adapter lies that was added with its path."""
    return Path(card.source) if card.source.startswith("/") else None
