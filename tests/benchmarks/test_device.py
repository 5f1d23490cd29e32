"""The device script on tiny models, so that it cannot rot where there is no GPU."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from tests.benchmarks import architectures
from tests.benchmarks.device import __main__ as script
from tests.benchmarks.device.bare import Captured, is_drawing
from tests.benchmarks.device.bench import Bench
from tests.benchmarks.device.budget import Budget
from tests.benchmarks.device.measures import MEASURES, Measure, row
from tests.benchmarks.device.models import Model, models
from tests.benchmarks.table import Row
from tests.serving import ENVIRONMENT, ROOT

CPU = torch.device("cpu")
WEIGHTS = {
    ("sdxl", "unet"): 2.57, ("flux2_klein", "transformer"): 3.88, ("z_image", "transformer"): 6.15,
    ("sana_sprint", "transformer"): 1.60, ("qwen_image", "transformer"): 20.4,
}
"""In billions, as their authors say them."""


class Unhurried(Budget):
    """As few repeats as in a second, and time for everything."""

    def fits(self, seconds: float) -> bool:
        return True


def bench_of(model: Model, budget: Budget) -> Bench:
    return Bench(model.build(CPU), model, CPU, model.steps[-1], budget)


def test_every_row_is_measured_or_says_why_not() -> None:
    rows = list(script.rows_of(bench_of(models(CPU)[0], Unhurried(1))))
    named = [row for measure in MEASURES for row in measure.rows]
    assert [one.name.split(": ", 1)[1] for one in rows] == [one.name for one in named]
    reasons = {one.why for one in rows if one.value is None}
    assert reasons == {"no CUDA"}
    done = [(one.value, one.reference) for one in rows if one.value is not None]
    assert len(done) >= 12
    assert all(value >= 0 and reference for value, reference in done)


def test_what_does_not_fit_is_not_begun() -> None:
    begun: list[Bench] = []

    def figures(bench: Bench) -> Iterator[tuple[float, float]]:
        begun.append(bench)
        yield 1.0, 1.0

    measure = Measure((row("it", "s", "nothing"),), figures, 1, least_seconds=3600)
    bench = bench_of(models(CPU)[0], Budget(3000))
    assert [one.why for one in script.filled(measure, bench)] == ["no time was left"]
    assert begun == []
    assert [one.value for one in script.filled(measure._replace(least_seconds=0), bench)] == [1.0]


def test_what_a_device_cannot_do_costs_no_other_row() -> None:
    def figures(_: Bench) -> Iterator[tuple[float, float]]:
        yield 2.0, 1.0
        raise RuntimeError("the device\nfailed")

    measure = Measure((row("one", "s", "nothing"), row("two", "s", "nothing")), figures, 1)
    first, second = script.filled(measure, bench_of(models(CPU)[0], Budget(60)))
    assert (first.value, first.why) == (2.0, "")
    assert (second.value, second.why) == (None, "RuntimeError: the device")
    assert "unmeasured: RuntimeError: the device" in second.cells


def test_a_run_that_is_cut_off_leaves_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> Iterator[Row]:
        yield Row("one", "s", 2.0, "other", 1.0)
        raise KeyboardInterrupt

    out = tmp_path / "device.json"
    monkeypatch.setattr(script, "measured", cut_off)
    monkeypatch.setattr(sys, "argv", ["device", "--device", "cpu", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        script.main()
    told = json.loads(out.read_text())
    assert told["models"] == "tiny models"
    assert [one["name"] for one in told["rows"]] == ["one"]


def test_the_ceiling_is_every_call_of_a_picture() -> None:
    bench = bench_of(models(CPU)[0], Unhurried(1))
    captured: list[Again] = []

    def capture(call: Any, *_: Any) -> "Again":
        captured.append(Again(call))
        return captured[-1]

    entries = bench.engine().loaded.entries
    ceiling = Captured(bench.bare, entries, capture)
    assert len(ceiling.draw()) == 3 * bench.model.edge**2
    assert [one.num_replays for one in captured] == [bench.steps, 1]
    assert {one.component for one in entries if is_drawing(one)} == {"unet", "vae"}
    bench.close()


class Again:
    """Stands in for a captured graph: the call itself."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.num_replays = 0

    def replay(self, args: Any, kwargs: Any) -> Any:
        self.num_replays += 1
        return self._call(*args, **kwargs)


@pytest.mark.parametrize(("family", "part"), WEIGHTS, ids=str)
def test_architectures_are_as_large_as_the_real_ones(family: str, part: str) -> None:
    module = architectures.build(family, "meta").components[part]
    billions = sum(weight.numel() for weight in module.parameters()) / 1e9
    assert billions == pytest.approx(WEIGHTS[family, part], rel=0.01)


def test_it_ends_in_time_and_needs_the_listed_wheels_alone(tmp_path: Path) -> None:
    there = needed({"torch", *script.WHEELS}) | {"image-gateway"}
    missing = [
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if not there & set(map(canonical, owners))
    ]
    assert {"litestar", "pytest", "uvicorn"} <= set(missing)
    program = (
        f"import sys; sys.modules |= dict.fromkeys({missing})\n"
        "from tests.benchmarks.device.__main__ import main; main()"
    )
    out = tmp_path / "device.json"
    subprocess.run(
        [sys.executable, "-c", program, "--device", "cpu", "--seconds", "1", "--out", str(out)],
        cwd=ROOT, env=ENVIRONMENT, check=True,
    )
    assert {one["why"] for one in json.loads(out.read_text())["rows"]} == {"no time was left"}


def needed(names: set[str]) -> set[str]:
    """Distributions, and all that they need."""
    found: set[str] = set()
    while names:
        name = names.pop()
        found.add(name)
        wanted = map(Requirement, importlib.metadata.requires(name) or ())
        names |= {
            canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate()
        } - found
    return found


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")
