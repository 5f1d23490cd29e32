"""A LoRA's file is read without a layer being built, and means what diffusers makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import CpuOffload, add_hook_to_module
from diffusers.hooks import apply_group_offloading
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard, CardError, EndpointCard
from gateway.engine.adapters.adapter_files import read_adapter
from gateway.engine.loading.loading import LoadedPipeline, modules_of
from gateway.engine.weights.quantization import store_packed
from gateway.job import AdapterUse
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
from tests.engine.workbench import CPU, TOLERANCE, Workbench, alone, difference, job, picture

PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def card(family: str, path: Path) -> AdapterCard:
    return AdapterCard(endpoint=family, route="odd", source=path.name, path=path)


def of_trainers_scripts(path: Path) -> None:
    """Of an SDXL's denoiser and both text encoders, with ranks and alphas that differ."""
    pipeline = built("sdxl")
    weights: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(4)
    for component, prefix in PREFIXES.items():
        layers = [
            (name, layer)
            for name, layer in getattr(pipeline, component).named_modules()
            if isinstance(layer, nn.Linear) and name.endswith(("to_q", "to_v", "q_proj", "fc1"))
        ]
        for number, (name, layer) in enumerate(layers):
            rank, spelt = 2 + number % 3, prefix + name.replace(".", "_")
            down = torch.randn(rank, layer.in_features, generator=generator) / 5
            up = torch.randn(layer.out_features, rank, generator=generator) / 5
            weights |= {
                f"{spelt}.lora_down.weight": down, f"{spelt}.lora_up.weight": up,
                f"{spelt}.alpha": torch.tensor(1.0 + number % 4),
            }
    save_file(weights, path)


def of_peft(path: Path) -> None:
    """Of an SDXL's denoiser, with a config that speaks in patterns."""
    pipeline = tiny.build("sdxl")
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["to_q", "to_k", "conv1"], init_lora_weights=False,
        rank_pattern={"to_k": 2}, alpha_pattern={r"up_blocks.*to_q": 1, "to_k": 5},
        use_rslora=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        pipeline.unet.add_adapter(config, "odd")
        for name, weight in pipeline.unet.named_parameters():
            if "lora_" in name:
                weight.data.normal_(std=0.2)
    pipeline.save_lora_weights(
        path.parent, weight_name=path.name,
        unet_lora_layers=get_peft_model_state_dict(pipeline.unet, adapter_name="odd"),
        unet_lora_adapter_metadata=config.to_dict(),
    )


@pytest.mark.parametrize("write", [of_trainers_scripts, of_peft])
def test_ranks_and_alphas_count_as_diffusers_counts_them(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    write(path)
    plain = tiny.build("sdxl")
    plain.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="odd")
    wanted = job("sdxl", "a cat", 1, 2, adapters=(AdapterUse("odd"),))
    bench = Workbench({"sdxl": built("sdxl")}, (card("sdxl", path),))
    (sample,) = bench.add(wanted)
    bench.run()
    bench.close()
    drawn = alone(plain, wanted)
    assert difference(picture(sample), drawn) <= TOLERANCE
    assert difference(alone(built("sdxl"), wanted), drawn) > 100 * TOLERANCE


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_no_layer_is_built(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, pipeline = tiny_loras.save(family, tmp_path, "ink"), built(family)
    num_built = 0
    build = nn.Module.__init__

    def counted(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        nonlocal num_built
        num_built += 1
        build(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__init__", counted)
    assert read_adapter(saved, pipeline, CPU).low_rank
    assert num_built == 0


def whole(pipeline: Any) -> None:
    """As it is loaded."""


def streamed(pipeline: Any) -> None:
    """Every layer comes when it is called."""
    for module in modules_of(pipeline.components):
        apply_group_offloading(module, CPU, CPU, "leaf_level")


def shrunk(pipeline: Any) -> None:
    """Stored in float8, and streamed."""
    for module in modules_of(pipeline.components):
        store_packed("layerwise-float8", module, torch.float32)
    streamed(pipeline)


def resting(pipeline: Any) -> None:
    """A model comes when it is called."""
    for module in modules_of(pipeline.components):
        add_hook_to_module(module, CpuOffload(CPU))


@pytest.mark.parametrize("family", ["sdxl", "flux"])
@pytest.mark.parametrize("place", [whole, streamed, shrunk, resting])
def test_a_live_pipeline_is_as_it_was(
    place: Callable[[Any], None], family: str, tmp_path: Path
) -> None:
    saved, pipeline = tiny_loras.save(family, tmp_path, "ink"), tiny.build(family)
    place(pipeline)
    loaded = LoadedPipeline(EndpointCard(id=family, source="."), pipeline, CPU)
    before = [facts(module) for module in modules_of(pipeline.components)]
    assert read_adapter(saved, pipeline, CPU).low_rank
    assert [facts(module) for module in modules_of(pipeline.components)] == before
    loaded.close()


def facts(module: nn.Module) -> list[object]:
    """Where weights lie and of what numbers, what is done around layers, and the config."""
    own: dict[str, Tensor] = module.state_dict()
    registries = [getattr(inner, "_diffusers_hook", None) for inner in module.modules()]
    return [
        [(name, id(inner), vars(inner).get("forward")) for name, inner in module.named_modules()],
        [getattr(inner, "_hf_hook", None) for inner in module.modules()],
        [list(one.hooks.values()) for one in registries if one is not None],
        {name: (weight.data_ptr(), weight.dtype) for name, weight in own.items()},
        repr(module.config),
    ]


def test_a_lora_of_other_widths_is_refused(tmp_path: Path) -> None:
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    path = tmp_path / "odd.safetensors"
    save_file({f"{name}.lora_down.weight": torch.ones(2, 12),
               f"{name}.lora_up.weight": torch.ones(12, 2)}, path)
    with pytest.raises(CardError, match="does not fit"):
        read_adapter(card("sd", path), built("sd"), CPU)


def test_an_ending_in_capitals_is_no_pickle(tmp_path: Path) -> None:
    small = tiny_loras.save("sd", tmp_path, "ink")
    assert small.file
    wanted = read_adapter(small, built("sd"), CPU).low_rank
    capital = small.file.rename(tmp_path / "Ink.SAFETENSORS")
    found = read_adapter(card("sd", capital), built("sd"), CPU).low_rank
    assert found.keys() == wanted.keys()
    for layer, weights in wanted.items():
        assert torch.equal(found[layer].up, weights.up)
