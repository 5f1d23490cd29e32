"""How models will fit, told before their weights are fetched; and those that are not fetched."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.catalog.cards import CARD, CardError, EndpointCard
from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.headers import read_tensors
from gateway.catalog.sources.weights import cached_file
from gateway.cli.main import commands
from gateway.engine.loading.room import room_for
from gateway.fetching import repository
from gateway.fetching.fetching import plan_of
from gateway.fetching.repository import Repository
from gateway.settings import Settings
from tests.catalog.making import INDEX
from tests.fetching.repositories import MODEL, SOURCE, WHOLE
from tests.fetching.standin import Hub

UNET = f"unet/{MODEL}.safetensors"
SMALL = 'dtype = "float32"\nsizes = { native = [64, 64], min = 64, max = 64, multiple_of = 8 }\n'


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "mine.toml").write_text(f'id = "mine"\nsource = "{SOURCE}"\n{SMALL}')
    return folder


def weights_asked(hub: Hub) -> set[str | None]:
    """The ranges in which anything of weights was asked for."""
    return set(hub.fetched(".safetensors"))


def test_pull_says_before_what_loading_plans_after(hub: Hub, models: Path) -> None:
    (models / "old.ckpt").write_text("x")
    words = ["pull", "mine", "--models", str(models), "--device", "cpu", "--memory", "1GiB"]
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if not line.startswith(" ")]
    assert lines[0].startswith("mine: 10 files, ")
    assert lines[2:] == ["mine: all of it is here"]
    catalog = load_catalog((models,), ())
    card, settings = catalog.endpoints["mine"], Settings(device="cpu", memory="1GiB")
    plan = room_for(card, catalog, settings).plan(card)
    assert str(plan).startswith("fits: ")
    assert lines[1] == f"mine: will {str(plan).replace('fits', 'fit', 1)}"
    assert cached_file(SOURCE, UNET, None)


def test_what_cannot_fit_is_told_by_pull_and_never_fetched_to_be_served(
    hub: Hub, models: Path, tmp_path: Path
) -> None:
    settings = Settings(models=models, data=tmp_path / "data", device="cpu", memory="1MiB")
    body = {"model": "mine", "prompt": "a cat"}
    with TestClient(create_app(settings)) as client:
        answer = client.post("/v1/images/generations", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "model_unusable"
    assert "its weights alone take " in error["message"]
    assert weights_asked(hub) == {f"bytes=0-{repository.USUAL_BYTES - 1}"}
    assert not any(cached_file(SOURCE, name, None) for name in WHOLE)
    words = ["pull", "mine", "--models", str(models), "--device", "cpu", "--memory", "1MiB"]
    done = CliRunner().invoke(commands, words)
    assert "mine: does not fit: its weights alone take " in done.output
    assert cached_file(SOURCE, UNET, None)


@pytest.mark.parametrize("usual", [4, 64, 100_000])
def test_a_head_is_read_without_the_rest(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual: int
) -> None:
    monkeypatch.setattr(repository, "USUAL_BYTES", usual)
    (tmp_path / "x.safetensors").write_bytes(WHOLE[UNET])
    found = Repository(SOURCE)
    listed = {file.name: file for file in found.listed}
    assert found.head(listed[UNET]) == read_tensors(tmp_path / "x.safetensors")
    assert None not in weights_asked(hub)


BLOCKS = {"_class_name": "WanModularPipeline", "_blocks_class_name": "Wan22Blocks"}


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ({"model_index.json": INDEX | {"_class_name": "WanPipeline"}}, "WanPipeline makes videos"),
        ({"modular_model_index.json": BLOCKS}, "Wan22Blocks makes videos"),
    ],
)
def test_a_model_of_videos_is_refused_before_its_weights(
    hub: Hub, tmp_path: Path, index: dict[str, object], told: str
) -> None:
    del hub.repositories[SOURCE]["model_index.json"]
    hub.repositories[SOURCE] |= {name: json.dumps(text).encode() for name, text in index.items()}
    card = EndpointCard(id="mine", source=SOURCE, path=tmp_path / CARD)
    with pytest.raises(CardError, match=f"{told}, not pictures"):
        plan_of(Model(card))
    assert hub.names_fetched() == index.keys()
