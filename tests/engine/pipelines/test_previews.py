"""Previews: decoded by each family's own way, and of no effect on the picture."""

from typing import Any

import pytest
import torch

from gateway.engine import sample as sample_module
from gateway.engine.pipelines.previews import preview_steps
from gateway.job import Finished, Preview, StepDone
from tests.engine.conftest import built
from tests.engine.tiny import FAMILIES
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, failures, job, picture

each_family = pytest.mark.parametrize(
    ("family", "pipeline"), [(name, name) for name in FAMILIES], indirect=["pipeline"]
)


@each_family
def test_previews_come_in_order_and_change_no_picture(family: str, pipeline: Any) -> None:
    one = job(family, "a cat", 1, 4, num_previews=3)
    wanted = alone(pipeline, one)
    bench = Workbench({family: pipeline})
    sample = bench.add(one)[0]
    bench.add(job(family, "a neighbour", 2, 3))
    bench.run()
    bench.close()

    assert not failures(bench.events)
    assert difference(picture(sample), wanted) <= TOLERANCE
    mine = [event for event in bench.events if getattr(event, "sample", 0) == 0]
    previews = [event for event in mine if isinstance(event, Preview)]
    assert [event.index for event in previews] == [0, 1, 2]
    finished = [event for event in mine if isinstance(event, Finished)]
    for preview in previews:
        assert (preview.pixels.width, preview.pixels.height) == (32, 32)
    assert previews[0].pixels.data != finished[-1].pixels.data


@each_family
def test_previews_run_the_denoiser_no_more_than_without(family: str, pipeline: Any) -> None:
    counts = []
    for num_previews in (0, 2):
        bench = Workbench({family: pipeline})
        bench.add(job(family, "a cat", 1, 3, num_previews=num_previews))
        bench.run()
        bench.close()
        counts.append(len(bench.denoiser_rows()))
        steps = [event.step for event in bench.events if isinstance(event, StepDone)]
        assert steps == [1, 2, 3]
    assert counts[0] == counts[1]


def test_the_prediction_of_the_last_step_is_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "preview_steps", lambda steps, _: [steps])
    bench = Workbench({"flux": built("flux")})
    bench.add(job("flux", "a cat", 1, 3, num_previews=1))
    bench.run()
    bench.close()
    [preview] = [event for event in bench.events if isinstance(event, Preview)]
    [finished] = [event for event in bench.events if isinstance(event, Finished)]
    got, wanted = (
        torch.frombuffer(bytearray(event.pixels.data), dtype=torch.uint8).int()
        for event in (preview, finished)
    )
    assert (got - wanted).abs().max() <= 1


@pytest.mark.parametrize(
    ("num_steps", "num_previews", "steps"),
    [(4, 0, []), (4, 1, [2]), (4, 3, [1, 2, 3]), (4, 9, [1, 2, 3]), (1, 3, []), (10, 3, [2, 5, 8])],
)
def test_preview_steps(num_steps: int, num_previews: int, steps: list[int]) -> None:
    assert preview_steps(num_steps, num_previews) == steps
