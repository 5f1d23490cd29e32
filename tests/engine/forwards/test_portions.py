"""Portions: whole groups where that is fastest, smaller ones where they are."""

from collections.abc import Callable

from gateway.engine.forwards.portions import NUM_WHOLE, Portions


def worked(
    seconds_of: Callable[[int], float], num_samples: int, rounds: int = 60
) -> list[int]:
    """The portions chosen over many groups, each forward taking `seconds_of(samples)`."""
    portions, chosen = Portions(), []
    for _ in range(rounds):
        size = portions.of(num_samples)
        chosen.append(size)
        for start in range(0, num_samples, size):
            count = min(size, num_samples - start)
            portions.note(count, seconds_of(count))
    return chosen


def test_a_device_that_likes_large_forwards_gets_whole_groups() -> None:
    chosen = worked(lambda count: 1.0 + 0.01 * count, 60)
    assert chosen[:NUM_WHOLE] == [60] * NUM_WHOLE
    assert chosen.count(60) >= len(chosen) - 2
    assert chosen[-1] == 60


def test_a_device_that_likes_small_forwards_gets_portions() -> None:
    chosen = worked(lambda count: count * (1.0 if count <= 2 else 1.4), 60)
    assert chosen[-1] == 2
    assert min(chosen) == 1


def test_the_best_size_is_told_once_smaller_ones_have_been_tried() -> None:
    portions, told = Portions(), []
    for _ in range(40):
        size = portions.of(16)
        portions.note(size, size * (1.0 if size <= 4 else 1.4))
        told.append(portions.best)
    assert told[: NUM_WHOLE - 1] == [None] * (NUM_WHOLE - 1)
    assert told[-1] == 4


def test_a_slow_first_lone_forward_does_not_keep_others_from_being_tried() -> None:
    portions = Portions()
    portions.note(1, 10.0)
    for _ in range(3 * NUM_WHOLE):
        size = portions.of(8)
        portions.note(size, size * (1.0 if size <= 4 else 1.4))
    assert portions.of(8) == 4


def test_equal_costs_keep_the_group_whole() -> None:
    assert worked(float, 8)[-1] == 8


def test_the_first_groups_are_whole_whatever_lone_forwards_took() -> None:
    portions = Portions()
    portions.note(1, 0.1)
    portions.note(2, 2.0)
    assert [portions.of(2) for _ in range(NUM_WHOLE)] == [2] * (NUM_WHOLE - 1) + [1]


def test_a_lone_sample_is_never_cut() -> None:
    assert set(worked(float, 1)) == {1}


def test_what_becomes_better_is_found_again() -> None:
    portions = Portions()
    for count, cost in ((8, 2.0), (4, 1.0), (2, 1.5), (1, 1.5)):
        portions.note(count, count * cost)
    for _ in range(NUM_WHOLE):
        portions.of(8)
    assert portions.of(8) == 4
    seen = set()
    for _ in range(300):
        size = portions.of(8)
        seen.add(size)
        portions.note(size, size * (0.1 if size == 8 else 1.0))
    assert 8 in seen
    assert portions.of(8) == 8
