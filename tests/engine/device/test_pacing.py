"""Turns follow the device: what joins, what leaves, what is told and how long it took."""

import time
from collections.abc import Callable

import pytest

from gateway.engine.forecast import seconds_left
from gateway.engine.sample import Sample
from gateway.job import Finished, Preview, StepDone
from tests.engine.conftest import built
from tests.engine.slow import SlowDevice, single, turns
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture


@pytest.fixture
def device() -> SlowDevice:
    return SlowDevice()


def finish(bench: Workbench, device: SlowDevice) -> None:
    while bench.hub.waiting or bench.hub.running or device.num_running:
        device.end_all()
        turns(bench)


def steps_told(bench: Workbench) -> list[int]:
    return [event.step for event in bench.events if isinstance(event, StepDone)]


def test_a_turn_is_issued_while_the_one_before_runs_and_never_earlier(
    bench: Workbench, device: SlowDevice
) -> None:
    single(bench, "a", 1, 4)
    turns(bench)
    assert device.num_running == 2  # the text and the first step
    for _ in range(4):
        device.end()
        assert device.num_running == 1
        turns(bench)
        assert device.num_running == 2
    device.end()
    turns(bench)
    assert device.num_running == 1  # the decoding, and there is no more


def test_steps_and_pictures_are_told_when_the_device_has_done_them(
    bench: Workbench, device: SlowDevice
) -> None:
    sample = single(bench, "a", 1, 3, num_previews=1)
    told = []
    while not (sample.is_done and not device.num_running):
        turns(bench)
        device.end()
        told.append([type(event) for event in bench.events])
        bench.events.clear()
    # The text, three steps with a preview's decoding after one of them, the decoding.
    assert [kind for kinds in told for kind in kinds] == [
        StepDone, *([Preview, StepDone] if told[2] != [StepDone] else [StepDone, Preview]),
        StepDone, Finished,
    ]
    assert told[0] == []
    assert told[1] == [StepDone]
    assert told[-1] == [Finished]


def test_who_comes_joins_the_next_step(bench: Workbench, device: SlowDevice) -> None:
    wanted = [alone(built("sd"), job("sd", p, s, n, guidance_scale=1.0))
              for p, s, n in (("a", 1, 9), ("b", 2, 3))]
    first = single(bench, "a", 1, 9)
    while not steps_told(bench):
        turns(bench)
        device.end()
    turns(bench)
    rows = len(bench.rows["unet"])
    late = single(bench, "b", 2, 3)
    device.end()
    turns(bench)  # its text, beside the first one's step
    device.end_all()
    turns(bench)
    device.end_all()
    assert 2 in bench.rows["unet"][rows:][:3]
    assert first.num_steps_left >= 1
    finish(bench, device)
    for sample, image in zip((first, late), wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE


def test_who_leaves_is_gone_with_the_next_step(bench: Workbench, device: SlowDevice) -> None:
    single(bench, "a", 1, 6)
    leaving = single(bench, "b", 2, 6)
    while not steps_told(bench):
        turns(bench)
        device.end()
    turns(bench)
    rows = len(bench.rows["unet"])
    assert bench.rows["unet"][-1] == 2
    leaving.is_cancelled = True
    finish(bench, device)
    assert set(bench.rows["unet"][rows:]) == {1}
    assert leaving.num_steps_done < 6


def test_times_are_the_devices(bench: Workbench, device: SlowDevice) -> None:
    sample = single(bench, "a", 1, 4, owner="one")
    while not sample.is_done or device.num_running:
        turns(bench)
        device.end(7.0)
    bench.hub.take_commands()
    pace = bench.hub.paces["sd"]
    assert pace.step_seconds == pytest.approx(7.0 * 6 / 4, rel=0.01)  # older turns fade
    assert pace.turn_seconds(sample.pixels) == pytest.approx(7.0)
    assert seconds_left([Sample(sample.job, 0, 0, print)], bench.hub._pace) == pytest.approx(
        7.0 * 6, rel=0.05
    )


def test_portions_are_learned_from_the_device(bench: Workbench, device: SlowDevice) -> None:
    """Big pictures that gain nothing from one another do not wait for each other; small ones do."""
    assert largest_forwards(bench, device, 48, lambda rows: rows**1.5)[-1] < 4
    assert set(largest_forwards(bench, device, 32, lambda rows: 1 + rows / 100)) == {4}
    assert largest_forwards(bench, device, 48, lambda rows: rows**1.5)[0] < 4


def largest_forwards(
    bench: Workbench, device: SlowDevice, edge: int, cost: Callable[[float], float]
) -> list[int]:
    """The most rows of each round of four pictures."""
    largest = []
    for _ in range(4):
        samples = [single(bench, f"{n}", n, 4, width=edge, height=edge) for n in range(4)]
        before = len(bench.rows.get("unet", []))
        while not all(sample.is_done for sample in samples) or device.num_running:
            turns(bench)
            device.end(cost(bench.rows.get("unet", [1])[-1]))
        largest.append(max(bench.rows["unet"][before:]))
    return largest


def test_a_hub_whose_device_is_busy_rests(bench: Workbench, device: SlowDevice) -> None:
    hub, num_turns = bench.hub, 0
    inner = hub.turn

    def counted() -> None:
        nonlocal num_turns
        num_turns += 1
        inner()

    hub.turn = counted  # type: ignore[method-assign]
    single(bench, "a", 1, 4)
    hub.start()
    while device.num_running < 2:
        time.sleep(0.001)
    time.sleep(0.05)
    assert num_turns <= 8
    hub.stop()
    hub.join(10)
    assert not hub.lives
