"""Parts of an endpoint from elsewhere: another folder, a file of ComfyUI's, or none at all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, LCMScheduler
from safetensors.torch import save_file

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.parts import files_of
from gateway.catalog.survey.inspection import inspect_endpoint
from gateway.engine.loading.loading import load
from tests.engine import single_files, tiny
from tests.engine.workbench import CPU, TOLERANCE, alone, difference, job


def endpoint(folder: Path, card: str) -> EndpointCard:
    (folder / "own.toml").write_text(f'id = "own"\ndtype = "float32"\n{card}')
    return load_catalog((folder,), ()).endpoints["own"]


def drawn(pipeline: Any, family: str = "sd") -> torch.Tensor:
    return alone(pipeline, job(family, "a cat", 1, 2))


def other(family: str = "sd") -> Any:
    """A pipeline of the same configs and other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pipeline = tiny.FAMILIES[family]()
    for name in single_files.whole_parts(pipeline):
        getattr(pipeline, name).eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("source", ["other", "other/vae", "vae.safetensors", "ldm.safetensors"])
def test_a_part_comes_from_a_pipeline_a_folder_or_a_file(tmp_path: Path, source: str) -> None:
    base, donor = tiny.build("sd"), other()
    base.save_pretrained(tmp_path / "base")
    donor.save_pretrained(tmp_path / "other")
    single_files.save(donor.vae.state_dict(), tmp_path / "vae.safetensors")
    single_files.save(
        single_files.vae(donor.vae.state_dict(), ""), tmp_path / "ldm.safetensors"
    )
    card = endpoint(tmp_path, f'source = "base"\ncomponents.vae = "{source}"\n')
    inspect_endpoint(card)
    loaded = load(card, CPU)
    without = drawn(tiny.build("sd"))
    base.vae = donor.vae
    assert difference(drawn(loaded.base), drawn(base)) <= TOLERANCE
    assert difference(drawn(base), without) > 10 * TOLERANCE
    file = tmp_path / (source if source.endswith(".safetensors") else "other/vae/config.json")
    assert file in files_of(card)


def test_a_unet_in_diffusers_names_replaces_that_of_the_base(tmp_path: Path) -> None:
    base, donor = tiny.build("sd"), other()
    base.save_pretrained(tmp_path / "base")
    single_files.save(donor.unet.state_dict(), tmp_path / "lightning_4step_unet.safetensors")
    card = endpoint(
        tmp_path, 'source = "base"\ncomponents.unet = "lightning_4step_unet.safetensors"\n'
    )
    loaded = load(card, CPU)
    base.unet = donor.unet
    assert difference(drawn(loaded.base), drawn(base)) <= TOLERANCE


def test_the_split_files_of_comfyui_make_an_endpoint(tmp_path: Path) -> None:
    pipeline = tiny.build("z_image")
    single_files.configs(
        pipeline, tmp_path / "configs", without=("transformer", "text_encoder", "vae")
    )
    comfy = tmp_path / "comfy"
    single_files.save(
        single_files.z_image(pipeline.transformer.state_dict()),
        comfy / "diffusion_models" / "z.safetensors",
    )
    single_files.save(
        pipeline.text_encoder.state_dict(), comfy / "text_encoders" / "qwen.safetensors"
    )
    single_files.save(single_files.vae(pipeline.vae.state_dict(), ""), comfy / "vae/ae.safetensors")
    card = endpoint(
        tmp_path,
        'source = "comfy/diffusion_models/z.safetensors"\nconfig = "configs"\n'
        'components.text_encoder = "comfy/text_encoders/qwen.safetensors"\n'
        'components.vae = "comfy/vae/ae.safetensors"\n',
    )
    inspect_endpoint(card)
    loaded = load(card, CPU)
    assert difference(drawn(loaded.base, "z_image"), drawn(pipeline, "z_image")) <= TOLERANCE


def test_a_part_is_left_out_or_of_another_class(tmp_path: Path) -> None:
    base = tiny.build("sd")
    base.save_pretrained(tmp_path / "base")
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    counts = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)}
    AutoencoderTiny(**blocks, **counts).save_pretrained(tmp_path / "taesd")
    card = endpoint(
        tmp_path,
        'source = "base"\n[components]\nsafety_checker = false\n'
        'vae = "taesd"\n'
        'scheduler = { class = "DDIMScheduler" }\n',
    )
    inspect_endpoint(card)
    loaded = load(card, CPU)
    assert type(loaded.base.vae).__name__ == "AutoencoderTiny"
    assert type(loaded.base.scheduler).__name__ == "DDIMScheduler"
    assert loaded.base.safety_checker is None


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ('vea = "x.safetensors"', "has no part 'vea'; did you mean 'vae'"),
        ('vae = "x.safetensors"', "components.vae.*there is no such file"),
        ('vae = "./none"', "there is no such file or folder"),
        ('vae = "x.ckpt"', r"x\.ckpt: pickled weights are refused"),
        ('vae = { class = "NoSuch" }', "there is no class 'NoSuch'"),
        ('unet = { quantized = "bitsandbytes-nf4" }', "needs .*the package 'bitsandbytes'"),
    ],
)
def test_what_cannot_be_used_is_told_before_it_is_loaded(
    tmp_path: Path, components: str, says: str
) -> None:
    tiny.build("sd").save_pretrained(tmp_path / "base")
    (tmp_path / "x.ckpt").write_bytes(b"PK")
    card = endpoint(tmp_path, f'source = "base"\n[components]\n{components}\n')
    with pytest.raises(CardError, match=says):
        inspect_endpoint(card)


@pytest.mark.parametrize(
    "names", [("scale_weight", "scale_input"), ("weight_scale", "input_scale")]
)
def test_scaled_float8_is_read_as_it_is_meant(tmp_path: Path, names: tuple[str, str]) -> None:
    pipeline = tiny.build("z_image")
    single_files.configs(pipeline, tmp_path / "configs", without=("transformer",))
    weights = single_files.scaled(single_files.z_image(pipeline.transformer.state_dict()), names)
    save_file(weights, tmp_path / "z.safetensors")
    loaded = load(endpoint(tmp_path, 'source = "z.safetensors"\nconfig = "configs"\n'), CPU)
    wanted = pipeline.transformer.layers[0].feed_forward.w1.weight
    got = loaded.base.transformer.layers[0].feed_forward.w1.weight
    assert got.dtype == torch.float32
    assert float((got - wanted).abs().max() / wanted.abs().max()) < 0.05
    assert difference(drawn(loaded.base, "z_image"), drawn(pipeline, "z_image")) < 0.1


def test_a_part_without_the_cards_variant_is_taken_as_it_is(tmp_path: Path) -> None:
    base, donor = tiny.build("sd"), other()
    base.save_pretrained(tmp_path / "base", variant="fp16")
    donor.vae.save_pretrained(tmp_path / "fixed")
    card = endpoint(tmp_path, 'source = "base"\nvariant = "fp16"\ncomponents.vae = "fixed"\n')
    inspect_endpoint(card)
    loaded = load(card, CPU)
    base.vae = donor.vae
    assert difference(drawn(loaded.base), drawn(base)) <= TOLERANCE


def test_a_scheduler_from_elsewhere_is_of_the_class_it_says(tmp_path: Path) -> None:
    tiny.build("sd").save_pretrained(tmp_path / "base")
    LCMScheduler(prediction_type="sample").save_pretrained(tmp_path / "lcm")
    card = endpoint(tmp_path, 'source = "base"\ncomponents.scheduler = "lcm"\n')
    inspect_endpoint(card)
    scheduler = load(card, CPU).base.scheduler
    assert type(scheduler).__name__ == "LCMScheduler"
    assert scheduler.config.prediction_type == "sample"
