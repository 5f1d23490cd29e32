"""Ids that ask for exact weights, until they are in the job."""

from pathlib import Path

import pytest

from gateway.catalog.catalog import Catalog
from gateway.errors import ModelNotFound
from gateway.intake import to_job
from gateway.job import Job
from gateway.outside.parameters import GenerationRequest, read_request
from gateway.runs.planning import plan_of
from gateway.runs.records import Order
from gateway.settings import Settings
from tests.runs.drawing import small_catalog

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


def test_a_run_asks_for_them_too(tmp_path: Path) -> None:
    order = Order(model_id="tiny:style@abc1", inputs={"prompt": "a cat"})
    [draft] = plan_of(order, CATALOG, Settings(data=tmp_path)).drafts
    assert draft.pins == {"tiny:style": "abc1"}
