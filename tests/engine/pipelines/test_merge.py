"""What can share a forward, and that what is merged comes apart again."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils import BaseOutput
from torch import Tensor

from gateway.engine.pipelines.merge import batch_of, content_key, group_key, merge, split


@dataclass
class Output(BaseOutput):  # type: ignore[misc]
    sample: Tensor
    extra: Any = None


def shared(*calls: dict[str, Any]) -> bool:
    """Whether the calls can share one forward."""
    return len({group_key((), kwargs) for kwargs in calls}) == 1


def merged(*calls: dict[str, Any]) -> dict[str, Any]:
    return merge([((), kwargs) for kwargs in calls])[1]


def rows(*counts: int) -> list[Any]:
    return [batch_of((torch.zeros(count, 3),), {}) for count in counts]


@pytest.mark.parametrize(
    "timestep", [torch.tensor(7.0), torch.tensor([7.0]), torch.full((2,), 7.0)]
)
def test_a_timestep_of_any_form_becomes_one_per_row(timestep: Tensor) -> None:
    first = {"x": torch.zeros(2, 4), "t": timestep}
    second = {"x": torch.ones(2, 4), "t": timestep + 1}
    assert shared(first, second)
    assert merged(first, second)["t"].tolist() == [7, 7, 8, 8]


def test_a_timestep_that_comes_first_does_not_count_the_rows() -> None:
    call = {"timestep": torch.tensor([3.0]), "hidden_states": torch.zeros(2, 4)}
    assert batch_of((), call).rows == 2
    assert merged(call, call)["timestep"].shape == (4,)


def test_calls_of_unequal_rows_share() -> None:
    one = {"x": torch.zeros(1, 4), "t": torch.tensor(1.0)}
    two = {"x": torch.ones(2, 4), "t": torch.tensor(2.0)}
    assert shared(one, two)
    together = merged(one, two)
    assert together["x"].shape == (3, 4)
    assert together["t"].tolist() == [1, 2, 2]


def test_positions_pass_once_where_equal_and_part_where_not() -> None:
    ids = torch.arange(12.0).reshape(6, 2)
    call = {"x": torch.zeros(1, 4), "ids": ids}
    assert shared(call, {"x": torch.ones(1, 4), "ids": ids.clone()})
    assert merged(call, {"x": torch.ones(1, 4), "ids": ids.clone()})["ids"] is ids
    assert not shared(call, {"x": torch.ones(1, 4), "ids": ids + 1})


@pytest.mark.parametrize(
    "other",
    [
        {"x": torch.zeros(1, 5), "flag": True},
        {"x": torch.zeros(1, 4, dtype=torch.float64), "flag": True},
        {"x": torch.zeros(1, 4), "flag": False},
        {"x": torch.zeros(1, 4), "flag": 1},
        {"x": torch.zeros(1, 4)},
    ],
    ids=["shape", "dtype", "value", "type", "absent"],
)
def test_what_differs_does_not_share(other: dict[str, Any]) -> None:
    assert not shared({"x": torch.zeros(1, 4), "flag": True}, other)


def test_lists_of_plain_values_share_only_when_equal() -> None:
    wide = {"x": torch.zeros(1, 8, 4), "shapes": [[(1, 2, 4)]]}
    tall = {"x": torch.zeros(1, 8, 4), "shapes": [[(1, 4, 2)]]}
    assert not shared(wide, tall)
    assert merged(wide, wide)["shapes"] == [[(1, 2, 4)], [(1, 2, 4)]]


def test_lists_of_tensors_per_row_extend_whatever_their_shapes() -> None:
    first = {"x": [torch.zeros(16, 1, 4)], "text": [torch.zeros(3, 8)], "t": torch.tensor([1.0])}
    second = {"x": [torch.zeros(16, 1, 6)], "text": [torch.zeros(1, 8)], "t": torch.tensor([2.0])}
    assert shared(first, second)
    together = merged(first, second)
    assert [item.shape[2] for item in together["x"]] == [4, 6]
    assert [item.shape[0] for item in together["text"]] == [3, 1]
    assert together["t"].tolist() == [1, 2]


def test_lists_of_batched_tensors_merge_one_by_one() -> None:
    first = {"x": torch.zeros(1, 4), "residuals": [torch.zeros(1, 2)]}
    second = {"x": torch.ones(1, 4), "residuals": [torch.ones(1, 2)]}
    assert shared(first, second)
    [residual] = merged(first, second)["residuals"]
    assert residual.tolist() == [[0, 0], [1, 1]]


def test_dicts_recurse() -> None:
    first = {"x": torch.zeros(1, 4), "added": {"time_ids": torch.zeros(1, 6), "kind": "a"}}
    second = {"x": torch.ones(1, 4), "added": {"time_ids": torch.ones(1, 6), "kind": "a"}}
    assert shared(first, second)
    assert merged(first, second)["added"]["time_ids"].shape == (2, 6)
    assert not shared(first, first | {"added": {"time_ids": torch.zeros(1, 6), "kind": "b"}})


def test_generators_do_not_keep_single_rows_apart() -> None:
    calls = [{"z": torch.zeros(1, 4), "generator": torch.Generator()} for _ in range(2)]
    assert shared(*calls)
    assert merged(*calls)["generator"] == [call["generator"] for call in calls]


@pytest.mark.parametrize("has_mask", [True, False])
def test_masked_sequences_of_unequal_length_are_padded(has_mask: bool) -> None:
    def call(length: int) -> dict[str, Any]:
        mask = torch.ones(1, length, dtype=torch.bool) if has_mask else None
        text = torch.ones(1, length, 8)
        return {"x": torch.zeros(1, 4, 4), "text": text, "text_mask": mask}

    assert shared(call(2), call(5))
    together = merged(call(2), call(5))
    assert together["text"].shape == (2, 5, 8)
    assert together["text_mask"].sum(1).tolist() == [2, 5]
    assert together["text"][0].sum(1).tolist() == [8, 8, 0, 0, 0]


def test_equal_lengths_need_no_mask() -> None:
    call = {"x": torch.zeros(1, 4, 4), "text": torch.ones(1, 3, 8), "text_mask": None}
    assert merged(call, call)["text_mask"] is None


def test_sequences_without_a_mask_do_not_share_across_lengths() -> None:
    assert not shared(
        {"x": torch.zeros(1, 4), "text": torch.zeros(1, 2, 8)},
        {"x": torch.zeros(1, 4), "text": torch.zeros(1, 3, 8)},
    )


def test_one_call_passes_as_it_came() -> None:
    call: Any = ((torch.zeros(1, 4), torch.tensor(1.0)), {"flag": True})
    assert merge([call]) is call


def test_results_come_apart_as_they_were_put_together() -> None:
    whole = Output(sample=torch.arange(3.0), extra=(torch.arange(3.0), None, "same"))
    first, second = split(whole, rows(1, 2))
    assert isinstance(second, Output)
    assert first.sample.tolist() == [0]
    assert second.sample.tolist() == [1, 2]
    assert second.extra[0].tolist() == [1, 2]
    assert second.extra[1:] == (None, "same")


def test_lists_of_results_come_apart_by_row() -> None:
    listed = [batch_of(([torch.zeros(2, 3)],), {})] * 2
    # Two rows, and tensors whose first dimension happens to be two as well.
    first, second = split(([torch.zeros(2), torch.ones(2)],), listed)
    assert [item.tolist() for item in first[0]] == [[0, 0]]
    assert [item.tolist() for item in second[0]] == [[1, 1]]


def test_latent_distributions_come_apart() -> None:
    parameters = torch.randn(3, 8, 2, 2)
    whole = DiagonalGaussianDistribution(parameters)
    first, second = split(whole, rows(1, 2))
    assert torch.equal(first.mode(), parameters[:1, :4])
    assert torch.equal(second.mode(), parameters[1:, :4])
    wanted = DiagonalGaussianDistribution(parameters[1:]).sample(torch.manual_seed(3))
    assert torch.equal(second.sample(torch.manual_seed(3)), wanted)


def test_only_calls_on_integers_have_a_content_key() -> None:
    ids = torch.tensor([[1, 2]])
    key = content_key((ids,), {"output_hidden_states": True})
    assert key is not None
    assert key == content_key((ids.clone(),), {"output_hidden_states": True})
    assert key != content_key((ids + 1,), {"output_hidden_states": True})
    assert key != content_key((ids,), {"output_hidden_states": False})
    assert content_key((torch.zeros(1, 2),), {}) is None
