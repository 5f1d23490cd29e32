"""Adapters of every kind draw what the weights draw that PEFT, or their papers, make of them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from gateway.catalog.cards import AdapterCard, CardError
from gateway.engine.adapters.adapter_files import read_adapter
from gateway.job import AdapterUse, Job
from tests.engine import tiny, tiny_loras
from tests.engine.adapters.drawing import Weights, card, check_drawn, denoiser, drawn_with
from tests.engine.conftest import built
from tests.engine.workbench import (
    CPU,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    job,
    picture,
)

ATTENTION = ["to_q", "to_k", "to_v"]
ODD = {"target_modules": [*ATTENTION, "conv1"], "init_weights": False}
KINDS: dict[str, Callable[[], Any]] = {
    "loha": lambda: peft.LoHaConfig(r=3, alpha=5, **ODD),
    "loha-tucker": lambda: peft.LoHaConfig(r=3, alpha=5, use_effective_conv2d=True, **ODD),
    "lokr": lambda: peft.LoKrConfig(r=2, alpha=3, **ODD),
    "lokr-both": lambda: peft.LoKrConfig(r=1, alpha=2, decompose_both=True, **ODD),
    "lokr-tucker": lambda: peft.LoKrConfig(r=2, alpha=3, use_effective_conv2d=True, **ODD),
    "lokr-whole": lambda: peft.LoKrConfig(r=64, alpha=64, **ODD),
    "ia3": lambda: peft.IA3Config(
        target_modules=[*ATTENTION, "proj"], feedforward_modules=["proj"], init_ia3_weights=False
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def trained(family: str, config: Any) -> tuple[Weights, Weights]:
    """PEFT's own random adapter of a denoiser: its file's weights, and the merged ones."""
    module = copy.deepcopy(denoiser(built(family)))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        peft.inject_adapter_in_model(config, module, "x")
        for name, weight in module.named_parameters():
            if any(mark in name for mark in ("hada_", "lokr_")):
                weight.data.normal_(std=0.5)
            if "ia3_" in name:
                weight.data.uniform_(0.3, 1.7)
    file = get_peft_model_state_dict(module, adapter_name="x")
    merged: Weights = {}
    for path, layer in module.named_modules():
        if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer):
            layer.merge(adapter_names=["x"])
            merged |= {f"{path}.{name}": one for name, one in layer.base_layer.state_dict().items()}
    return {name: weight.contiguous() for name, weight in file.items()}, merged


def kohya(weights: Weights, alpha: float) -> Weights:
    """The same file as kohya's scripts and LyCORIS write it."""
    found: Weights = {}
    for name, weight in weights.items():
        layer, _, part = name.rpartition(".")
        spelt = f"lora_unet_{layer.replace('.', '_')}"
        found |= {f"{spelt}.{part}": weight, f"{spelt}.alpha": torch.tensor(float(alpha))}
    return found


def saved(family: str, folder: Path, weights: Weights, name: str = "odd") -> AdapterCard:
    file = folder / f"{name}.safetensors"
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file)
    return card(family, file)


@pytest.mark.parametrize(
    ("kind", "family"), [*((kind, "sd") for kind in KINDS), ("lokr", "flux"), ("loha", "flux")]
)
def test_what_peft_writes_draws_what_it_merges(kind: str, family: str, folder: Path) -> None:
    config = KINDS[kind]()
    weights, merged = trained(family, config)
    file = folder / "adapter_model.safetensors"
    save_file({f"base_model.model.{name}": weight for name, weight in weights.items()}, file)
    config.save_pretrained(folder)
    check_drawn(family, card(family, file), lambda *asked: drawn_with(family, merged, *asked))


@pytest.mark.parametrize("kind", ["loha", "lokr-tucker", "lokr-whole"])
def test_what_lycoris_writes_draws_the_same(kind: str, folder: Path) -> None:
    config = KINDS[kind]()
    weights, merged = trained("sd", config)
    alpha = 0.0 if kind == "lokr-whole" else config.alpha
    odd = saved("sd", folder, kohya(weights, alpha))
    check_drawn("sd", odd, lambda *asked: drawn_with("sd", merged, *asked))


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_dora_draws_what_diffusers_draws_at_every_scale(family: str, folder: Path) -> None:
    stock = tiny.build(family)
    config = peft.LoraConfig(
        r=3, lora_alpha=4, use_dora=True, init_lora_weights=False,
        target_modules=[*ATTENTION, "conv1"],
    )
    module = denoiser(stock)
    name = "unet" if family == "sd" else "transformer"
    with torch.random.fork_rng():
        torch.manual_seed(6)
        module.add_adapter(config, "odd")  # type: ignore[operator]
        for path, weight in module.named_parameters():
            if "magnitude" in path:
                weight.data.mul_(torch.rand_like(weight) + 0.5)
            elif "lora_" in path:
                weight.data.normal_(std=0.2)
    stock.save_lora_weights(
        folder, weight_name="odd.safetensors",
        **{f"{name}_lora_layers": get_peft_model_state_dict(module, adapter_name="odd"),
           f"{name}_lora_adapter_metadata": config.to_dict()},
    )

    def wanted(scale: float, one: Job) -> Tensor:
        if not scale:
            return alone(built(family), one)
        stock.set_adapters(["odd"], [scale])
        return alone(stock, one)

    check_drawn(family, card(family, folder / "odd.safetensors"), wanted)


@pytest.mark.parametrize("on_output", [True, False])
def test_dora_of_trainers_scripts_turns_and_stretches(on_output: bool, folder: Path) -> None:
    path = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    weight = denoiser(built("sd")).get_parameter(f"{path}.weight")
    generator = torch.Generator().manual_seed(3)
    up, down = (torch.randn(size, generator=generator) / 4
                for size in ((len(weight), 2), (2, weight.shape[1])))
    shape = (len(weight), 1) if on_output else (1, weight.shape[1])
    magnitude = torch.rand(shape, generator=generator) + 1
    spelt = f"lora_unet_{path.replace('.', '_')}"
    parts = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(1.0),
             "dora_scale": magnitude}
    odd = saved("sd", folder, {f"{spelt}.{part}": tensor for part, tensor in parts.items()})

    def wanted(scale: float, one: Job) -> Tensor:
        turned = weight + scale * (up @ down) / 2
        turned = magnitude * turned / turned.norm(dim=1 if on_output else 0, keepdim=True)
        return drawn_with("sd", {f"{path}.weight": turned} if scale else {}, 1.0, one)

    check_drawn("sd", odd, wanted)


def test_full_bias_and_norm_differences_beside_a_lora(folder: Path) -> None:
    module = denoiser(built("sd"))
    block = "down_blocks.1.attentions.0.transformer_blocks.0"
    parts = {
        f"{block}.ff.net.2": ("diff", "diff_b"),
        f"{block}.norm1": ("w_norm", "b_norm"),
        "down_blocks.0.resnets.0.norm1": ("w_norm", "b_norm"),
        "down_blocks.0.resnets.0.conv1": ("diff", "diff_b"),
    }
    generator = torch.Generator().manual_seed(4)
    weights: Weights = {}
    changed: Weights = {}
    for path, names in parts.items():
        for name, part in zip(("weight", "bias"), names, strict=True):
            own = module.get_parameter(f"{path}.{name}")
            moved = torch.randn(own.shape, generator=generator) / 4
            weights[f"lora_unet_{path.replace('.', '_')}.{part}"] = moved
            changed[f"{path}.{name}"] = own + moved
    path = f"{block}.attn1.to_q"
    own = module.get_parameter(f"{path}.weight")
    up, down = (torch.randn(size, generator=generator) / 4
                for size in ((len(own), 2), (2, own.shape[1])))
    spelt = f"lora_unet_{path.replace('.', '_')}"
    weights |= {f"{spelt}.lora_up.weight": up, f"{spelt}.lora_down.weight": down,
                f"{spelt}.alpha": torch.tensor(1.0)}
    changed[f"{path}.weight"] = own + up @ down / 2
    odd = saved("sd", folder, weights)
    check_drawn("sd", odd, lambda *asked: drawn_with("sd", changed, *asked))


FUSED = {
    "z_image": ("diffusion_model.layers.0.attention.qkv", "layers.0.attention.to_{}"),
    "flux": ("lora_unet_double_blocks_0_img_attn_qkv", "transformer_blocks.0.attn.to_{}"),
    "flux-comfy": ("diffusion_model.double_blocks.0.img_attn.qkv",
                   "transformer_blocks.0.attn.to_{}"),
    "flux-text": ("lora_unet_double_blocks_0_txt_attn_qkv",
                  "transformer_blocks.0.attn.add_{}_proj"),
}


@pytest.mark.parametrize(
    ("layout", "kind"),
    [("z_image", "lora"), ("z_image", "lokr"), ("flux", "lokr"), ("flux", "dora"),
     ("flux-comfy", "lora"), ("flux-comfy", "lokr"), ("flux-text", "lokr")],
)
def test_fused_layers_of_others_are_split_among_ours(
    layout: str, kind: str, folder: Path
) -> None:
    family = layout.partition("-")[0]
    name, ours = FUSED[layout]
    paths = [ours.format(part) for part in "qkv"]
    own = [denoiser(built(family)).get_parameter(f"{path}.weight") for path in paths]
    whole = torch.cat(list(own))
    generator = torch.Generator().manual_seed(7)
    if kind == "lokr":
        parts = {"lokr_w1": torch.randn(2, 2, generator=generator) / 2,
                 "lokr_w2": torch.randn(len(whole) // 2, 16, generator=generator) / 2}
        moved = whole + torch.kron(parts["lokr_w1"], parts["lokr_w2"])
    else:
        spelt = ("lora_A", "lora_B") if "." in name else ("lora_down", "lora_up")
        down, up = (torch.randn(size, generator=generator) / 4
                    for size in ((4, 32), (len(whole), 4)))
        parts = {f"{spelt[0]}.weight": down, f"{spelt[1]}.weight": up}
        if "." not in name:
            parts["alpha"] = torch.tensor(4.0)
        moved = whole + up @ down
    if kind == "dora":
        parts["dora_scale"] = torch.rand(len(whole), 1, generator=generator) + 0.5

    def wanted(scale: float, one: Job) -> Tensor:
        turned = whole + scale * (moved - whole)
        if kind == "dora" and scale:
            turned = parts["dora_scale"] * turned / turned.norm(dim=1, keepdim=True)
        split = turned.chunk(3)
        changed = {f"{path}.weight": part for path, part in zip(paths, split, strict=True)}
        return drawn_with(family, changed, 1.0, one)

    odd = saved(family, folder, {f"{name}.{part}": weight for part, weight in parts.items()})
    check_drawn(family, odd, wanted)


def test_names_of_another_program_are_found_where_diffusers_puts_them(folder: Path) -> None:
    """SDXL's trainers name the layers of the model's first program."""
    config = peft.LoKrConfig(r=2, alpha=3, init_weights=False, target_modules=ATTENTION)
    weights, merged = trained("sdxl", config)
    theirs = {
        "down_blocks.1.attentions.0.": "input_blocks.3.1.",
        "mid_block.attentions.0.": "middle_block.1.",
        "up_blocks.0.attentions.0.": "output_blocks.0.1.",
        "up_blocks.0.attentions.1.": "output_blocks.1.1.",
    }
    renamed: Weights = {}
    for name, weight in weights.items():
        ours = next(start for start in theirs if name.startswith(start))
        renamed[name.replace(ours, theirs[ours])] = weight
    odd = saved("sdxl", folder, kohya(renamed, 3))
    check_drawn("sdxl", odd, lambda *asked: drawn_with("sdxl", merged, *asked))


def test_a_layer_that_is_nowhere_is_named(folder: Path) -> None:
    odd = saved("sd", folder, {"lora_unet_nowhere.lokr_w1": torch.ones(2, 2),
                               "lora_unet_nowhere.lokr_w2": torch.ones(2, 2)})
    with pytest.raises(CardError, match="'lora_unet_nowhere' is no layer of 'sd'"):
        read_adapter(odd, built("sd"), CPU)


def test_a_change_of_another_shape_is_refused(folder: Path) -> None:
    odd = saved("sd", folder, {"lora_unet_conv_in.diff": torch.ones(3, 3)})
    with pytest.raises(CardError, match="does not fit a layer of Conv2d"):
        read_adapter(odd, built("sd"), CPU)


def test_low_rank_kinds_are_kept_as_two_matrices(folder: Path) -> None:
    """They cost what a LoRA costs; what is as large as the layer is not written out twice."""
    shape = denoiser(built("sd")).get_parameter(
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    ).shape
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    small = {f"{name}.hada_w{n}_{side}": torch.rand(size)
             for n in (1, 2) for side, size in (("a", (shape[0], 2)), ("b", (2, shape[1])))}
    weights = read_adapter(saved("sd", folder, small), built("sd"), CPU)
    assert not weights.changes
    (layer,) = weights.low_rank.values()
    assert layer.down.shape == (4, shape[1])
    full = read_adapter(saved("sd", folder, {f"{name}.diff": torch.rand(shape)}), built("sd"), CPU)
    assert not full.low_rank


def test_stacked_kinds_add_up(folder: Path) -> None:
    weights, merged = trained("sd", KINDS["lokr"]())
    odd = saved("sd", folder, kohya(weights, 3))
    plain = tiny_loras.save("sd", folder, "ink", text=False)
    stock = tiny.build("sd")
    assert plain.file
    stock.load_lora_weights(str(folder), weight_name=plain.file.name, adapter_name="ink")
    own = stock.unet.state_dict()
    for name, weight in merged.items():
        layer, _, end = name.rpartition(".")
        own[name if name in own else f"{layer}.base_layer.{end}"].copy_(weight)
    both = (AdapterUse("ink", 0.5), AdapterUse("odd", 1.0))
    wanted = job("sd", "a cat", 1, 2, adapters=both)
    stock.set_adapters(["ink"], [0.5])
    image = alone(stock, wanted)
    bench = Workbench({"sd": built("sd")}, (odd, plain))
    sample = bench.add(wanted)[0]
    bench.run()
    bench.close()
    assert difference(picture(sample), image) <= TOLERANCE
