"""A model that cannot be used, through clients as they are: nobody hammers, and all learn why.

Once an answer has begun its status is gone. What each SDK then does is written down here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from gateway.app import create_app
from gateway.settings import Settings
from tests.clients.environments import run_node, run_python
from tests.serving import listening
from tests.small_engine import UNUSABLE, TestEngine, small_catalog

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    """Which knows how often it was asked."""
    return TestEngine()


@pytest.fixture(scope="module")
def url(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that soon loses patience, with a model that a prompt can make unusable."""
    settings = Settings(data=tmp_path_factory.mktemp("data"), heartbeat_seconds=0.15)
    with listening(create_app(settings, engine, small_catalog())) as url:
        yield url


@pytest.fixture(autouse=True)
def once(engine: TestEngine) -> Iterator[None]:
    """Each call draws one job, however often its client would try again."""
    engine.jobs.clear()
    yield
    prompts = [job.prompt for job in engine.jobs]
    assert len(prompts) == len(set(prompts))


def test_openai_in_python(url: str) -> None:
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=5) as client:
        with pytest.raises(openai.UnprocessableEntityError, match=UNUSABLE) as refused:
            client.images.generate(model="tiny", prompt="unusable")
        assert (refused.value.code, refused.value.param) == ("model_unusable", "model")
        with pytest.raises(openai.APIError, match=UNUSABLE) as broken:
            list(client.images.generate(model="tiny", prompt="unusable, streamed", stream=True))
        assert broken.value.code == "model_unusable"
        late: Any = client.images.generate(model="tiny", prompt="slow unusable")
        assert late.data is None
        assert late.error["message"] == UNUSABLE


def test_openai_in_node(url: str) -> None:
    refused = {"kind": "UnprocessableEntityError", "status": 422, "message": f"422 {UNUSABLE}"}
    assert run_node(PROGRAMS / "unusable.mjs", url) == {
        "refused": refused,
        "broken": {"kind": "APIError", "status": None, "message": UNUSABLE},
        "late": {"data": None, "message": UNUSABLE},
    }


@pytest.mark.parametrize("line", ["friendli-0.7", "friendli-0.16"])
def test_friendli(url: str, line: str) -> None:
    found: Any = run_python(line, PROGRAMS / "unusable_friendli.py", url)
    refused, late = found["refused"], found["late"]
    assert (refused["status"], UNUSABLE in refused["body"]) == (422, True)
    assert late["kind"] in ("ResponseValidationError", "ValidationError")
    # The older one's own error cuts what it could not read.
    assert (UNUSABLE if late["kind"] == "ResponseValidationError" else "'error'") in late["body"]


def test_comfydeploy(url: str) -> None:
    asked = {"model_id": "tiny", "inputs": {"prompt": "unusable"}}
    refused = httpx.post(f"{url}/api/run/sync", json=asked)
    assert (refused.status_code, refused.json()["code"]) == (422, "model_unusable")
    assert UNUSABLE in refused.json()["detail"]
    stream = httpx.post(f"{url}/api/run/stream", json=asked | {"inputs": {"prompt": "unusable 2"}})
    assert UNUSABLE in stream.text
    queued = httpx.post(f"{url}/api/run", json=asked | {"inputs": {"prompt": "unusable 3"}}).json()
    run: Any = {"status": "queued"}
    while run["status"] not in ("success", "failed"):
        run = httpx.get(f"{url}/api/run/{queued['run_id']}").json()
    assert run["status"] == "failed"
    assert UNUSABLE in json.dumps(run["run_log"])
    assert run["outputs"][0]["data"]["error"] == [UNUSABLE]


def test_batches(url: str) -> None:
    body = {"model": "tiny", "prompt": "unusable"}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/images/generations", "body": body}
    with OpenAI(base_url=f"{url}/v1", api_key="any") as client:
        file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        path: Any = "/v1/images/generations"
        batch = client.batches.create(
            input_file_id=file.id, endpoint=path, completion_window="24h"
        )
        while batch.status not in ("completed", "failed"):
            batch = client.batches.retrieve(batch.id)
        assert batch.error_file_id
        answer = json.loads(client.files.content(batch.error_file_id).text)["response"]
    assert (answer["status_code"], answer["body"]["error"]["message"]) == (422, UNUSABLE)
