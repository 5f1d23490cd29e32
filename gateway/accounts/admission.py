"""Who is let in where places are few, and when the others may come back.

No clock, no I/O: plain decisions over plain facts. Times are seconds on one clock, whichever.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

MAX_TOLD_SECONDS = 50
"""With the spread a minute: the longest wait that clients' libraries obey."""

SPREAD = 0.2
"""Of a wait: those who would all be told the same come back over so much of it."""

LATE_SECONDS = 2.0
"""After so long a place nobody came for goes to anyone of the same owner."""

GRACE_SECONDS = 5.0
"""After so long it goes to anyone at all."""

MAX_EXPECTED = 500
"""Of one owner: beyond so many a place is too far off to be promised."""

MAX_LOOKED_AT = 2000
"""Places that come free: what a refusal may cost is bounded too."""

GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, modulo 1, lie evenly however many there are."""

Leaving = Iterator[tuple[float, str]]
"""In how many seconds a place comes free, and whose it was; the soonest first, without end."""


@dataclass(frozen=True)
class Asker:
    """Who asks for so many places at once.

    `claim` is the same when somebody comes again; others may share it, unless `is_own`.
    """

    owner: str
    claim: str
    places: int = 1
    is_own: bool = False


@dataclass
class Ticket:
    """Somebody who was refused, and is expected `back`; from `due` on places are kept.

    `misses` counts how often there was none for them after all.
    """

    asker: Asker
    due: float
    back: float
    misses: int = 0

    @property
    def expires(self) -> float:
        """When nobody is expected any more."""
        return self.back + GRACE_SECONDS

    def is_of(self, asker: Asker, now: float) -> bool:
        """Whether it is they who are back, and not somebody like them for the first time."""
        return self.asker.claim == asker.claim and (asker.is_own or self.back <= now)

    def is_left(self, now: float) -> bool:
        """Whether they have not come when they should have."""
        return self.back + LATE_SECONDS <= now


class Line:
    """Those of one owner who were refused and are expected back, first come first."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self._numbers = itertools.count()

    @property
    def places(self) -> int:
        """How many they want in all."""
        return _places(self.tickets)

    def due_places(self, now: float) -> int:
        """How many those want whose time has come."""
        return _places(ticket for ticket in self.tickets if ticket.due <= now)

    def find(self, asker: Asker, now: float) -> Ticket | None:
        """The ticket of somebody who is back, else one that is left."""
        own = (ticket for ticket in self.tickets if ticket.is_of(asker, now))
        left = (ticket for ticket in self.tickets if ticket.is_left(now))
        return next(own, None) or next(left, None)

    def before(self, ticket: Ticket | None, now: float) -> int:
        """How many places those want who go before somebody who is here now."""
        if ticket is None:
            return self.places
        return 0 if ticket.due <= now else self.due_places(now)

    def ahead(self, ticket: Ticket | None) -> int:
        """How many places those want who came before; None is who comes now."""
        before = itertools.takewhile(lambda one: one is not ticket, self.tickets)
        return _places(before)

    def promise(self, ticket: Ticket | None, asker: Asker, now: float, seconds: float) -> int:
        """Expect somebody back for a place that should be free in so many seconds.

        Returns how long they are told to wait, in whole seconds: what every client reads.
        """
        spread = 1 + SPREAD * (next(self._numbers) * GOLDEN % 1)
        told = max(1, math.ceil(min(MAX_TOLD_SECONDS, seconds) * spread))
        if ticket is None:
            if len(self.tickets) < MAX_EXPECTED:
                self.tickets.append(Ticket(asker, now + told, now + told))
            return told
        if ticket.due <= now:
            # It stays due: where several places are wanted they come free one by one.
            ticket.misses += 1
            told = max(told, ticket.misses)
        else:
            ticket.due = now + told
        ticket.asker, ticket.back = asker, now + told
        return told

    def forget(self, now: float) -> None:
        """Expect no longer those who did not come."""
        self.tickets = [ticket for ticket in self.tickets if ticket.expires > now]


class Door:
    """Lets owners in by equal shares of its places, and tells the refused when to come back.

    What one owner does not want of its share the others may have; one alone may have all. A
    quarter more places are there for owners below an equal share, so that who comes to a full
    door need not wait until those inside are done.

    Who comes anew goes behind those of its owner who were refused: else whoever is answered
    and asks again would always be there before them. For those whose time has come a place is
    kept. But an owner that holds less than its part of `num_busy` places lets anyone in, so
    that nothing lies idle for somebody absent, whatever was thought of how long things take.
    """

    def __init__(self, places: int, num_busy: int = 0) -> None:
        self.resize(places, num_busy)
        self._lines: dict[str, Line] = {}

    def resize(self, places: int, num_busy: int) -> None:
        """Have more places from now on, or fewer: those inside stay."""
        self.places, self._spare, self._num_busy = places, math.ceil(places / 4), num_busy

    def ask(
        self,
        asker: Asker,
        now: float,
        held: Mapping[str, int],
        leaving: Callable[[], Leaving],
    ) -> int | None:
        """None if there is room, else after how many whole seconds there should be.

        `held` are the places that each owner has; `leaving` is asked where there is no room.
        """
        self._forget(now)
        line = self._lines.get(asker.owner, Line())
        ticket = line.find(asker, now)
        wants = self._wants(held)
        if ticket is None:
            wants[asker.owner] = wants.get(asker.owner, 0) + asker.places
        share = math.ceil(level(list(wants.values()), self.places))
        wanted = min(asker.places, share)
        own, total = held.get(asker.owner, 0), sum(held.values())
        modest = math.ceil(self.places / len(wants))
        limit = self.places + (self._spare if own + wanted <= modest else 0)
        kept = self._kept(asker.owner, now, held, share)
        has_room = (
            own + wanted + line.before(ticket, now) <= share and total + wanted + kept <= limit
        )
        is_idle = own + wanted <= self._num_busy / len(wants) and total + wanted <= limit
        if not total or has_room or is_idle:
            if ticket is not None:
                line.tickets.remove(ticket)
            return None
        giving = {name for name, count in held.items() if name == asker.owner or count > share}
        needed = max(1, line.ahead(ticket) + wanted - min(share - own, limit - total))
        seconds = _until_free(needed, giving or held.keys(), leaving())
        return self._lines.setdefault(asker.owner, line).promise(ticket, asker, now, seconds)

    def _wants(self, held: Mapping[str, int]) -> dict[str, int]:
        """Of each owner the places it has and those it was refused."""
        wants = {name: count for name, count in held.items() if count}
        for name, line in self._lines.items():
            wants[name] = wants.get(name, 0) + line.places
        return wants

    def _kept(self, owner: str, now: float, held: Mapping[str, int], share: int) -> int:
        """Places that others than an owner are expected for, within their share."""
        return sum(
            min(line.due_places(now), max(0, share - held.get(name, 0)))
            for name, line in self._lines.items()
            if name != owner
        )

    def _forget(self, now: float) -> None:
        for line in self._lines.values():
            line.forget(now)
        self._lines = {name: line for name, line in self._lines.items() if line.tickets}


def level(wants: Sequence[int], places: float) -> float:
    """The most that anyone may have, so that who wants less leaves the rest to the others."""
    left = places
    for index, want in enumerate(sorted(wants)):
        equal = left / (len(wants) - index)
        if want > equal:
            return equal
        left -= want
    return places


def departures(
    owner: str, running: Iterable[float], waiting: Sequence[float], later: float, slots: int
) -> Leaving:
    """When what an owner has inside will have left, if so much at once is worked on.

    `running` are the seconds that each still takes, `waiting` those that each will take, in
    their order, `later` those of each that comes after; somebody is inside.
    """
    ends = sorted(running)
    following = itertools.chain(waiting, itertools.repeat(later))
    for seconds in itertools.islice(following, min(len(waiting), max(0, slots - len(ends)))):
        heapq.heappush(ends, seconds)
    while True:
        end = heapq.heappop(ends)
        yield end, owner
        if len(ends) < slots:
            heapq.heappush(ends, end + next(following))


def _until_free(places: int, giving: Collection[str], leaving: Leaving) -> float:
    """After how many seconds some owners will have given so many places back, up to the most."""
    near = itertools.takewhile(lambda left: left[0] < MAX_TOLD_SECONDS, leaving)
    seconds = (left[0] for left in itertools.islice(near, MAX_LOOKED_AT) if left[1] in giving)
    return next(itertools.islice(seconds, places - 1, None), MAX_TOLD_SECONDS)


def _places(tickets: Iterable[Ticket]) -> int:
    return sum(ticket.asker.places for ticket in tickets)
