"""The whole application on a small engine, asked by the Comfy API v2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.runs.graph import examples
from tests.small_engine import TestEngine, small_catalog

Client = TestClient[Litestar]
Job = dict[str, Any]


@contextmanager
def served(data: Path, engine: TestEngine | None = None, **settings: Any) -> Iterator[Client]:
    """A client with a key of ann's, the same wherever it is served again."""
    kept = data / "secret-of-ann"
    if not kept.exists():
        kept.write_text(KeyStore(data).create("ann")[1])
    chosen = Settings(endpoints=("tiny",), data=data, **settings)
    app = create_app(chosen, engine or TestEngine(), small_catalog())
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {kept.read_text()}"
        yield client


def graph(prompt: str = "a cat", model: str = "tiny", **sampler: Any) -> examples.Graph:
    """A graph that a small endpoint draws."""
    found = examples.text_to_image(**({"steps": 4, "cfg": 1, "seed": 7} | sampler))
    found["4"]["inputs"]["ckpt_name"] = f"{model}.safetensors"
    found["5"]["inputs"] |= {"width": 64, "height": 64}
    found["6"]["inputs"]["text"] = prompt
    return found


def submit(client: Client, workflow: examples.Graph, key: str = "", **more: Any) -> Job:
    """A job that has been accepted."""
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.post("/api/v2/jobs", json={"workflow": workflow} | more, headers=headers)
    assert answer.status_code == 201, answer.text
    job: Job = answer.json()
    return job


def events(client: Client, job: Job) -> list[tuple[str, Any]]:
    """What is told of a job, to its end."""
    text = client.get(job["urls"]["events"]).text
    frames = [frame for frame in text.split("\n\n") if frame.startswith("event: ")]
    lines = [frame.split("\n") for frame in frames]
    return [
        (name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: ")))
        for name, data in lines
    ]


def ended(client: Client, job: Job) -> Job:
    """A job once it has ended."""
    events(client, job)
    found: Job = client.get(job["urls"]["self"]).json()
    return found
