"""A turn that lasts many times the longest before it is one that does not end."""

from contextlib import suppress

from gateway.engine.device.pulse import FIRST_SECONDS, LEAST_SECONDS, TIMES_LONGEST, Pulse


class Clock:
    """A clock that tests set."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_turn_is_judged_by_the_longest_before_it() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    assert pulse.stuck_seconds is None
    with pulse.turn():
        clock.seconds += FIRST_SECONDS
        assert pulse.stuck_seconds is None
        clock.seconds += 1
        assert pulse.stuck_seconds == FIRST_SECONDS + 1
    assert pulse.stuck_seconds is None
    with pulse.turn():
        clock.seconds += FIRST_SECONDS * TIMES_LONGEST
        assert pulse.stuck_seconds is None


def test_what_one_kind_of_turn_takes_says_nothing_of_another() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.turn("small"):
        clock.seconds += 0.1
    with pulse.turn("large"):
        clock.seconds += FIRST_SECONDS  # its kernels are compiled
        assert pulse.stuck_seconds is None
    with pulse.turn("small"):
        clock.seconds += LEAST_SECONDS + 1
        assert pulse.stuck_seconds


def test_a_turn_that_compiled_is_forgotten_in_time() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.turn():
        clock.seconds += FIRST_SECONDS
    for _ in range(100):
        with pulse.turn():
            clock.seconds += 0.1
    with pulse.turn():
        clock.seconds += LEAST_SECONDS + 1
        assert pulse.stuck_seconds


def test_the_second_of_two_turns_lasts_from_the_end_of_the_first() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for _ in range(2):
        pulse.begin("x")
        clock.seconds += 0.1
        pulse.end()
    pulse.begin("x")
    clock.seconds += LEAST_SECONDS
    pulse.begin("x")
    assert pulse.stuck_seconds is None
    clock.seconds += 1
    assert pulse.stuck_seconds == LEAST_SECONDS + 1
    pulse.end()
    assert pulse.stuck_seconds is None
    pulse.end()


def test_a_fast_device_is_given_a_minute() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with suppress(ValueError), pulse.turn():
        clock.seconds += 0.1
        raise ValueError
    with pulse.turn():
        clock.seconds += LEAST_SECONDS
        assert pulse.stuck_seconds is None
        clock.seconds += 1
        assert pulse.stuck_seconds
