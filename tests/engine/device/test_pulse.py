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
