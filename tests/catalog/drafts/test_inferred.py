"""What is inferred of folders that have no card, and the card that `models add` writes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from gateway.catalog.cards import EndpointCard, Guidance, Sizes, Steps, read_card
from gateway.catalog.folders import load_catalog
from gateway.cli.models import models
from tests.catalog.making import weights, write

KL = {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4}
Config = dict[str, Any]


def pipeline(
    folder: Path, kind: str, denoiser: Config, autoencoder: Config, **index: object
) -> Path:
    """A folder of configs in diffusers' format."""
    part = "unet" if "UNet" in kind else "transformer"
    name = kind.removesuffix("+UNet")
    cls = "UNet2DConditionModel" if part == "unet" else "FluxTransformer2DModel"
    scheduler = index.pop("scheduler", "EulerDiscreteScheduler")
    parts = {
        part: ["diffusers", cls],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler],
    }
    write(folder / "model_index.json", {"_class_name": name, **parts, **index})
    write(folder / part / "config.json", denoiser)
    write(folder / "vae" / "config.json", autoencoder)
    write(folder / "scheduler" / "scheduler_config.json", {"_class_name": scheduler})
    return folder


def card(folder: Path) -> EndpointCard:
    return load_catalog((folder.parent,), ()).endpoints[folder.name]


SD = "StableDiffusionPipeline+UNet"
XL = "StableDiffusionXLPipeline+UNet"
PATCHED = {"patch_size": 2, "in_channels": 16, "sample_size": 128}
DEEP = KL | {"latent_channels": 16}
PACKED = {"patch_size": 1, "in_channels": 64}
FEW, ALL = Steps(1, 10, 4), Steps(1, 50, 50)


@pytest.mark.parametrize(
    ("name", "kind", "denoiser", "autoencoder", "wanted"),
    [
        ("mine", SD, {"sample_size": 64}, KL, (ALL, Sizes((512, 512), 256, 1024, 8))),
        ("mine", SD, {"sample_size": [64, 96]}, KL, (ALL, Sizes((768, 512), 256, 1536, 8))),
        ("mine", XL, {"sample_size": 128}, KL, (ALL, Sizes((1024, 1024), 256, 2048, 8))),
        ("sd-turbo", SD, {"sample_size": 64}, KL, (FEW, Sizes((512, 512), 256, 1024, 8))),
        ("XL_2stepLightning", XL, {"sample_size": 128}, KL, (Steps(1, 10, 2),
         Sizes((1024, 1024), 256, 2048, 8))),
        ("mine-Hyper-12steps", SD, {"sample_size": 64}, KL, (Steps(1, 12, 12),
         Sizes((512, 512), 256, 1024, 8))),
        ("dmd2", SD, {"sample_size": 64}, KL, (FEW, Sizes((512, 512), 256, 1024, 8))),
        ("hyperrealistic", SD, {"sample_size": 64}, KL, (ALL, Sizes((512, 512), 256, 1024, 8))),
        ("mine", "FluxPipeline", PACKED, DEEP, (Steps(1, 50, 28),
         Sizes((1024, 1024), 256, 2048, 16))),
        ("flux-schnell", "FluxPipeline", PACKED, DEEP, (FEW, Sizes((1024, 1024), 256, 2048, 16))),
        ("mine", "StableDiffusion3Pipeline", PATCHED, DEEP, (Steps(1, 50, 28),
         Sizes((1024, 1024), 256, 2048, 16))),
        ("mine", "SanaSprintPipeline", {"sample_size": 32, "patch_size": 1},
         {"encoder_block_out_channels": [1] * 6}, (Steps(1, 10, 2),
         Sizes((1024, 1024), 256, 2048, 32))),
        ("mine", "NoSuchPipeline", {}, {}, (ALL, Sizes((1024, 1024), 256, 2048, 8))),
        ("odd", SD, {"sample_size": -1, "patch_size": "x"}, {"block_out_channels": 3}, (ALL,
         Sizes((1024, 1024), 256, 2048, 8))),
    ],
)  # fmt: skip
def test_steps_and_sizes_are_told_by_configs_and_names(
    tmp_path: Path, name: str, kind: str, denoiser: Config, autoencoder: Config,
    wanted: tuple[Steps, Sizes],
) -> None:  # fmt: skip
    found = card(pipeline(tmp_path / name, kind, denoiser, autoencoder))
    assert (found.steps, found.sizes) == wanted
    assert found.scheduler is None


@pytest.mark.parametrize(
    ("name", "denoiser", "index", "few"),
    [
        ("mine", {"time_cond_proj_dim": 256}, {}, True),
        ("mine", {}, {"scheduler": "LCMScheduler"}, True),
        ("mine", {}, {"_name_or_path": "ByteDance/SDXL-Lightning"}, True),
        ("mine", {}, {"is_distilled": True}, True),
        ("mine-klein-base", {}, {"is_distilled": False}, False),
        ("mine", {}, {}, False),
    ],
)
def test_few_steps_are_told_by_configs(
    tmp_path: Path, name: str, denoiser: Config, index: Config, few: bool
) -> None:
    found = card(pipeline(tmp_path / name, SD, denoiser, KL, **index))
    assert found.steps == (FEW if few else ALL)
    reads_guidance = "time_cond_proj_dim" in denoiser or not few
    assert found.guidance == Guidance(7.5 if reads_guidance else 1.0)


def test_what_the_weights_and_the_readme_say(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "mine", SD, {}, KL)
    for part, name in (("unet", "a.fp16-00001-of-00002"), ("vae", "b.fp16"), ("vae", "b")):
        weights(folder / part / f"{name}.safetensors", {"w": (1, 1)})
    write(folder / "README.md", "---\ntags:\n- x\nlicense: openrail++ # yes\n---\nlicense: no")
    assert (card(folder).variant, card(folder).licence) == ("fp16", "openrail++")


def add(*words: object) -> str:
    done = CliRunner().invoke(models, ["add", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_card_is_written_to_be_edited(tmp_path: Path, where: str) -> None:
    place = tmp_path / "models"
    folder = pipeline(tmp_path / where.replace("inside", "models") / "my-turbo", SD, {}, KL)
    said = add(folder, "--as", "quick", "--models", place)
    written = folder / "card.toml" if where == "inside" else place / "quick.toml"
    assert f"wrote {written}" in said
    assert "guessed: few, by 'turbo' in 'my-turbo'" in said
    assert "found: no config says" not in said
    assert f"gateway serve quick --models {place}" in said
    found = read_card(written, EndpointCard)
    assert found.location == str(folder)
    inferred = msgspec.structs.replace(card(folder) if where == "outside" else found, id="quick")
    assert (found.id, found.steps, found.sizes) == ("quick", inferred.steps, inferred.sizes)
    assert "# guessed: " in written.read_text()
    # It is the user's from now on.
    written.write_text(written.read_text().replace("default = 4", "default = 7"))
    again = CliRunner().invoke(
        models, ["add", str(folder), "--models", str(place), "--as", "quick"]
    )
    assert again.exit_code == 1
    assert "already" in str(again.exception)
    assert load_catalog((place,), ()).endpoints["quick"].steps.default == 7


@pytest.mark.parametrize(
    ("source", "id", "told"),
    [
        ("nowhere", "x", "no folder"),
        (".", "x", "a folder with no model_index.json"),
        ("whole", "a b", "is no id"),
    ],
)
def test_what_no_card_can_be_written_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, id: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline(tmp_path / "whole", SD, {}, KL)
    done = CliRunner().invoke(models, ["add", source, "--as", id])
    assert done.exit_code == 1
    assert told in str(done.exception)
    assert list(tmp_path.rglob("*.toml")) == []


def test_the_table_says_how_much_it_takes(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "mine", SD, {}, KL)
    for part in ("unet", "vae"):
        weights(folder / part / "diffusion_pytorch_model.safetensors", {"w": (1024, 256)})
    done = CliRunner().invoke(models, ["--models", str(tmp_path)], env={"COLUMNS": "200"})
    [row] = [line for line in done.output.splitlines() if " mine " in line]
    # Two MiB of float32 are half as much on a GPU, which takes bfloat16.
    assert " 2 MiB " in row
    assert " 1 MiB / 2 MiB " in row
    [other] = [line for line in done.output.splitlines() if " flux-schnell " in line]
    assert "iB" not in other


def test_configs_that_make_no_sense_are_told_of_as_ever(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "mine", SD, {}, KL)
    (folder / "model_index.json").write_text(json.dumps([1]))
    (folder / "unet" / "config.json").write_text("{")
    found = load_catalog((tmp_path,), ())
    assert found.endpoints["mine"].steps == ALL
