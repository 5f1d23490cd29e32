"""What lies in the folders and is passed over is named, if it looks meant."""

from pathlib import Path

import pytest

from gateway.catalog.folders import load_catalog
from gateway.catalog.survey.survey import faults_of
from tests.catalog.making import lora, model, weights, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model and its LoRA, and what nobody takes for either."""
    write(model(tmp_path / "models" / "sd") / "README.md", "")
    lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 768)
    for name in ("LICENSE", "index.html", ".hidden.ckpt"):
        write(tmp_path / "models" / name, "")
        write(tmp_path / "adapters" / "sd" / name, "")
    return tmp_path


def passed_over(folder: Path) -> dict[str, str]:
    found = load_catalog((folder / "models",), (folder / "adapters",)).passed_over
    return {str(Path(str(stray.path)).relative_to(folder)): stray.reason for stray in found}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("adapters/sd/old.ckpt", "pickled weights are refused"),
        ("adapters/sd/old.PT", "pickled weights are refused"),
        ("adapters/sd/more/a.SAFETENSORS", "it lies too deep without a card.toml"),
        ("adapters/sd/a.safetensor", "misspelt '.safetensor'; wanted .safetensors"),
        ("adapters/sd/a.safetensors.txt", "wanted its name to end in .safetensors"),
        ("adapters/sd/a.tml", "misspelt '.tml'; wanted .toml"),
        ("adapters/sd/a.gguf", "'.gguf' is not read"),
        ("adapters/sd/a.safetensors.part", "not downloaded to its end"),
        ("adapters/sd/a.crdownload", "not downloaded to its end"),
        ("adapters/sd/more/a.safetensors", "it lies too deep without a card.toml"),
        ("adapters/a.safetensors", "it lies in no endpoint's folder"),
        ("adapters/sdd/a.safetensors", "no endpoint is called 'sdd'; did you mean 'sd'?"),
        ("models/a.ckpt", "pickled weights are refused"),
        ("models/a.TOML", "misspelt '.TOML'; wanted .toml"),
        ("models/vae/a.safetensors", "nor a whole model in one file; `gateway models add FILE`"),
        ("models/a/Card.toml", "neither card.toml nor model_index.json; did you mean 'Card.toml'"),
    ],
)
def test_it_is_named_with_what_was_wanted(folder: Path, name: str, says: str) -> None:
    assert passed_over(folder) == {}
    write(folder / name, "")
    [(place, reason)] = passed_over(folder).items()
    assert Path(name).is_relative_to(place)
    assert says in reason


def test_a_folder_that_does_not_exist_is_named(folder: Path) -> None:
    found = load_catalog((folder / "model",), (folder / "models" / "LICENSE",)).passed_over
    assert [str(fault) for fault in found] == [
        f"{folder}/model: there is no such folder; did you mean 'models'?",
        f"{folder}/models/LICENSE: is no folder",
    ]


def test_two_cards_of_one_id_are_one_model_and_a_line(folder: Path) -> None:
    write(folder / "models" / "a.toml", 'id = "sd"\nsource = "sd"')
    [(place, reason)] = passed_over(folder).items()
    assert place == "models/sd/card.toml"
    assert "'sd' is described in a.toml already" in reason


def test_what_cards_name_is_not_passed_over(folder: Path) -> None:
    model(folder / "models" / "weights" / "other").joinpath("card.toml").unlink()
    write(folder / "models" / "other.toml", 'id = "other"\nsource = "weights/other"')
    assert passed_over(folder) == {}


def test_what_is_no_controlnet_and_no_word_is_told(tmp_path: Path) -> None:
    model(tmp_path / "models" / "sd")
    weights(tmp_path / "embeddings" / "sd" / "ohwx.safetensors", {"emb_params": (1, 4)})
    write(tmp_path / "embeddings" / "sd" / "easy.pt", "x")
    write(tmp_path / "controlnets" / "sd" / "canny" / "config.json", "{}")
    weights(tmp_path / "controlnets" / "sd" / "canny" / "model.safetensors", {"x": (1, 1)})
    weights(tmp_path / "controlnets" / "sdd" / "depth.safetensors", {"x": (1, 1)})
    catalog = load_catalog(
        (tmp_path / "models",), (), (tmp_path / "controlnets",), (tmp_path / "embeddings",)
    )
    assert list(catalog.controls) == [("sd", "canny"), ("sdd", "depth")]
    assert list(catalog.embeddings) == [("sd", "ohwx")]
    told = [str(stray).removeprefix(f"{tmp_path}/") for stray in catalog.passed_over]
    assert told == [
        "controlnets/sdd: passed over: no endpoint is called 'sdd'; did you mean 'sd'?",
        "embeddings/sd/easy.pt: passed over: pickled weights are refused; wanted .safetensors, "
        "which `gateway convert` makes of them",
    ]


def test_what_belongs_into_another_folder_is_told(tmp_path: Path) -> None:
    model(tmp_path / "models" / "sd")
    weights(tmp_path / "controlnets/sd/style.safetensors", {"ip_adapter.1.to_k_ip.weight": (1, 1)})
    weights(tmp_path / "controlnets/sd/word.safetensors", {"emb_params": (1, 4)})
    weights(tmp_path / "embeddings/sd/net.safetensors", {"input_hint_block.0.weight": (1, 4)})
    catalog = load_catalog(
        (tmp_path / "models",), (), (tmp_path / "controlnets",), (tmp_path / "embeddings",)
    )
    assert [fault.reason for fault in faults_of(catalog).values()] == [
        "IP-Adapter weights are no ControlNet; wanted it as controlnets/ENDPOINT/NAME/FILE, "
        "beside its image_encoder",
        "textual inversion weights are no ControlNet; wanted it in embeddings/ENDPOINT",
        "ControlNet weights are no textual inversion; wanted it in controlnets/ENDPOINT",
    ]
