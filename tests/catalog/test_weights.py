"""Whether weights are here, told before the first request."""

from pathlib import Path

import pytest

from gateway.catalog.cards import AdapterCard, CardError, EndpointCard
from gateway.catalog.weights import check_adapter, check_weights, is_on_disk, pipeline_class

INDEX = (
    '{"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"], '
    '"safety_checker": [null, null]}'
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def card(folder: Path, source: str = ".") -> EndpointCard:
    return EndpointCard(id="mine", source=source, path=folder / "card.toml")


def test_folder_with_every_part_is_on_disk(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(INDEX)
    assert not is_on_disk(card(tmp_path))
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    assert is_on_disk(card(tmp_path))
    check_weights(card(tmp_path))
    assert pipeline_class(card(tmp_path)) == "FluxPipeline"


def test_folder_without_its_parts_is_named_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"card.toml: key 'source' = '\.': wanted a folder with"):
        check_weights(card(tmp_path))


def test_hub_id_that_cannot_be_fetched_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="not on this disk and the hub cannot be reached") as caught:
        check_weights(card(tmp_path, "someone/some-model"))
    assert "\n" not in str(caught.value)


def test_an_adapters_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    adapter = AdapterCard(
        endpoint="mine", route="ink", source="ink.safetensors", path=tmp_path / "ink.toml"
    )
    with pytest.raises(CardError, match=r"ink.toml: key 'source' = 'ink.safetensors': wanted"):
        check_adapter(adapter)
    (tmp_path / "ink.safetensors").touch()
    check_adapter(adapter)
