"""Who comes together travels together, and nobody waits long for it."""

import math
from dataclasses import dataclass

from gateway.engine.meeting import CATCHING_UP, COMING_BACK, MOST_STEPS, Meeting
from gateway.engine.sample import Sample
from tests.engine.conftest import built
from tests.engine.workbench import Workbench, failures, job


@dataclass(frozen=True, eq=False)
class Facts:
    num_calls: int
    owner: str = "a"
    num_steps_done: int = 0
    held_since: float | None = None
    endpoint: str = "x"
    is_batch: bool = False
    arrival: int = 0
    pixels: int = 100
    num_steps: int = 4


def waits(
    meeting: Meeting, *going: Facts, seconds: float | None = 2.0, now: float = 10.0, best: int = 8
) -> list[float]:
    """For how long each of them is held back yet."""
    held = meeting.waits(going, lambda _: best, lambda _: seconds, now)
    return [held.get(one, 0) for one in going]


def test_those_who_left_together_are_waited_for_a_part_of_a_forward() -> None:
    meeting = Meeting()
    meeting.left(3)
    meeting.came(1)
    assert waits(meeting, Facts(2)) == [2 * COMING_BACK]
    assert 0 < waits(meeting, Facts(2, held_since=10.0), now=10.1)[0] < 2 * COMING_BACK
    assert waits(meeting, Facts(2, held_since=10.0), now=10 + 3 * COMING_BACK) == [0]
    assert waits(meeting, Facts(2), seconds=None) == [0]
    meeting.came(2)
    assert waits(meeting, Facts(2)) == [0]


def test_who_has_not_come_when_some_begin_is_not_waited_for_again() -> None:
    meeting = Meeting()
    meeting.left(3)
    meeting.came(1)
    meeting.begun()
    assert waits(meeting, Facts(2)) == [0]
    meeting.left(1)
    meeting.came(1)
    assert waits(meeting, Facts(2)) == [0]


def test_a_lone_one_waits_for_nobody() -> None:
    meeting = Meeting()
    for now in range(5):
        meeting.left(1)
        meeting.came(1)
        assert waits(meeting, Facts(0), now=float(now)) == [0]


def test_who_has_not_begun_lets_those_behind_come_as_far() -> None:
    first, second, behind = Facts(2), Facts(1), Facts(0)
    limit = 2.0 * CATCHING_UP * MOST_STEPS
    assert waits(Meeting(), first, second, behind) == [limit, limit, 0]
    assert waits(Meeting(), first, second, behind, seconds=None) == [math.inf, math.inf, 0]
    assert waits(Meeting(), first, Facts(2)) == [0, 0]
    one_step, fifty_steps = Facts(2, num_steps=1), Facts(2, num_steps=50)
    assert waits(Meeting(), one_step, fifty_steps, behind) == [limit / MOST_STEPS, limit, 0]
    assert waits(Meeting(), Facts(2, held_since=10.0), behind, now=11 + limit) == [0, 0]


def test_who_waits_for_nobody() -> None:
    behind = Facts(0)
    draws = Facts(3, num_steps_done=1)
    another = Facts(2, owner="b")
    larger = Facts(2, pixels=400)
    assert waits(Meeting(), draws, another, larger, behind) == [0] * 4
    fill_a_forward = [Facts(2), Facts(2)]
    assert waits(Meeting(), *fill_a_forward, behind, best=2) == [0] * 3
    meeting = Meeting()
    meeting.left(2)
    assert waits(meeting, *fill_a_forward, best=2) == [0] * 2
    assert waits(meeting, behind) != [0]
    assert waits(meeting, behind, draws) == [0] * 2, "a turn of the other would be missed"


def test_those_who_come_while_others_leave_are_waited_for_only_before_their_steps() -> None:
    """Cohorts that are apart meet again: what is held goes on by itself, and shares its steps."""
    bench = Workbench({"sd": built("sd")})

    def seconds_of(sample: Sample) -> float:
        return 600.0 if sample.parked and sample.parked.entry.component == "unet" else 0.0

    bench.hub.forwards.seconds_of = seconds_of  # type: ignore[method-assign]
    [first, second] = [bench.add(job("sd", "a fox", seed, 1))[0] for seed in (1, 2)]
    bench.until(lambda: first.is_done and second.is_done)
    [third] = bench.add(job("sd", "a dog", 3, 1))
    for _ in range(20):
        bench.turn()
    assert third.num_calls, "its prompt is read meanwhile"
    assert not third.num_steps_done, "one of two has not come again"
    bench.add(job("sd", "a cat", 4, 1))
    bench.run()
    bench.close()
    assert failures(bench.events) == []
    rows = bench.denoiser_rows()
    assert rows.count(max(rows)) == 2


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
