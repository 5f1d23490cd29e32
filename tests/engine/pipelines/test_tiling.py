"""Pictures from a card's size upward are decoded in tiles, and no others."""

from collections.abc import Iterator

import pytest
import torch

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture


@pytest.fixture
def bench() -> Iterator[Workbench]:
    card = EndpointCard(id="sd", tiles_from=64 * 64)
    bench = Workbench({"sd": built("sd")}, catalog=Catalog({"sd": card}, {}))
    yield bench
    bench.close()


def test_large_pictures_are_tiled_and_small_ones_are_not(bench: Workbench) -> None:
    tiling = tiny.build("sd")
    tiling.vae.enable_tiling()
    small, large = (job("sd", "a", 1, 1, width=edge, height=edge) for edge in (48, 64))
    samples = [bench.add(one)[0] for one in (small, large, small, large)]
    bench.run()
    wanted = [alone(built("sd"), small), alone(tiling, large)] * 2
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(alone(built("sd"), large), wanted[1]) > 10 * TOLERANCE
    vae: torch.nn.Module = bench.shelf.loaded["sd"].base.vae
    assert not vae.use_tiling
