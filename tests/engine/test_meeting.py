"""Who comes together travels together, and nobody waits long for it."""

from dataclasses import dataclass

import pytest

from gateway.engine.meeting import MOST_HELD, SHARE, Meeting, ahead
from tests.engine.conftest import built
from tests.engine.workbench import Workbench, failures, job


@dataclass(frozen=True)
class Facts:
    num_calls: int
    owner: str = "a"
    num_steps_done: int = 0
    num_turns_held: int = 0
    endpoint: str = "x"
    is_batch: bool = False
    arrival: int = 0
    pixels: int = 100
    num_steps: int = 4


def test_those_who_left_together_are_waited_for_a_part_of_a_turn() -> None:
    meeting = Meeting()
    meeting.left(3)
    meeting.came(1)
    assert meeting.seconds_to_wait(2.0, 10.0) == pytest.approx(2 * SHARE)
    assert 0 < meeting.seconds_to_wait(2.0, 10.1) < 2 * SHARE
    meeting.came(2)
    assert meeting.seconds_to_wait(2.0, 10.1) == 0


def test_who_does_not_come_is_not_waited_for_again() -> None:
    meeting = Meeting()
    meeting.left(3)
    meeting.came(1)
    assert meeting.seconds_to_wait(2.0, 10.0) > 0
    assert meeting.seconds_to_wait(2.0, 10.0 + 3 * SHARE) == 0
    meeting.left(1)
    meeting.came(1)
    assert meeting.seconds_to_wait(2.0, 20.0) == 0


def test_a_lone_one_waits_for_nobody() -> None:
    meeting = Meeting()
    for now in range(5):
        meeting.left(1)
        meeting.came(1)
        assert meeting.seconds_to_wait(2.0, float(now)) == 0


def test_who_has_not_begun_lets_those_behind_come_as_far() -> None:
    first, second, behind = Facts(2), Facts(1), Facts(0)
    assert ahead([first, second, behind], lambda _: 8) == [first, second]
    assert ahead([first, Facts(2)], lambda _: 8) == []


def test_who_waits_for_nobody() -> None:
    behind = Facts(0)
    draws = Facts(3, num_steps_done=1)
    another = Facts(2, owner="b")
    waited = Facts(2, num_turns_held=MOST_HELD)
    larger = Facts(2, pixels=400)
    assert ahead([draws, another, waited, larger, behind], lambda _: 8) == []
    fills_a_forward = [Facts(2), Facts(2)]
    assert ahead([*fills_a_forward, behind], lambda _: 2) == []


def test_one_that_comes_a_call_later_shares_every_step() -> None:
    bench = Workbench({"sd": built("sd")})
    bench.add(job("sd", "a fox", 1, 3))
    bench.turn()
    bench.add(job("sd", "a dog", 2, 3))
    bench.run()
    bench.close()
    assert failures(bench.events) == []
    rows = bench.denoiser_rows()
    assert (rows.count(4), rows.count(2)) == (3, 1), "one call alone proves that together is so"


def test_no_more_begin_than_fill_two_forwards() -> None:
    bench = Workbench({"sd": built("sd")})
    bench.hub.forwards.best_size = lambda endpoint, pixels: 2  # type: ignore[method-assign]
    long = [sample for n in range(6) for sample in bench.add(job("sd", "a fox", n, 9))]
    bench.turn()
    assert [sample in bench.hub.running for sample in long] == [True] * 4 + [False] * 2
    [short] = bench.add(job("sd", "a dog", 9, 1))
    bench.until(lambda: short.is_done)
    assert not any(sample.is_done for sample in long)
    bench.run()
    bench.close()
    assert failures(bench.events) == []
