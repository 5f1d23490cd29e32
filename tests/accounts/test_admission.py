"""Shares of a door's places, and what the refused are told, decided on plain facts."""

import itertools
from collections.abc import Iterator

import pytest

from gateway.accounts.admission import (
    GRACE_SECONDS,
    LATE_SECONDS,
    MAX_EXPECTED,
    MAX_TOLD_SECONDS,
    SPREAD,
    Asker,
    Door,
    departures,
    level,
)


def every(seconds: float, owner: str = "a") -> Iterator[tuple[float, str]]:
    """An owner's places come free one by one."""
    return ((seconds * number, owner) for number in itertools.count(1))


def told(
    door: Door, asker: Asker, now: float = 0.0, each: float = 1.0, **held: int
) -> int | None:
    return door.ask(asker, now, held, lambda: every(each, asker.owner))


@pytest.mark.parametrize(
    ("wants", "most"),
    [
        ((), 12),
        ((5,), 12),
        ((30,), 12),
        ((30, 30), 6),
        ((2, 30), 10),
        ((1, 3, 30, 30), 4),
        ((4, 4, 4), 12),
        ((0, 30, 30), 6),
    ],
)
def test_what_one_does_not_want_the_others_may_have(wants: tuple[int, ...], most: float) -> None:
    assert level(wants, 12) == most


def test_one_alone_has_every_place_and_no_more() -> None:
    door = Door(8)
    assert told(door, Asker("a", "1"), a=7) is None
    assert told(door, Asker("a", "2"), a=8) is not None
    assert told(door, Asker("a", "3", places=2), a=7) is not None


def test_who_has_less_than_its_share_is_let_into_a_full_door() -> None:
    door = Door(8)
    assert told(door, Asker("b", "1"), a=8) is None
    assert told(door, Asker("b", "2"), a=8, b=1) is None
    assert told(door, Asker("b", "3"), a=8, b=2) is not None, "a quarter more, and that is all"


def test_who_has_more_than_its_share_gives_way_until_it_has_not() -> None:
    door = Door(8)
    assert told(door, Asker("b", "1"), a=8, b=2)
    assert told(door, Asker("a", "1"), a=7, b=2), "b is expected for the place that came free"
    assert told(door, Asker("b", "1"), now=2, a=5, b=3) is None
    assert told(door, Asker("a", "1"), now=8, a=3, b=4) is None


def test_a_job_larger_than_its_share_is_let_in_when_its_owner_has_nothing() -> None:
    door = Door(8)
    assert told(door, Asker("b", "1", places=10), a=4) is None
    assert told(door, Asker("b", "2", places=10), a=4, b=10) is not None
    assert told(Door(2), Asker("a", "1", places=10)) is None


def test_the_first_to_be_refused_is_the_first_to_be_let_in() -> None:
    door = Door(4)
    waits = [told(door, Asker("a", f"{number}"), each=4.0, a=4) or 0 for number in range(5)]
    assert waits == sorted(waits)
    for number, wait in enumerate(waits, start=1):
        assert 4 * number <= wait <= 4 * number * (1 + SPREAD) + 1
    assert told(door, Asker("a", "new"), now=waits[0] - 1, a=3), "who comes anew goes behind"
    assert told(door, Asker("a", "new"), now=waits[0] + 0.1, a=3)
    assert told(door, Asker("a", "0"), now=waits[0] + 0.2, a=3) is None


def test_a_place_is_not_kept_for_long_after_its_time() -> None:
    door = Door(4)
    first, second = (told(door, Asker("a", f"late {one}"), a=4) or 0 for one in range(2))
    assert told(door, Asker("a", "new"), now=first + 0.1, a=3)
    assert told(door, Asker("a", "newer"), now=first + LATE_SECONDS, a=3) is None
    assert told(door, Asker("a", "newest"), now=second + GRACE_SECONDS, a=3) is None


def test_another_owners_place_is_kept_from_its_time_on() -> None:
    door = Door(4)
    wait = told(door, Asker("b", "1"), a=4, b=1) or 0
    assert told(door, Asker("a", "1"), now=wait - 0.1, a=1, b=1) is None, "not before"
    assert told(door, Asker("a", "2"), now=wait + 0.1, a=2, b=1), "the last is b's"
    assert told(door, Asker("b", "1"), now=wait + 0.2, a=2, b=1) is None


def test_nothing_lies_idle_for_somebody_absent() -> None:
    door = Door(8, num_busy=4)
    assert told(door, Asker("a", "late", places=6), each=30.0, a=8)
    assert told(door, Asker("a", "new"), a=4)
    assert told(door, Asker("a", "newer"), a=3) is None
    assert told(door, Asker("b", "1"), a=3) is None
    assert told(door, Asker("a", "newest"), a=2, b=2), "its part is half of them"


def test_those_who_ask_for_the_same_have_a_ticket_each() -> None:
    door = Door(4)
    waits = [told(door, Asker("a", "same"), each=10.0, a=4) or 0 for _ in range(3)]
    assert waits[0] < waits[1] < waits[2]


def test_one_that_looks_in_early_keeps_its_place_in_the_line() -> None:
    door = Door(4)
    patient = Asker("a", "run", is_own=True)
    first = told(door, patient, each=10.0, a=4) or 0
    for now in range(1, 8):
        again = told(door, patient, now=now, each=10.0 - now, a=4) or 0
        assert now + again <= first + 2
    later = told(door, Asker("a", "next"), now=8, each=2.0, a=4) or 0
    assert 4 <= later <= 6, "one is ahead, not eight"


def test_a_job_of_several_places_waits_for_all_of_them() -> None:
    door = Door(8)
    asker = Asker("a", "four", places=4)
    wait = told(door, asker, a=8) or 0
    assert wait >= 4
    assert told(door, Asker("a", "one"), now=wait, a=6), "two of the four are free, and kept"
    again = told(door, asker, now=wait, a=6) or 0
    assert told(door, asker, now=wait + again, a=4) is None


def test_the_refused_are_spread_and_none_is_told_more_than_a_minute() -> None:
    door = Door(1)
    waits = [
        door.ask(Asker("a", f"{number}"), 0.0, {"a": 1}, lambda: every(0.0)) or 0
        for number in range(50)
    ]
    assert set(waits) == {1}
    door = Door(1)
    far = [told(door, Asker("a", f"{number}"), each=1e4, a=1) or 0 for number in range(50)]
    assert min(far) >= MAX_TOLD_SECONDS
    assert max(far) <= 60
    assert len(set(far)) >= 10, "over ten seconds"
    assert max(far.count(wait) for wait in set(far)) <= 6, "evenly"


def test_a_line_has_an_end() -> None:
    door = Door(1)
    for number in range(MAX_EXPECTED + 10):
        told(door, Asker("a", f"{number}"), a=1)
    beyond = told(door, Asker("a", "beyond"), a=1)
    assert beyond is not None
    assert told(door, Asker("b", "1"), a=1) is None, "which is no other's business"


def test_departures_follow_each_other_through_the_slots() -> None:
    leaving = departures("a", [3.0, 1.0], [10.0, 20.0], later=5.0, slots=2)
    assert [seconds for seconds, _ in itertools.islice(leaving, 6)] == [1, 3, 11, 16, 21, 23]


def test_departures_of_few_leave_slots_free() -> None:
    leaving = departures("a", [3.0], [4.0], later=5.0, slots=8)
    assert [seconds for seconds, _ in itertools.islice(leaving, 4)] == [3, 4, 8, 9]
