"""From a card to a pipeline: what is refused, what the card changes, what offloading keeps."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers.hooks import apply_group_offloading
from safetensors.torch import load_file, save_file

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.parts import bytes_on_disk
from gateway.engine.device.chosen import device_of
from gateway.engine.loading.loading import dtype_of, load
from tests.engine import tiny, tiny_loras
from tests.engine.workbench import (
    CPU,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)


def card_in(folder: Path, id: str) -> EndpointCard:
    return load_catalog((folder,), ()).endpoints[id]


def test_a_saved_pipeline_loads_and_draws_the_same(tmp_path: Path) -> None:
    tiny.save("sdxl", tmp_path)
    card = card_in(tmp_path, "sdxl")
    loaded = load(card, CPU)
    one = job("sdxl", "a cat", 1, 2)
    assert difference(alone(loaded.base, one), alone(tiny.build("sdxl"), one)) <= TOLERANCE
    files = sum(path.stat().st_size for path in (tmp_path / "sdxl").glob("*/*.safetensors"))
    assert bytes_on_disk(card) == files
    assert 0.9 * files < loaded.size_bytes <= files
    assert not any(module.training for module in (loaded.base.unet, loaded.base.text_encoder))


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(CardError, match=r"diffusion_pytorch_model\.bin: pickled weights"):
        load(card_in(tmp_path, "sd"), CPU)


def test_weights_that_are_not_there_are_told_with_the_card(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["conv_in.bias"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(CardError, match=r"unet: its files lack the weights 'conv_in\.bias'$"):
        load(card_in(tmp_path, "sd"), CPU)
    file.unlink()
    with pytest.raises(CardError, match=r"card\.toml: cannot load"):
        load(card_in(tmp_path, "sd"), CPU)


def test_the_cards_scheduler_replaces_the_pipelines(tmp_path: Path) -> None:
    scheduler = {"class": "LCMScheduler", "config": {"timestep_spacing": "trailing"}}
    tiny.save("sd", tmp_path, scheduler=scheduler)
    loaded = load(card_in(tmp_path, "sd"), CPU)
    assert type(loaded.base.scheduler).__name__ == "LCMScheduler"
    assert loaded.base.scheduler.config.timestep_spacing == "trailing"
    assert loaded.base.scheduler.config.beta_schedule == "scaled_linear"


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"scheduler": {"class": "NoScheduler"}}, "no class 'NoScheduler'"),
        ({"pipeline": "NoPipeline"}, "no class 'NoPipeline'"),
        ({"arguments": {"odd": 1}}, "takes no 'odd'"),
        ({"unset": ["odd"]}, "takes no 'odd'"),
    ],
)
def test_what_the_card_gets_wrong_is_told(tmp_path: Path, facts: Any, says: str) -> None:
    tiny.save("flux", tmp_path, **facts)
    with pytest.raises(CardError, match=says):
        load(card_in(tmp_path, "flux"), CPU)


def test_a_fused_lora_is_in_the_weights(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path)
    lora = tiny_loras.save("sd", folder, "fast")
    with (folder / "card.toml").open("a") as card:
        card.write('[[fused]]\nsource = "."\nweight_name = "fast.safetensors"\nscale = 0.5\n')
    fused = load(card_in(tmp_path, "sd"), CPU).base
    plain = tiny.build("sd")
    one = job("sd", "a cat", 1, 2)
    without = alone(plain, one)
    assert lora.file
    plain.load_lora_weights(str(lora.file.parent), weight_name=lora.file.name, adapter_name="x")
    plain.set_adapters(["x"], [0.5])
    wanted = alone(plain, one)
    assert difference(wanted, without) > 10 * TOLERANCE
    assert difference(alone(fused, one), wanted) <= TOLERANCE


def test_devices_and_dtypes() -> None:
    card = EndpointCard(id="x")
    assert device_of(card, "cpu") == CPU
    assert device_of(EndpointCard(id="x", device="cuda:1"), "cpu") == torch.device("cuda:1")
    assert dtype_of(card, CPU) == torch.float32
    assert dtype_of(card, torch.device("cuda")) == torch.bfloat16
    half = EndpointCard(id="x", dtype="float16")
    assert dtype_of(half, torch.device("cuda")) == torch.float16
    assert dtype_of(half, CPU) == torch.float32


def test_a_device_that_is_not_there_is_told_in_one_line() -> None:
    card = EndpointCard(id="sd", path=Path("/models/sd.toml"))
    with pytest.raises(CardError, match=r"the device 'cuda:99' cannot be used: [^\n]+$"):
        load(card, torch.device("cuda:99"))


def concurrent_equals_alone(family: str, pipeline: Any) -> Workbench:
    jobs = [job(family, f"prompt {seed}", seed, 1 + seed) for seed in range(3)]
    wanted = [alone(tiny.build(family), one) for one in jobs]
    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert max(bench.denoiser_rows()) >= 3
    return bench


def test_model_offloading_keeps_working_under_shared_calls() -> None:
    pipeline = tiny.build("sd")
    hooks: list[Any] = []
    for name in ("text_encoder", "unet", "vae"):
        module = getattr(pipeline, name)
        _, hook = cpu_offload_with_hook(module, CPU, hooks[-1] if hooks else None)
        hooks.append(hook)
    pipeline._all_hooks = hooks
    moves = []
    for name, hook in zip(("text_encoder", "unet", "vae"), hooks, strict=True):
        inner = hook.hook.pre_forward

        def noted(*args: Any, name: str = name, inner: Any = inner, **kwargs: Any) -> Any:
            moves.append(name)
            return inner(*args, **kwargs)

        hook.hook.pre_forward = noted
    concurrent_equals_alone("sd", pipeline)
    assert {"text_encoder", "unet", "vae"} == set(moves)
    assert hasattr(pipeline.unet, "_hf_hook")


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_group_offloading_keeps_working_under_shared_calls(family: str) -> None:
    pipeline = tiny.build(family)
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            apply_group_offloading(
                module, onload_device=CPU, offload_device=CPU, offload_type="leaf_level"
            )
    concurrent_equals_alone(family, pipeline)


def test_an_autoencoder_kept_wide_serves_narrow_neighbours() -> None:
    pipeline = tiny.build("sdxl")
    for name in ("unet", "text_encoder", "text_encoder_2"):
        getattr(pipeline, name).to(torch.bfloat16)
    bench = Workbench({"sdxl": pipeline})
    samples = [bench.add(job("sdxl", "a", seed, seed))[0] for seed in (1, 2)]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    assert all(picture(sample).isfinite().all() for sample in samples)
    assert pipeline.vae.dtype == torch.float32


def test_a_sample_cannot_cast_what_all_share() -> None:
    pipeline = tiny.build("sd")

    class Casting(type(pipeline)):  # type: ignore[misc]
        @functools.wraps(type(pipeline).__call__)
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.vae.to(torch.float64)
            return super().__call__(*args, **kwargs)

    pipeline.__class__ = Casting
    bench = Workbench({"sd": pipeline})
    sample = bench.add(job("sd", "a", 1, 1))[0]
    bench.run()
    assert picture(sample).dtype == pipeline.vae.dtype == torch.float32
    bench.close()
    assert pipeline.vae.to(torch.float64).dtype == torch.float64
