"""Recorded forwards: what is copied in and out, when one is recorded, and what all may take.

The recorder here runs a forward again where a GPU would launch it again: on the same buffers,
into the same results.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch.utils._pytree import tree_leaves

from gateway.catalog.cards import CardError, EndpointCard, read_card
from gateway.catalog.catalog import Catalog
from gateway.engine.forwards.portions import Portions
from gateway.engine.sample import Sample
from tests.engine.conftest import built
from tests.engine.slow import SlowDevice
from tests.engine.strokes import adapted, add_adapter, with_adapters
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, failures, job, picture


class Again:
    """A recording that runs what was recorded, and puts the results where they were."""

    size_bytes = 1000

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self.result = run()
        self.num_replays = 0

    def replay(self) -> None:
        self.num_replays += 1
        for place, value in zip(tree_leaves(self.result), tree_leaves(self._run()), strict=True):
            place.copy_(value)


class AgainRecorder:
    def __init__(self, fault: Exception | None = None) -> None:
        self.recordings: list[Again] = []
        self._fault = fault

    def record(self, run: Callable[[], Any]) -> Again:
        if self._fault:
            raise self._fault
        self.recordings.append(Again(run))
        return self.recordings[-1]

    @property
    def num_replays(self) -> int:
        return sum(one.num_replays for one in self.recordings)


def workbench(**more: Any) -> Workbench:
    card = EndpointCard(id="sd", compile="graphs")
    return Workbench({"sd": built("sd")}, catalog=Catalog({"sd": card}, {}), **more)


@pytest.fixture(autouse=True)
def _undivided(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long forwards take on a busy machine decides nothing about their sizes."""
    monkeypatch.setattr(Portions, "note", lambda *_: None)


@pytest.fixture
def recorder() -> AgainRecorder:
    return AgainRecorder()


@pytest.fixture
def bench(recorder: AgainRecorder) -> Iterator[Workbench]:
    bench = workbench()
    bench.hub.lanes.recorder = recorder
    yield bench
    bench.close()


def draw(bench: Workbench, *seeds: int, steps: int = 3) -> list[Sample]:
    samples = [bench.add(job("sd", f"p{seed}", seed, steps))[0] for seed in seeds]
    bench.run()
    return samples


def prepare(bench: Workbench) -> None:
    with torch.inference_mode():
        while bench.hub.lanes.prepare():
            pass


def check(samples: list[Sample], steps: int = 3) -> None:
    for sample in samples:
        seed = sample.job.seeds[0]
        wanted = alone(built("sd"), job("sd", f"p{seed}", seed, steps))
        assert difference(picture(sample), wanted) <= TOLERANCE


def test_replayed_pictures_are_the_same(bench: Workbench, recorder: AgainRecorder) -> None:
    draw(bench, 1)
    draw(bench, 2)
    assert recorder.recordings == []  # nobody waits for a recording
    prepare(bench)
    assert len(recorder.recordings) == 2  # a step, and the decoding
    first, second = draw(bench, 3), draw(bench, 4)
    assert recorder.num_replays == 2 * (3 + 1)
    check([*first, *second])
    kept = picture(first[0]).clone()
    draw(bench, 5)
    assert torch.equal(picture(first[0]), kept)


def test_few_sizes_serve_all_and_who_comes_late(
    bench: Workbench, recorder: AgainRecorder
) -> None:
    for _ in range(3):
        draw(bench, 1, 2, 3)
        prepare(bench)
    num_recorded = len(recorder.recordings)
    samples = draw(bench, 4, 5, 6)
    assert recorder.num_replays
    check(samples)
    check(draw(bench, 7, 8, 9, 10))  # in the same recordings as the three
    prepare(bench)
    assert len(recorder.recordings) == num_recorded
    early = bench.add(job("sd", "p1", 1, 6))[0]
    bench.until(lambda: early.num_steps_done == 2)
    late = bench.add(job("sd", "p2", 2, 6))[0]
    bench.run()
    check([early, late], steps=6)


def test_one_form_asked_for_once_is_not_worth_it(
    bench: Workbench, recorder: AgainRecorder
) -> None:
    draw(bench, 1, steps=1)
    prepare(bench)
    assert recorder.recordings == []


def test_recordings_are_bounded_and_shown(bench: Workbench, recorder: AgainRecorder) -> None:
    captures = bench.hub.lanes.captures
    for edge in (32, 40, 48):
        for seed in (1, 2):
            bench.add(job("sd", "a", seed, 2, width=edge, height=edge))
            bench.run()
            prepare(bench)
        if edge == 32:
            captures.limit_bytes = 2 * captures.size_bytes
    assert len(recorder.recordings) == 6
    assert 0 < captures.size_bytes <= captures.limit_bytes
    assert len(captures) < 6
    before = recorder.num_replays
    bench.add(job("sd", "a", 3, 2, width=48, height=48))
    bench.run()
    assert recorder.num_replays == before + 3


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once() -> None:
    bench = workbench()
    bench.hub.lanes.recorder = AgainRecorder(RuntimeError("operation not permitted"))
    with capture_logs() as logs:
        for seed in range(4):
            check(draw(bench, seed))
            prepare(bench)
    bench.close()
    assert not failures(bench.events)
    told = [line for line in logs if line["event"].startswith("not recorded")]
    assert sorted(line["entry"] for line in told) == ["unet.forward", "vae.decode"]


def test_a_device_without_graphs_says_so_and_runs() -> None:
    bench = workbench()
    with capture_logs() as logs:
        check(draw(bench, 1))
    bench.close()
    assert [line["entry"] for line in logs if line["event"].startswith("no graphs")]


def test_recordings_go_with_their_endpoint(bench: Workbench) -> None:
    draw(bench, 1)
    draw(bench, 2)
    prepare(bench)
    assert len(bench.hub.lanes.captures)
    bench.shelf._drop("sd")
    assert not len(bench.hub.lanes.captures)


def test_the_hub_records_while_its_device_is_busy(recorder: AgainRecorder) -> None:
    device = SlowDevice()
    bench = workbench(timeline=device)
    bench.hub.lanes.recorder = recorder
    device.take(bench)
    bench.add(job("sd", "a", 1, 8))
    bench.hub.start()
    for _ in range(4):  # the text and two steps end, and two run
        while device.num_running < 2:
            time.sleep(0.001)
        device.end()
    until = time.monotonic() + 10
    while not recorder.recordings and time.monotonic() < until:
        time.sleep(0.001)
    assert recorder.recordings
    assert device.num_running
    bench.hub.stop()
    bench.hub.join(10)
    bench.close()


def test_adapters_come_and_go_in_the_same_recordings(recorder: AgainRecorder) -> None:
    bench, plain = with_adapters("graphs"), with_adapters("none")
    bench.hub.lanes.recorder = recorder

    def check_adapted(*stacks: tuple[str, ...], rank: int = 3) -> None:
        for one in (bench, plain):
            for route in {route for stack in stacks for route in stack}:
                add_adapter(one, route, rank)
        for mine, wanted in zip(adapted(bench, *stacks), adapted(plain, *stacks), strict=True):
            assert difference(mine, wanted) <= TOLERANCE
        prepare(bench)

    for _ in range(3):
        check_adapted(("first",), ())
        check_adapted(("first",))
        check_adapted(())
    num_recorded, before = len(recorder.recordings), recorder.num_replays
    check_adapted(("second",), ("first", "third"))
    check_adapted(("fourth",), ())
    check_adapted(("fifth",))
    for one in (bench, plain):
        one.shelf._drop_adapter(("strokes", "second@None"))
    check_adapted(("first",), ("sixth",))
    assert len(recorder.recordings) == num_recorded
    assert recorder.num_replays >= before + 2 * 4  # and what proves that together is as alone
    # More ranks than there is room for: slots get wider, and what was recorded is not used.
    for _ in range(3):
        check_adapted(*((f"wide{number}",) for number in range(4)), rank=11)
    assert len(recorder.recordings) > num_recorded
    check_adapted(("first",), ())
    bench.close()
    plain.close()


def test_a_card_says_how_and_not_beside_offloading(tmp_path: Any) -> None:
    card = tmp_path / "card.toml"
    card.write_text('id = "x"\ncompile = "graphs"\n')
    assert read_card(card, EndpointCard).compile == "graphs"
    card.write_text('id = "x"\ncompile = "graphs"\noffload = "model"\n')
    with pytest.raises(CardError, match="offloaded"):
        read_card(card, EndpointCard)
