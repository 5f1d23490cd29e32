"""Memory that is used again, but never under the eyes of somebody."""

import pytest
import torch

from gateway.engine.forwards.buffers import LEAST_BYTES, MOST_BYTES, Buffers
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture

ROW = LEAST_BYTES // 4


def rows(value: float, size: int = ROW) -> list[torch.Tensor]:
    return [torch.full((1, size), value + number) for number in range(2)]


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    buffers, places = Buffers(), set[int]()
    for value in range(4):
        whole = buffers.cat(rows(value))
        assert torch.equal(whole, torch.cat(rows(value)))
        places.add(whole.data_ptr())
        del whole
    assert len(places) == 1


def test_what_is_still_held_stays_as_it_is() -> None:
    buffers = Buffers()
    part = buffers.cat(rows(1.0))[1:, :8]
    for value in (5.0, 7.0):
        buffers.cat(rows(value))
    assert part.tolist() == [[2.0] * 8]


def test_other_types_and_shapes_are_laid_together_too() -> None:
    buffers = Buffers()
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.int64):
        tensors = [one.to(dtype).view(1, 4, -1) for one in rows(3.0)]
        assert torch.equal(buffers.cat(tensors), torch.cat(tensors))
    mixed = [rows(1.0)[0], rows(1.0)[1].double()]
    assert buffers.cat(mixed).dtype == torch.float64
    small = [torch.ones(1, 2), torch.ones(3, 2)]
    assert buffers.cat(small).shape == (4, 2)


def test_what_is_kept_is_bounded() -> None:
    buffers, held = Buffers(), list[torch.Tensor]()
    for number in range(12):
        held.append(buffers.cat(rows(number, MOST_BYTES // 64)))
    assert [whole[0, 0].item() for whole in held] == list(range(12))
    assert sum(len(one.data) for one in buffers._kept) <= MOST_BYTES


def test_forwards_lay_their_arguments_in_memory_that_is_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.engine.forwards.buffers.LEAST_BYTES", 0)
    wanted = [job("sd", f"a fox {seed}", seed, 4) for seed in range(4)]
    pictures = [alone(built("sd"), one) for one in wanted]
    bench = Workbench({"sd": built("sd")})
    samples = [sample for one in wanted for sample in bench.add(one)]
    bench.run()
    bench.close()
    for sample, expected in zip(samples, pictures, strict=True):
        assert difference(picture(sample), expected) <= TOLERANCE
    kept = bench.hub.forwards._buffers._kept
    assert 0 < len(kept) < 12
    assert all(one.is_free for one in kept)
