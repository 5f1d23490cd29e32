"""Compiled blocks on a CPU: the same pictures, few compilations, none on the engine's thread."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch._dynamo.utils import counters

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.forwards.regional import is_compiled, repeated
from gateway.engine.local import LocalEngine
from gateway.engine.sample import Sample
from gateway.settings import Settings
from tests.engine.conftest import built
from tests.engine.strokes import Stroke, adapted, add_adapter, strokes, with_adapters
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture

SECONDS = 300
NUM_BLOCKS = 3


def workbench() -> Workbench:
    return with_adapters("regional")


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    """A bench whose blocks are compiled for one row and for several, with adapters and without."""
    bench = workbench()
    for number in (1, 2):
        draw(bench, *range(number), steps=1)
    assert is_compiled(SECONDS)
    add_adapter(bench, "first")
    for number in (1, 2, 5, 5):  # some of which is answered in portions, down to one
        adapted(bench, *[("first",)] * number)
        draw(bench, *range(number), steps=1)
    assert is_compiled(SECONDS)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Workbench]:
    """A bench that draws the same as it is."""
    bench = with_adapters("none")
    yield bench
    bench.close()


def draw(bench: Workbench, *seeds: int, steps: int = 3) -> list[Sample]:
    samples = [bench.add(job("strokes", f"p{seed}", seed, steps))[0] for seed in seeds]
    bench.run()
    return samples


def check(samples: list[Sample]) -> None:
    for sample in samples:
        assert difference(picture(sample), alone(strokes(), sample.job)) <= TOLERANCE


def num_compiled() -> int:
    return int(counters["stats"]["unique_graphs"])


def compiled_calls(bench: Workbench, *seeds: int) -> int:
    """How often compiled code runs while pictures are drawn in one step."""
    with torch.profiler.profile() as profile:
        draw(bench, *seeds, steps=1)
    return sum(
        one.count for one in profile.key_averages() if one.key.startswith("Torch-Compiled Region")
    )


def test_any_number_of_rows_is_the_same_and_compiles_no_more(bench: Workbench) -> None:
    before = num_compiled()
    assert before
    check(draw(bench, 1))
    check(draw(bench, 2, 3, 4, 5, 6))
    assert compiled_calls(bench, 1) == NUM_BLOCKS
    assert compiled_calls(bench, 1, 2, 3, 4) >= NUM_BLOCKS
    assert is_compiled(SECONDS)
    assert num_compiled() == before


def test_who_comes_late_joins_in_compiled_forwards(bench: Workbench) -> None:
    before = num_compiled()
    early = bench.add(job("strokes", "early", 7, 6))[0]
    bench.until(lambda: early.num_steps_done == 2)
    late = bench.add(job("strokes", "late", 8, 6))[0]
    bench.run()
    check([early, late])
    assert 2 in bench.rows["unet"]
    assert is_compiled(SECONDS)
    assert num_compiled() == before


def test_adapters_come_and_go_without_a_compilation(bench: Workbench, plain: Workbench) -> None:
    before = num_compiled()
    mixtures: list[list[tuple[str, ...]]] = [
        [("first",), (), ("second",)],
        [("third", "first")],
        [("fourth",), ("fifth",), ("first", "second"), (), ("fourth",)],
        [("sixth",), ("third",)],
    ]
    for number, mixture in enumerate(mixtures):
        for route in {route for stack in mixture for route in stack}:
            for one in (bench, plain):
                add_adapter(one, route)
        for mine, wanted in zip(adapted(bench, *mixture), adapted(plain, *mixture), strict=True):
            assert difference(mine, wanted) <= TOLERANCE
        if number == 2:
            for one in (bench, plain):
                one.shelf._drop_adapter(("strokes", "second@None"))
    assert is_compiled(SECONDS)
    assert num_compiled() == before
    with torch.profiler.profile() as profile:
        adapted(bench, ("sixth",), ())
    ran = [one for one in profile.key_averages() if one.key.startswith("Torch-Compiled Region")]
    assert sum(one.count for one in ran) >= 2 * NUM_BLOCKS
    check(draw(bench, 1, 2))


def test_nobody_waits_for_a_compilation(monkeypatch: Any) -> None:
    """What is not compiled yet runs as it is, and is compiled by another thread."""
    threads = set()
    inner = torch.compile

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread().name)
        return inner(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", noted)
    torch._dynamo.reset()
    bench = workbench()
    assert compiled_calls(bench, 1) == 0
    check(draw(bench, 1))
    assert is_compiled(SECONDS)
    bench.close()
    assert threads == {"compiler"}


def test_what_does_not_compile_runs_as_it_is_and_says_so_once(monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such target")

    monkeypatch.setattr(torch, "compile", fail)
    bench = workbench()
    with capture_logs() as logs:
        for number in (1, 2, 3):
            check(draw(bench, *range(number)))
            assert is_compiled(SECONDS)
    bench.close()
    assert [line["entry"] for line in logs if line["event"].startswith("not compiled")] == [
        "unet.forward"
    ]


def test_without_a_compiler_it_runs_as_it_is_and_says_so(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    bench = workbench()
    with capture_logs() as logs:
        check(draw(bench, 1, 2))
        card = EndpointCard(id="x", compile="regional")
        LocalEngine(Catalog({"x": card}, {}), Settings(data=tmp_path))
    bench.close()
    told = [line for line in logs if "compiler" in line["event"]]
    assert [line.get("entry") for line in told] == ["unet.forward", None]
    assert told[1]["endpoint"] == "x"  # when the gateway starts


def test_blocks_are_those_a_model_names_or_the_innermost_that_it_repeats() -> None:
    assert repeated(strokes().unet) == {Stroke}
    named = {kind.__name__ for kind in repeated(built("flux").transformer)}
    assert named == {"FluxTransformerBlock", "FluxSingleTransformerBlock"}
    assert {kind.__name__ for kind in repeated(built("sd").vae)} == {
        "ResnetBlock2D", "Attention",
    }
