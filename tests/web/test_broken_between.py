"""Files that break after they were looked at and before they are read: told, never replaced."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.catalog.cards import EndpointCard
from gateway.engine.loading import shelf
from gateway.engine.loading.loading import load
from gateway.settings import Settings
from tests.engine import single_files, tiny

SIZES = "sizes = { native = [32, 32], min = 16, max = 64, multiple_of = 16 }\n"
LEFT_BYTES = 999


def cut(file: Path) -> None:
    if file.stat().st_size > LEFT_BYTES:
        os.truncate(file, LEFT_BYTES)


def remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def whole(file: str) -> str:
    return f'source = "{file}"\nconfig = "base"\n'


def part(file: str) -> str:
    return f'source = "base"\ncomponents.unet = "{file}"\n'


ROWS: dict[str, tuple[Callable[[str], str], Callable[[Path], None], str]] = {
    "whole-cut": (whole, cut, "whole-cut.safetensors: not a whole safetensors file"),
    "part-gone": (part, remove, "'part-gone.safetensors': there is no such file"),
}


def test_a_file_that_breaks_before_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, pipeline = tmp_path / "models", tiny.build("sd")
    pipeline.save_pretrained(models / "base")
    for id, (lines, _, _) in ROWS.items():
        file = f"{id}.safetensors"
        is_whole = lines is whole
        weights = single_files.sd_file(pipeline) if is_whole else pipeline.unet.state_dict()
        single_files.save(weights, models / file)
        (models / f"{id}.toml").write_text(f'id = "{id}"\n{SIZES}{lines(file)}')

    def harmed(card: EndpointCard, *given: Any) -> Any:
        ROWS[card.id][1](models / f"{card.id}.safetensors")
        return load(card, *given)

    monkeypatch.setattr(shelf, "load", harmed)
    settings = Settings(models=models, endpoints=(*ROWS,), data=tmp_path / "data", threads=1)
    with TestClient(create_app(settings)) as client:
        listed = {one["id"]: one["state"] for one in client.get("/v1/models").json()["data"]}
        answers = {
            id: client.post("/v1/images/generations", json={"model": id, "prompt": "a cat"})
            for id in ROWS
        }
    assert listed == dict.fromkeys(ROWS, "ready")
    for id, (_, _, told) in ROWS.items():
        assert answers[id].status_code == 422, answers[id].text
        assert answers[id].json()["error"]["code"] == "model_unusable"
        assert told in answers[id].json()["error"]["message"]
