"""ComfyUI's API on a small engine, asked by two keys."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.runs.graph.examples import Graph, text_to_image
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import Client

SAMPLING = {"steps": 3, "cfg": 1, "sampler_name": "euler", "scheduler": "normal"}
PATIENCE_SECONDS = 30
ID = "6f1d8f0c-64a5-4f0e-9f6b-0d4f2f0c9a11"


@contextmanager
def served(
    folder: Path, engine: TestEngine | None = None, *, keys: bool = True, **settings: Any
) -> Iterator[tuple[Client, dict[str, dict[str, str]]]]:
    """A client, and the headers of Ann and of Bob."""
    names = ("ann", "bob") if keys else ()
    secrets = {name: KeyStore(folder).create(name)[1] for name in names}
    given = Settings(endpoints=("tiny",), data=folder, **settings)
    app = create_app(given, engine or TestEngine(), small_catalog())
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client, {name: bearer(secret) for name, secret in secrets.items()}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def graph(prompt: str = "a cat", output: str = "SaveImage", **sampler: Any) -> Graph:
    """A graph that the small endpoint draws."""
    found = text_to_image(**(SAMPLING | {"seed": 7} | sampler))
    found["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    found["5"]["inputs"] = {"width": 64, "height": 64, "batch_size": 1}
    found["6"]["inputs"]["text"] = prompt
    found["9"]["class_type"] = output
    return found


def endless(prompt: str = "slow") -> Graph:
    """A graph that is drawn for longer than any test waits."""
    found = graph(prompt, steps=2000)
    found["4"]["inputs"]["ckpt_name"] = "slow"
    return found


def queued(client: Client, headers: dict[str, str], prompt: Graph, **body: Any) -> str:
    """The id of a prompt that has been queued."""
    answer = client.post("/prompt", json={"prompt": prompt, **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["node_errors"], type(told["number"])) == ({}, int)
    return str(told["prompt_id"])


def done(client: Client, headers: dict[str, str], prompt_id: str) -> Any:
    """What the history tells of a prompt, once it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        told = client.get(f"/history/{prompt_id}", headers=headers).json()
        if told:
            return told[prompt_id]
        time.sleep(0.02)
    raise AssertionError("it did not end")
