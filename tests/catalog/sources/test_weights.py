"""Whether weights are here, told before the first request."""

from pathlib import Path

import pytest

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.sources.weights import pipeline_class
from gateway.catalog.survey.survey import check_model

INDEX = (
    '{"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"], '
    '"safety_checker": [null, null]}'
)


def card(folder: Path, source: str = ".") -> EndpointCard:
    return EndpointCard(id="mine", source=source, path=folder / "card.toml")


def check(card: EndpointCard) -> None:
    check_model(Model(card), Catalog({card.id: card}, {}))


def test_a_pipeline_is_what_its_index_says(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(INDEX)
    assert pipeline_class(card(tmp_path)) == "FluxPipeline"


def test_folder_without_its_parts_is_named_with_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"card.toml: key 'source' = '\.': wanted a folder with"):
        check(card(tmp_path))
    (tmp_path / "model_index.json").write_text(INDEX)
    with pytest.raises(CardError, match="the part 'vae' is not there"):
        check(card(tmp_path))


@pytest.mark.parametrize(("offline", "says"), [(True, "HF_HUB_OFFLINE"), (False, "hub cannot be")])
def test_hub_id_that_cannot_be_fetched_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, says: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", "http://127.0.0.1:9", raising=False)
    with pytest.raises(CardError, match=says) as caught:
        check(card(tmp_path, "someone/some-model"))
    assert "\n" not in str(caught.value)
