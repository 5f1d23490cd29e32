"""Pictures drawn with adapters, beside those that stock pipelines draw with changed weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard
from gateway.job import AdapterUse, Job
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, failures, job, picture

Weights = dict[str, Tensor]
SCALES = (1.0, 0.5)
Drawn = dict[str, list[tuple[Any, Tensor]]]
"""By adapter, at each of the scales: a sample, and the picture that is wanted of it."""


def denoiser(pipeline: Any) -> nn.Module:
    module: nn.Module = getattr(pipeline, "unet", None) or pipeline.transformer
    return module


def drawn_with(family: str, changed: Weights, scale: float, wanted: Job) -> Tensor:
    """What the stock pipeline draws with some weights of its denoiser moved towards others."""
    own = denoiser(built(family)).state_dict()
    before = {name: own[name].clone() for name in changed}
    for name, weight in changed.items():
        own[name] += scale * (weight - own[name])
    try:
        return alone(built(family), wanted)
    finally:
        for name, weight in before.items():
            own[name].copy_(weight)


def card(family: str, file: Path, route: str = "odd") -> AdapterCard:
    return AdapterCard(endpoint=family, route=route, source=file.name, path=file)


def check_drawn(family: str, odd: AdapterCard, wanted: Callable[[float, Job], Tensor]) -> None:
    """Draw with it at two scales beside a picture without it, and compare all three."""
    jobs = [
        job(family, "a cat", 1, 1, adapters=(AdapterUse("odd", 1.0),)),
        job(family, "a dog", 2, 1, adapters=(AdapterUse("odd", 0.5),)),
        job(family, "a fox", 3, 1),
    ]
    pictures = [wanted(scale, one) for scale, one in zip((1.0, 0.5, 0.0), jobs, strict=True)]
    bare = alone(built(family), jobs[0])
    assert difference(pictures[0], bare) > 10 * TOLERANCE
    bench = Workbench({family: built(family)}, (odd,))
    bench.add(job(family, "loads it", 9, 1, adapters=(AdapterUse("odd", 1.0),)))
    bench.run()
    bench.rows.clear()
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    rows = bench.denoiser_rows()
    bench.close()
    assert not failures(bench.events)
    for sample, image in zip(samples, pictures, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert max(rows) >= len(jobs)


def drawn_at_once(
    family: str,
    cards: Mapping[str, AdapterCard],
    wanted: Callable[[str, float, Job], Tensor],
) -> Drawn:
    """Draw with many adapters at two scales, all in the same forwards."""
    bench = Workbench({family: built(family)}, tuple(cards.values()))
    jobs = {
        (name, scale): job(family, f"a {name}", seed, 1, adapters=(AdapterUse(name, scale),))
        for seed, name in enumerate(cards)
        for scale in SCALES
    }
    samples = {key: bench.add(one)[0] for key, one in jobs.items()}
    bench.run()
    bench.close()
    return {
        name: [(samples[name, at], wanted(name, at, jobs[name, at])) for at in SCALES]
        for name in cards
    }


def check_alike(drawn: Drawn, name: str) -> None:
    """See that an adapter's pictures are those that are wanted of it, and differ."""
    for sample, image in drawn[name]:
        assert difference(picture(sample), image) <= TOLERANCE
    bare = alone(built(drawn[name][0][0].job.endpoint), drawn[name][0][0].job)
    assert difference(drawn[name][0][1], bare) > 10 * TOLERANCE
