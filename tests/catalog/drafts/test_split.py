"""The card that `models add` writes of a single file, and of a folder of ComfyUI's."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.catalog.cards import EndpointCard, read_card
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.parts import places_of
from gateway.catalog.survey.inspection import inspect_endpoint
from gateway.cli.models import models
from tests.catalog.heads.test_layouts import PUBLISHED
from tests.catalog.making import Shapes, hollow, write
from tests.fetching.standin import Hub

REPOSITORY, SHAPES = PUBLISHED["Z-Image"]
QWEN: Shapes = {"model.embed_tokens.weight": (1000, 64), "model.norm.weight": (64,)}
CLIP: Shapes = {"text_model.embeddings.token_embedding.weight": (1000, 32)}
DEEP: Shapes = {"decoder.conv_in.weight": (8, 16, 3, 3)}
SHALLOW: Shapes = {"decoder.conv_in.weight": (8, 4, 3, 3)}
INDEX = {
    "_class_name": "ZImagePipeline",
    "transformer": ["diffusers", "ZImageTransformer2DModel"],
    "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """What the repository has besides weights."""
    folder = tmp_path / "configs"
    write(folder / "model_index.json", INDEX)
    write(folder / "transformer/config.json", {"in_channels": 16, "all_patch_size": [2]})
    write(folder / "text_encoder/config.json", {"vocab_size": 1000, "hidden_size": 64})
    write(folder / "vae/config.json", {"latent_channels": 16, "block_out_channels": [1] * 4})
    write(folder / "scheduler/scheduler_config.json", "{}")
    write(folder / "tokenizer/tokenizer_config.json", "{}")
    write(folder / "README.md", "---\nlicense: apache-2.0\n---\n")
    return folder


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    """A folder as ComfyUI has it, with files of other models too."""
    inner = tmp_path / "ComfyUI" / "models"
    files: dict[str, Shapes] = {
        "diffusion_models/Z Image/z_image_turbo_bf16.safetensors": SHAPES,
        "text_encoders/qwen_3_4b.safetensors": QWEN,
        "clip/clip_l.safetensors": CLIP,
        "vae/ae.safetensors": DEEP,
        "vae/sdxl_vae.safetensors": SHALLOW,
    }
    for place, shapes in files.items():
        hollow(write(inner / place, ""), shapes)
    write(inner / "text_encoders/put_text_encoders_here", "")
    return inner.parent


def add(*words: object) -> str:
    done = CliRunner().invoke(models, ["add", *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*words: object) -> str:
    done = CliRunner().invoke(models, ["add", *map(str, words)])
    assert done.exit_code == 1
    return str(done.exception)


@pytest.mark.parametrize("source", ["", "models", "models/diffusion_models/Z Image/*"])
def test_a_folder_of_comfyui_is_an_endpoint_of_its_files(
    tmp_path: Path, comfy: Path, configs: Path, source: str
) -> None:
    [place] = comfy.glob(source) if source else [comfy]
    said = add(place, "--config", configs, "--models", tmp_path / "cards")
    assert "gateway serve z_image_turbo_bf16 --models" in said
    card = read_card(tmp_path / "cards/z_image_turbo_bf16.toml", EndpointCard)
    inner = comfy / "models"
    assert card.source == str(inner / "diffusion_models/Z Image/z_image_turbo_bf16.safetensors")
    assert card.components == {
        "text_encoder": str(inner / "text_encoders/qwen_3_4b.safetensors"),
        "vae": str(inner / "vae/ae.safetensors"),
    }
    assert "found: its shapes are those of the configs" in said
    assert (card.steps.default, card.licence) == (4, "apache-2.0")
    assert {place.name: place.is_single for place in places_of(card)} == {
        "transformer": True, "text_encoder": True, "vae": True, "tokenizer": False,
        "scheduler": False,
    }  # fmt: skip
    inspect_endpoint(card)
    # It is the user's from now on.
    assert "already" in refused(place, "--config", configs, "--models", tmp_path / "cards")


def test_what_lies_inside_the_models_is_named_from_there(
    tmp_path: Path, comfy: Path, configs: Path
) -> None:
    place = comfy.rename(configs.parent / "inner")
    add(place, "--config", configs, "--models", tmp_path)
    card = read_card(tmp_path / "z_image_turbo_bf16.toml", EndpointCard)
    assert card.config == "configs"
    assert card.components["vae"] == "inner/models/vae/ae.safetensors"
    inspect_endpoint(card)


def test_what_may_be_another_is_left_to_the_user(
    tmp_path: Path, comfy: Path, configs: Path
) -> None:
    hollow(comfy / "models/vae/other.safetensors", DEEP)
    (comfy / "models/text_encoders/qwen_3_4b.safetensors").unlink()
    said = add(comfy, "--config", configs, "--models", tmp_path / "cards")
    card = read_card(tmp_path / "cards/z_image_turbo_bf16.toml", EndpointCard)
    assert card.components == {}
    assert "components.vae = nothing  (guessed: each of ae.safetensors, other.safetensors" in said
    assert "components.text_encoder = nothing  (guessed: no file of 'text_encoders'" in said
    assert '# components.vae = "FILE"' in card.path.read_text() if card.path else False


def test_of_several_models_one_is_to_be_named(tmp_path: Path, comfy: Path) -> None:
    hollow(write(comfy / "models/checkpoints/xl.safetensors", ""), PUBLISHED["SDXL"][1])
    told = refused(comfy, "--models", tmp_path)
    assert "z_image_turbo_bf16.safetensors, models/checkpoints/xl.safetensors" in told
    for file in (comfy / "models").rglob("*.safetensors"):
        file.unlink()
    assert "it has no model in it" in refused(comfy, "--models", tmp_path)


@pytest.mark.parametrize("name", ["My Mix (v1).safetensors", "mix.gguf"])
def test_a_file_is_known_by_its_shapes(
    tmp_path: Path, configs: Path, hub: Hub, name: str
) -> None:
    file = hollow(tmp_path / name, SHAPES)
    if name.endswith("gguf"):
        file = gguf_of(file)
    hub.repositories[REPOSITORY] = {
        str(path.relative_to(configs)): path.read_bytes() for path in configs.rglob("*.*")
    }
    said = add(file, "--models", tmp_path)
    assert f'config = "{REPOSITORY}"  (found: its names and shapes' in said
    card = load_catalog((tmp_path,), ()).endpoints["My-Mix-v1" if "(" in name else "mix"]
    assert card.source == name
    assert card.components == {}
    assert list(load_catalog((tmp_path,), ()).endpoints) == [card.id, "configs"]


def gguf_of(file: Path) -> Path:
    import gguf  # noqa: PLC0415  takes a second
    import numpy  # noqa: PLC0415

    writer = gguf.GGUFWriter(file, "lumina2")
    for name, shape in SHAPES.items():
        writer.add_tensor(name, numpy.zeros(shape, dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_what_no_card_can_be_written_for(tmp_path: Path) -> None:
    odd = hollow(tmp_path / "odd.safetensors", {"odd.weight": (2, 2)})
    assert "wanted --config" in refused(odd, "--models", tmp_path)
    known = hollow(tmp_path / "known.safetensors", SHAPES)
    assert "--config" in refused(known, "--models", tmp_path)
    assert "gateway pull civitai:5" in refused("civitai:5", "--models", tmp_path)
    assert not list(tmp_path.glob("*.toml"))


@pytest.mark.parametrize(
    ("name", "asked", "says"),
    [
        ("ink.safetensors", "ink.safetensors", "belongs into the folder adapters/ENDPOINT"),
        ("old.CKPT", "old.CKPT", "`gateway convert`"),
        ("ink.safetensors", ".", "a folder of single files; name one of its models: ink.safet"),
    ],
)
def test_what_is_no_model_gets_no_card(tmp_path: Path, name: str, asked: str, says: str) -> None:
    hollow(tmp_path / name, {"lora_unet_down.lora_up.weight": (2, 2)})
    own = tmp_path / "own"
    done = CliRunner().invoke(models, ["--models", str(own), "add", str(tmp_path / asked)])
    assert says in str(done.exception)
    assert not own.exists()
