"""Ids that ask for exact weights, until they are in the job."""

from pathlib import Path

import pytest

from gateway.catalog.catalog import Catalog
from gateway.errors import ModelNotFound
from gateway.intake import to_job
from gateway.job import Job
from gateway.outside.parameters import GenerationRequest, read_request
from gateway.runs.drawing.planning import plan_of
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.records import Order
from gateway.settings import Settings
from tests.runs.graph import examples
from tests.runs.graph.examples import Graph
from tests.small_engine import small_catalog

CATALOG = Catalog(small_catalog().endpoints, small_catalog().adapters, {"dall-e-3": "tiny"})
PINNED = {
    "tiny": {},
    "tiny:style": {},
    "tiny@abc1": {"tiny": "abc1"},
    "tiny:style@ABC1": {"tiny:style": "abc1"},
    "tiny@abc1:style": {"tiny": "abc1"},
    "tiny@abc1:style@abc2": {"tiny": "abc1", "tiny:style": "abc2"},
    "dall-e-3@abc1": {"tiny": "abc1"},
}


def asked(**more: object) -> GenerationRequest:
    return read_request({"prompt": "a cat"} | more)


def drawn(**more: object) -> Job:
    request = asked(**more)
    return to_job(request, CATALOG.resolve(str(request.model)), CATALOG, Settings())


@pytest.mark.parametrize("id", PINNED)
def test_an_id_says_which_weights(id: str) -> None:
    model = CATALOG.resolve(id)
    assert model.id == ("tiny:style" if "style" in id else "tiny")
    assert model.pins == PINNED[id]
    assert CATALOG.resolve(model.pinned_id) == model
    assert drawn(model=id).pins == PINNED[id]


def test_a_lora_beside_the_id_says_which_too() -> None:
    job = drawn(model="tiny@abc1", loras=[{"name": "style@abc2", "scale": 0.5}])
    assert job.pins == {"tiny": "abc1", "tiny:style": "abc2"}
    assert [use.route for use in job.adapters] == ["style"]


@pytest.mark.parametrize("id", ["none@abc1", "tiny:none@abc1"])
def test_what_is_not_there_is_not_found_with_any_weights(id: str) -> None:
    with pytest.raises(ModelNotFound):
        CATALOG.resolve(id)


def graph(checkpoint: str, *loras: str) -> Graph:
    found = examples.text_to_image(steps=4)
    found["4"]["inputs"]["ckpt_name"] = checkpoint
    found["5"]["inputs"].update(width=64, height=64)
    for number, lora in enumerate(loras):
        found[f"lora-{number}"] = examples.node(
            "LoraLoaderModelOnly",
            model=[f"lora-{number - 1}" if number else "4", 0],
            lora_name=lora,
            strength_model=0.5,
        )
        found["3"]["inputs"]["model"] = [f"lora-{number}", 0]
    return found


@pytest.mark.parametrize(
    ("names", "pins"),
    [
        (("tiny.safetensors", "style.safetensors"), {}),
        (("tiny@ABC1", "style.safetensors"), {"tiny": "abc1"}),
        (("tiny.safetensors@abc1", "loras\\style.safetensors@abc2"),
         {"tiny": "abc1", "tiny:style": "abc2"}),
        (("tiny", "tiny:style@abc2"), {"tiny:style": "abc2"}),
        (("tiny", "style@abc2", "style"), {"tiny:style": "abc2"}),
    ],
)  # fmt: skip
def test_names_in_graphs_say_which_weights_too(names: tuple[str, ...], pins: object) -> None:
    [draft] = compile_graph(graph(*names), CATALOG).drafts
    assert draft.pins == pins
    assert [use.route for use in draft.adapters] == ["style"]


@pytest.mark.parametrize("names", [("none@abc1",), ("tiny", "none@abc1")])
def test_names_in_graphs_that_are_not_there_are_told_of(names: tuple[str, ...]) -> None:
    with pytest.raises(GraphRefused, match="none"):
        compile_graph(graph(*names), CATALOG)


def test_a_lora_cannot_have_two_weights() -> None:
    with pytest.raises(GraphRefused, match="other weights"):
        compile_graph(graph("tiny", "style@abc1", "style@abc2"), CATALOG)


def test_a_run_asks_for_them_too(tmp_path: Path) -> None:
    inputs = {"prompt": "a cat", "scheduler": "dpmpp_2m_sde"}
    order = Order(model_id="tiny:style@abc1", inputs=inputs)
    [draft] = plan_of(order, CATALOG, Settings(data=tmp_path)).drafts
    assert draft.pins == {"tiny:style": "abc1"}
    # And draws with the very scheduler that the images API does.
    job = drawn(model="tiny:style", scheduler="dpmpp_2m_sde")
    assert (draft.scheduler, draft.scheduler_config) == (job.scheduler, job.scheduler_config)
    assert draft.scheduler_config
