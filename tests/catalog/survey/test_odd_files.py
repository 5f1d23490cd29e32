"""A folder with all that people leave among models: each is named, none stops the others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.catalog.survey.survey import faults_of, state_of
from tests.catalog.making import Shapes, hollow, hollow_gguf, write

Z_IMAGE: Shapes = {"layers.0.adaLN_modulation.0.weight": (15360, 256)}


class Odd(NamedTuple):
    """A file, how it comes to lie there, and what is said of it."""

    name: str
    says: str
    make: Callable[[Path], object]


def holding(*names: str) -> Callable[[Path], object]:
    return lambda path: hollow(path, dict.fromkeys(names, (320, 4, 3, 3)))


def good(path: Path) -> None:
    hollow(path, Z_IMAGE)


def cut(path: Path) -> None:
    os.truncate(hollow(path, Z_IMAGE), 5000)


def begun(path: Path) -> None:
    hollow_gguf(path, Z_IMAGE)
    write(path.with_name(f"{path.name}.part"), "")


UNUSABLE = (
    Odd("cut.safetensors", "5,000 of its 7,864,437 bytes are there", cut),
    Odd("empty.gguf", "is empty", Path.touch),
    Odd("page.gguf", "a web page", lambda path: write(path, "<!DOCTYPE html>")),
    Odd("pointer.gguf", "Git LFS", lambda path: write(path, "version https://git-lfs.github.com")),
    Odd("begun.gguf", "there is begun.gguf.part", begun),
    Odd("pipe.gguf", "is no file", os.mkfifo),
    Odd("pipe2.safetensors", "is no file", os.mkfifo),
    Odd("part-00001-of-00003.safetensors", "one of several files", good),
    Odd("wan_vae.safetensors", "components.vae",
        holding("decoder.middle.0.residual.0.gamma", "encoder.conv1.weight", "conv1.weight")),
    Odd("canny.safetensors", "a ControlNet, and belongs into the folder controlnets/ENDPOINT",
        holding("controlnet_cond_embedding.conv_in.weight", "conv_in.weight")),
    Odd("canny_ldm.safetensors", "a ControlNet",
        holding("control_model.time_embed.0.weight", "control_model.input_hint_block.0.weight")),
    Odd("canny_flux.safetensors", "a ControlNet",
        holding("controlnet_blocks.0.weight", "double_blocks.0.img_attn.norm.key_norm.scale")),
    Odd("canny_lora.safetensors", "a control LoRA",
        holding("double_blocks.0.img_attn.norm.key_norm.scale", "double_blocks.0.lora_A.weight")),
    Odd("motion.safetensors", "an AnimateDiff module",
        holding("down_blocks.0.motion_modules.0.norm.weight")),
)  # fmt: skip
PASSED_OVER = (
    Odd("all.zip", "wanted the files that are packed in it", Path.touch),
    Odd("more.safetensors", "it has neither card.toml", Path.mkdir),
    Odd("good.safetensors", "'good' is described in ",
        good),
    Odd("two\nlines.safetensors", "its name is no text", good),
)
SEEN = ("good", "with space", "模型", "CAPITALS", "x" * 240)
UNSEEN = ("._good.gguf", ".hidden.safetensors", ".DS_Store", "README.md", "preview.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for odd in (*UNUSABLE, *PASSED_OVER):
        odd.make(folder / odd.name)
    for name in SEEN:
        hollow_gguf(folder / f"{name}.{'GGUF' if name.isupper() else 'gguf'}", Z_IMAGE)
    for name in UNSEEN:
        write(folder / name, "x")
    return folder


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Catalog:
    return load_catalog((folder,), ())


def test_all_others_are_endpoints_and_nothing_else_is_one(catalog: Catalog) -> None:
    odd = {Path(odd.name).stem for odd in UNUSABLE}
    assert catalog.endpoints.keys() == {*SEEN} | odd
    faults = faults_of(catalog)
    assert {id for id, fault in faults.items() if state_of(fault) == "unusable"} == odd


@pytest.mark.parametrize("odd", UNUSABLE, ids=lambda odd: odd.name)
def test_what_is_no_model_is_named_as_what_it_is(catalog: Catalog, folder: Path, odd: Odd) -> None:
    line = str(faults_of(catalog)[Path(odd.name).stem])
    assert line.startswith(f"{folder / odd.name}: ")
    assert odd.says in line
    assert line.isprintable()


def test_what_is_passed_over_has_one_line_each(catalog: Catalog, folder: Path) -> None:
    lines = [str(stray).removeprefix(f"{folder}/") for stray in catalog.passed_over]
    lines = [line for line in lines if not line.startswith("begun.gguf.part")]
    assert len(lines) == len(PASSED_OVER)
    for odd in PASSED_OVER:
        [line] = [line for line in lines if line.startswith(odd.name.replace("\n", "\\n"))]
        assert odd.says in line
        assert line.isprintable()
