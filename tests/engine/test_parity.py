"""Same request, same picture, whatever it was batched with: over every supported family."""

from typing import Any

import pytest

from gateway.job import StepDone
from tests.engine.tiny import FAMILIES
from tests.engine.workbench import (
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

each_family = pytest.mark.parametrize(
    ("family", "pipeline"), [(name, name) for name in FAMILIES], indirect=["pipeline"]
)


@each_family
def test_concurrent_equals_alone(family: str, pipeline: Any) -> None:
    jobs = [
        job(family, "a cat", 1, 2),
        job(family, "two red dogs by the sea", 2, 3),
        job(family, "a dog", 3, 1),
        job(family, "a cow", 4, 4),
    ]
    wanted = [alone(pipeline, one) for one in jobs]

    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()

    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    rows = bench.denoiser_rows()
    # Some families cannot share a forward between prompts of different length.
    assert max(rows) >= 3
    assert len(rows) < sum(one.num_inference_steps for one in jobs)
    steps = [event.sample for event in bench.events if isinstance(event, StepDone)]
    assert len(steps) == sum(one.num_inference_steps for one in jobs)


@each_family
def test_late_joiner_and_cancelled_neighbour_change_nobodys_picture(
    family: str, pipeline: Any
) -> None:
    stays, joins, leaves = job(family, "a", 1, 4), job(family, "b", 2, 2), job(family, "c", 3, 4)
    wanted = [alone(pipeline, one) for one in (stays, joins)]

    bench = Workbench({family: pipeline})
    staying, leaving = bench.add(stays)[0], bench.add(leaves)[0]
    bench.until(lambda: staying.num_steps_done >= 1)
    joining = bench.add(joins)[0]
    leaving.is_cancelled = True
    bench.turn()
    steps_when_cancelled = leaving.num_steps_done
    bench.run()
    bench.close()

    assert leaving.num_steps_done <= steps_when_cancelled
    assert [fault.code for fault in failures(bench.events)] == ["cancelled"]
    for sample, image in zip((staying, joining), wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert max(bench.denoiser_rows()) >= 2
