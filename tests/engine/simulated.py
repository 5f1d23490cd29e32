"""A device and its door on a clock of their own: the decisions are the real ones."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from gateway.accounts.admission import Asker, Door
from gateway.engine.forecast import leaving
from gateway.engine.turns import (
    Company,
    Pace,
    Room,
    Shares,
    account,
    next_to_advance,
    next_to_start,
)

CALLS_BESIDE_STEPS = 2
"""The prompt's encoding and the picture's decoding."""


@dataclass(eq=False)
class Picture:
    """A sample in progress; every model call costs as much."""

    client: "Client"
    arrival: int
    steps: int
    calls_left: int = 0
    has_begun: bool = False
    endpoint: str = "x"
    pixels: int = 1024

    def __post_init__(self) -> None:
        self.calls_left = self.steps + CALLS_BESIDE_STEPS

    @property
    def owner(self) -> str:
        return self.client.owner

    @property
    def is_batch(self) -> bool:
        return self.client.is_batch

    @property
    def num_steps(self) -> int:
        return self.steps

    @property
    def num_steps_left(self) -> int:
        return min(self.steps, max(0, self.calls_left - 1))


@dataclass(eq=False)
class Client:
    """Asks for `n` pictures, comes back when told, asks anew when it has them.

    `late_seconds` are on the way. What one asks for is its own, or the `same` as all others,
    or `new` each time that it comes.
    """

    owner: str
    n: int = 1
    steps: int = 4
    think_seconds: float = 0.05
    is_batch: bool = False
    late_seconds: float = 0.02
    asks: Literal["own", "same", "new"] = "own"
    asked: int = 0
    num_open: int = 0
    tries: int = 0


@dataclass
class Seen:
    """What one owner's clients met with: answers, device time, tries of those once refused."""

    answers: int = 0
    seconds: float = 0.0
    refusals: int = 0
    tries: list[int] = field(default_factory=list)


class Simulation:
    """Runs clients against a door and a device whose turns cost `fixed + each * samples`.

    At first a turn of one sample is `believed` to take so many times as long.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        max_batch: int = 8,
        max_waiting: int = 56,
        fixed: float = 0.0,
        each: float = 0.02,
        believed: float = 1.0,
    ) -> None:
        self.clients = clients
        self.now = 0.0
        self.seen: dict[str, Seen] = {client.owner: Seen() for client in clients}
        self._max_batch = max_batch
        self._costs = fixed, each
        places = max_batch + max_waiting
        num_busy = max_batch + min(max_batch, max_waiting) // 2
        self._doors = {is_batch: Door(places, num_busy) for is_batch in (False, True)}
        self._waiting: list[Picture] = []
        self._running: list[Picture] = []
        self._owners, self._company, self._pace = Shares(), Company(), Pace()
        for _ in range(5):
            self._pace.note(believed * (fixed + each), 1, 1, 1024)
        self._numbers = itertools.count()
        self._coming: list[tuple[float, int, Client]] = []
        for client in clients:
            self._comes(client, 0.0)

    def run(self, seconds: float, warm_seconds: float = 30.0) -> dict[str, Seen]:
        """What each owner met with, but for the first seconds."""
        self._run_until(warm_seconds)
        self.seen = {owner: Seen() for owner in self.seen}
        self._run_until(warm_seconds + seconds)
        return self.seen

    @property
    def median_tries(self) -> float:
        """Until in, of those that were refused at first; who still waits outside counts too."""
        tries = [one for seen in self.seen.values() for one in seen.tries]
        outside = [client.tries + 1 for client in self.clients if client.tries > 1]
        return median([*tries, *outside] or [1])

    def _run_until(self, until: float) -> None:
        while self.now < until:
            self._let_in(self.now)
            if self._waiting or self._running:
                self._turn()
            else:
                self.now = self._coming[0][0]

    def _turn(self) -> None:
        self._owners.meet({account(one) for one in (*self._running, *self._waiting)})
        while one := next_to_start(self._startable(), self._running, self._owners.had):
            self._waiting.remove(one)
            self._running.append(one)
            one.has_begun = True
        self._company.note(self._running, self._waiting, self.now)
        due = next_to_advance(
            self._running,
            self._max_batch,
            lambda pixels: self._company.allows(pixels, self._pace.turn_seconds),
        )
        fixed, each = self._costs
        seconds = fixed + each * len(due)
        steps = sum(one.num_steps_left for one in due)
        for one in due:
            one.calls_left -= 1
            self.seen[one.owner].seconds += seconds / len(due)
            self._owners.charge(account(one), seconds / len(due), is_batch=one.is_batch)
        steps -= sum(one.num_steps_left for one in due)
        done = sum(not one.calls_left for one in due)
        self._pace.note(seconds, steps, len(due), sum(one.pixels for one in due), done)
        self._let_in(self.now + seconds)
        self.now += seconds
        for one in due:
            if not one.calls_left:
                self._running.remove(one)
                self._done(one.client)

    def _startable(self) -> list[Picture]:
        room = Room(self._running, self._max_batch, {"x": self._company})
        return [one for one in self._waiting if room.is_for(one)]

    def _let_in(self, until: float) -> None:
        """Everyone who comes until a moment asks at the door."""
        while self._coming and self._coming[0][0] <= until:
            now, _, client = heapq.heappop(self._coming)
            self._ask(client, now)

    def _ask(self, client: Client, now: float) -> None:
        client.tries += 1
        pictures = [Picture(client, next(self._numbers), client.steps) for _ in range(client.n)]
        inside = [
            one for one in (*self._running, *self._waiting) if one.is_batch == client.is_batch
        ]
        inside.sort(key=lambda one: one.arrival)
        claim = {
            "own": f"{id(client)} {client.asked}", "same": "", "new": f"{next(self._numbers)}"
        }[client.asks]
        told = self._doors[client.is_batch].ask(
            Asker(client.owner, claim, client.n),
            now,
            Counter(one.owner for one in inside),
            lambda: leaving(inside, pictures[0], lambda _: self._pace, self._max_batch),
        )
        if told is not None:
            self.seen[client.owner].refusals += 1
            self._comes(client, now + told + client.late_seconds)
            return
        if client.tries > 1:
            self.seen[client.owner].tries.append(client.tries)
        client.tries, client.num_open = 0, client.n
        client.asked += 1
        self._waiting += pictures

    def _done(self, client: Client) -> None:
        client.num_open -= 1
        self.seen[client.owner].answers += 1
        if not client.num_open:
            self._comes(client, self.now + client.think_seconds)

    def _comes(self, client: Client, at: float) -> None:
        heapq.heappush(self._coming, (at, next(self._numbers), client))
