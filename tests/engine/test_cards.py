"""What bundled cards say of schedulers and arguments, on tiny pipelines of their families."""

import pytest

from gateway.catalog.bundle import bundled
from gateway.catalog.folders import load_catalog
from gateway.engine.pipelines.schedulers import card_scheduler
from gateway.job import StepDone
from tests.engine import tiny
from tests.engine.workbench import (
    ARGUMENTS,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)


@pytest.mark.parametrize(
    ("id", "family"),
    [
        ("hyper-sdxl", "sdxl"),
        ("hyper-sd15", "sd"),
        ("tcd-sdxl", "sdxl"),
        ("tcd-sd15", "sd"),
        ("sdxl-dmd2", "sdxl"),
        ("flux2-dev-turbo", "flux2_klein"),
    ],
)
def test_its_scheduler_and_arguments_are_taken(id: str, family: str) -> None:
    card = load_catalog((bundled("models"),), ()).endpoints[id]
    pipeline = tiny.build(family)
    if card.scheduler:
        pipeline.scheduler = card_scheduler(card, pipeline.scheduler)
    steps = card.steps.default
    given = ARGUMENTS.get(family, {}) | card.call_arguments(steps)
    jobs = [
        job(family, "a cat", seed, steps, arguments=given, guidance_scale=card.guidance.default)
        for seed in (1, 2)
    ]
    wanted = [alone(pipeline, one) for one in jobs]
    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(wanted[0], wanted[1]) > 0.01
    assert sum(isinstance(event, StepDone) for event in bench.events) == 2 * steps
    plain = job(family, "a cat", 1, steps, arguments=ARGUMENTS.get(family, {}))
    if card.arguments.keys() - {"eta"}:
        assert difference(alone(pipeline, plain), wanted[0]) > 0.001
