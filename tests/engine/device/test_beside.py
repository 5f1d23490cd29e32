"""Pictures are decoded beside the next denoising, on a device with a second line."""

from collections.abc import Callable

import pytest

from gateway.job import Failed, Finished, Preview, StepDone
from tests.engine.conftest import built
from tests.engine.slow import TwoLines, single, turns
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture


@pytest.fixture
def device() -> TwoLines:
    return TwoLines()


def until(bench: Workbench, device: TwoLines, is_so: Callable[[], bool]) -> None:
    """What the first line is given ends, and nothing of the second."""
    for _ in range(200):
        turns(bench)
        if is_so():
            return
        if device.num_running:
            device.end()
    raise AssertionError("it never came")


def finish(bench: Workbench, device: TwoLines) -> None:
    while bench.hub.waiting or bench.hub.running or device.num_running or device.beside.num_running:
        device.end_all()
        device.beside.end_all()
        turns(bench)


def told(bench: Workbench, kind: type) -> list[int]:
    """The seeds of samples that were told something, in order."""
    return [event.sample for event in bench.events if isinstance(event, kind)]


def test_denoising_goes_on_while_a_picture_is_decoded(bench: Workbench, device: TwoLines) -> None:
    wanted = [alone(built("sd"), job("sd", "a", 1, n, guidance_scale=1.0)) for n in (2, 8)]
    short, long = single(bench, "a", 1, 2), single(bench, "a", 1, 8)
    until(bench, device, lambda: device.beside.num_running == 1)
    before = long.num_steps_done
    until(bench, device, lambda: long.num_steps_done >= before + 3)
    assert short.is_done
    assert told(bench, Finished) == []  # its decoding has not ended
    device.beside.end_all()
    assert told(bench, Finished) == [0]
    finish(bench, device)
    assert told(bench, Finished) == [0, 0]
    for sample, image in zip((short, long), wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE


def test_a_decoding_waits_for_the_last_step_and_not_for_those_of_others(
    bench: Workbench, device: TwoLines
) -> None:
    single(bench, "a", 1, 2)
    single(bench, "b", 2, 9)
    until(bench, device, lambda: device.beside.num_running == 1)
    assert device.num_running == 2
    device.end()  # the last step of the first; the second one's next runs
    assert device.num_running == 1
    device.beside.end()
    assert told(bench, Finished) == [0]
    assert [event.step for event in bench.events if isinstance(event, StepDone)][-1] == 2
    finish(bench, device)


def test_no_more_than_two_decodings_are_under_way(bench: Workbench, device: TwoLines) -> None:
    for number in range(6):
        single(bench, f"{number}", number, 1 + number)
    for _ in range(30):
        turns(bench)
        if device.num_running:
            device.end()
    assert device.beside.num_running == 2
    finish(bench, device)
    assert len(told(bench, Finished)) == 6


def test_all_steps_are_told_before_the_picture(bench: Workbench, device: TwoLines) -> None:
    single(bench, "a", 1, 3)
    finish(bench, device)
    kinds = [type(event) for event in bench.events]
    assert kinds == [StepDone, StepDone, StepDone, Finished]


def test_a_preview_is_decoded_beside_others_and_the_next_step_waits_for_it(
    bench: Workbench, device: TwoLines
) -> None:
    wanted = alone(built("sd"), job("sd", "a", 1, 4, guidance_scale=1.0))
    sample = single(bench, "a", 1, 4, num_previews=1)
    until(bench, device, lambda: device.beside.num_running == 1)
    turns(bench)
    finish(bench, device)
    assert device.second.num_joins == 1
    assert difference(picture(sample), wanted) <= TOLERANCE
    kinds = [type(event) for event in bench.events]
    assert kinds.index(Preview) < kinds.index(Finished)
    assert kinds.count(StepDone) == 4


def test_who_is_cancelled_while_another_is_decoded_is_gone(
    bench: Workbench, device: TwoLines
) -> None:
    single(bench, "a", 1, 2)
    leaving = single(bench, "b", 2, 9)
    until(bench, device, lambda: device.beside.num_running == 1)
    rows = len(bench.rows["unet"])
    leaving.is_cancelled = True
    finish(bench, device)
    assert len(bench.rows["unet"]) <= rows + 1
    assert len(told(bench, Finished)) == len(told(bench, Failed)) == 1


def test_a_decoding_that_fails_fails_its_own_picture(
    bench: Workbench, device: TwoLines
) -> None:
    [decode] = [one for one in bench.shelf.loaded["sd"].entries if str(one) == "vae.decode"]
    inner, num_calls = decode.original, 0

    def failing(*args: object, **kwargs: object) -> object:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            raise ValueError("no such picture")
        return inner(*args, **kwargs)

    decode.original = failing
    single(bench, "a", 1, 2)
    other = single(bench, "b", 2, 5)
    finish(bench, device)
    decode.original = inner
    assert [len(told(bench, kind)) for kind in (Failed, Finished)] == [1, 1]
    wanted = alone(built("sd"), job("sd", "b", 2, 5, guidance_scale=1.0))
    assert difference(picture(other), wanted) <= TOLERANCE
