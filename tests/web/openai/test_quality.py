"""A request's quality, where an endpoint's card says what it means, and where none does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.catalog.cards import CardError, EndpointCard, read_card
from gateway.catalog.catalog import Catalog
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client

CARD = """
id = "tiny"
steps = { min = 1, max = 10, default = 4 }
sizes = { native = [64, 64], min = 32, max = 256, multiple_of = 8 }
[quality.low]
steps = 1
[quality.high]
steps = 8
guidance = 3.5
"""


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "card.toml").write_text(CARD)
    card = read_card(folder / "card.toml", EndpointCard)
    plain = msgspec.structs.replace(card, id="plain", quality={})
    settings = Settings(endpoints=("tiny",), data=folder)
    with TestClient(create_app(settings, engine, Catalog({"tiny": card, "plain": plain}, {}))) as c:
        yield c


@pytest.mark.parametrize(
    ("asked", "drawn", "told", "warned"),
    [
        ({"quality": "low"}, (1, None), "low", False),
        ({"quality": "HIGH"}, (8, 3.5), "high", False),
        ({"quality": "hd"}, (8, 3.5), "high", False),
        ({"quality": "auto"}, (4, None), "low", False),
        ({}, (4, None), "low", False),
        ({"quality": "medium"}, (4, None), "low", True),
        ({"quality": "low", "num_inference_steps": 9}, (9, None), "high", True),
        ({"quality": "high", "guidance_scale": 2}, (8, 2.0), "high", False),
        ({"quality": "low", "model": "plain"}, (4, None), "high", True),
    ],
)
def test_a_quality_is_steps_and_is_echoed_as_it_was_drawn(
    client: Client,
    engine: TestEngine,
    asked: dict[str, Any],
    drawn: tuple[int, float | None],
    told: str,
    warned: bool,
) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "a cat", **asked}).json()
    job = engine.jobs[-1]
    assert (job.num_inference_steps, job.guidance_scale) == drawn
    assert answer["quality"] == told
    assert [one["param"] for one in answer["warnings"]] == ["quality"] * warned


def test_streams_and_responses_say_it_too(client: Client, engine: TestEngine) -> None:
    body = {"prompt": "a cat", "quality": "high", "stream": True}
    text = client.post("/v1/images/generations", json=body).text
    assert '"quality":"high"' in text
    tool = {"type": "image_generation", "quality": "low"}
    answer = client.post("/v1/responses", json={"input": "a cat", "tools": [tool]}).json()
    assert (answer["output"][0]["quality"], engine.jobs[-1].num_inference_steps) == ("low", 1)


def test_models_list_what_a_quality_is(client: Client) -> None:
    card, plain = (client.get(f"/v1/models/{id}").json() for id in ("tiny", "plain"))
    assert (card["quality"], plain["quality"]) == ({"low": 1, "high": 8}, {})
    assert ("quality" in card["ignores"], "quality" in plain["ignores"]) == (False, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[quality.low]\nsteps = 99", "quality.low.steps' = 99"),
        ("[quality.best]\nsteps = 1", "best"),
        ("[quality.low]\nstep = 1", "step"),
    ],
)
def test_a_quality_that_cannot_be_is_said_of_its_card(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "card.toml").write_text(f'id = "a"\n{text}')
    with pytest.raises(CardError, match=says):
        read_card(tmp_path / "card.toml", EndpointCard)
