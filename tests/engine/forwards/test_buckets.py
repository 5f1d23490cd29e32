"""The same to the bit: forwards of one size, whoever else is in them."""

import pytest
import torch

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.forwards.buckets import INVARIANT_CALLS, bucket
from gateway.job import Finished
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture


def workbench(family: str) -> Workbench:
    card = EndpointCard(id=family, batch_invariant=True)
    return Workbench({family: built(family)}, catalog=Catalog({family: card}, {}))


@pytest.mark.parametrize("family", ["z_image"])
def test_a_picture_is_the_same_to_the_bit_alone_and_together(family: str) -> None:
    prompts = ["a", "a much longer prompt than that", "b", "c", "d"]
    jobs = [job(family, prompt, seed, 2) for seed, prompt in enumerate(prompts)]
    bench = workbench(family)
    by_itself = []
    for one in jobs:
        sample = bench.add(one)[0]
        bench.run()
        by_itself.append(picture(sample))
    bench.close()
    bench = workbench(family)
    together = [bench.add(one)[0] for one in jobs[:4]]
    bench.turn()
    bench.turn()
    together.append(bench.add(jobs[4])[0])
    bench.run()
    bench.close()
    rows = bench.denoiser_rows()
    assert len(rows) < 2 * len(jobs)
    assert {one.promise for one in bench.events if isinstance(one, Finished)} == {"bitwise"}
    assert len(set(rows)) == 1
    for sample, single, one in zip(together, by_itself, jobs, strict=True):
        assert torch.equal(picture(sample), single)
        assert difference(single, alone(built(family), one)) <= TOLERANCE


def test_buckets_double() -> None:
    assert [bucket(number) for number in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]
    assert bucket(INVARIANT_CALLS) == INVARIANT_CALLS
