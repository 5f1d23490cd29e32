"""The names that programs give to LoRAs' layers, each beside the layers of ours that it means.

A name's rows are those of its layers, one below the other.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Layers = Mapping[str, tuple[str, ...]]
"""By a file's name of a layer, our paths: with the component's name before them."""

PEFT = (".lora_A.weight", ".lora_B.weight")
DEFAULT = (".lora_A.default.weight", ".lora_B.default.weight")
KOHYA = (".lora_down.weight", ".lora_up.weight")
DOTTED = (".lora.down.weight", ".lora.up.weight")
PROCESSORS = ("_lora.down.weight", "_lora.up.weight")
XLABS = (".down.weight", ".up.weight")
LOKR = (".lokr_w1", ".lokr_w2")


class Layout(NamedTuple):
    """How a program writes a LoRA; `by_hand` where stock diffusers does not read it."""

    family: str
    layers: Layers
    ends: tuple[str, str]
    has_alpha: bool = False
    by_hand: bool = False


def under(path: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for name in names)


UNET = "unet.mid_block.attentions.0.transformer_blocks.0"
BLOCK, SINGLE = "transformer.transformer_blocks.0", "transformer.single_transformer_blocks.0"
CLIP = under("encoder.layers.1", "self_attn.q_proj", "self_attn.out_proj", "mlp.fc1")
QKV, ADDED = ("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")


ATTENTION = {
    "unet": under(f"{UNET}.attn1", "to_q", "to_out.0") + under(f"{UNET}.attn2", "to_k", "to_v"),
    "flux": under(f"{BLOCK}.attn", "to_q", "to_out.0", "add_k_proj", "to_add_out"),
}
OURS = {
    "sd": (*ATTENTION["unet"], f"{UNET}.ff.net.0.proj", "unet.down_blocks.1.attentions.0.proj_in",
           "unet.down_blocks.0.resnets.0.conv1"),
    "flux": (*ATTENTION["flux"], *under(BLOCK, "ff.net.0.proj", "norm1.linear"),
             *under(SINGLE, "attn.to_v", "proj_mlp", "proj_out")),
    "flux2_klein": (*ATTENTION["flux"], *under(BLOCK, "ff.linear_in", "ff_context.linear_out"),
                    *under(SINGLE, "attn.to_qkv_mlp_proj", "attn.to_out")),
    "qwen_image": under("transformer.transformer_blocks.1", "attn.to_q", "attn.to_out.0",
                        "attn.add_v_proj", "img_mlp.net.0.proj", "img_mod.1"),
    "z_image": (*under("transformer.layers.0", "attention.to_q", "attention.to_k",
                       "attention.to_out.0", "feed_forward.w1", "adaLN_modulation.0"),
                "transformer.context_refiner.0.attention.to_v"),
    "sd3": under(f"{BLOCK}", "attn.to_q", "attn.add_k_proj", "ff.net.2", "norm1.linear"),
    "sana": under(BLOCK, "attn1.to_q", "attn2.to_out.0"),
}  # fmt: skip


def dotted(ours: Iterable[str], prefix: str | None = None) -> Layers:
    """Our own paths, with another word than their component's before them."""
    return {_inside(path) if prefix == "" else f"{prefix}.{_inside(path)}" if prefix else path:
            (path,) for path in ours}  # fmt: skip


def flat(ours: Iterable[str], prefix: str) -> Layers:
    """Our own paths with underscores."""
    return {f"{prefix}_{_inside(path).replace('.', '_')}": (path,) for path in ours}


def renamed(ours: Iterable[str], *pairs: tuple[str, str]) -> Layers:
    """Our own paths with some of their words replaced, by patterns."""
    found: dict[str, tuple[str, ...]] = {}
    for path in ours:
        name = path
        for pattern, word in pairs:
            name = re.sub(pattern, word, name)
        found[name] = (path,)
    return found


def _inside(path: str) -> str:
    return path.partition(".")[2]


OLD = (r"\.(attn\d)\.", r".\1.processor."), (r"\.to_out\.0$", ".to_out")
OLD_CLIP = (r"\.([qkv])_proj", r".to_\1"), (r"\.out_proj", ".to_out")
SGM = (
    (r"^unet\.", "lora_unet_"), (r"down_blocks\.1\.attentions\.0", "input_blocks.3.1"),
    (r"down_blocks\.0\.resnets\.0", "input_blocks.1.0"),
    (r"down_blocks\.0\.downsamplers\.0\.conv", "input_blocks.2.0.op"),
    (r"mid_block\.attentions\.0", "middle_block.1"),
    (r"up_blocks\.0\.resnets\.0", "output_blocks.0.0"), (r"conv1$", "in_layers.2"),
    (r"conv2$", "out_layers.3"), (r"time_emb_proj$", "emb_layers.1"),
    (r"conv_shortcut$", "skip_connection"), (r"conv_in$", "input_blocks.0.0"),
    (r"time_embedding\.linear_2$", "time_embed.2"),
    (r"add_embedding\.linear_1$", "label_emb.0.0"), (r"\.", "_"),
)  # fmt: skip
OF_SGM = (
    *ATTENTION["unet"], f"{UNET}.ff.net.2",
    *under("unet", "down_blocks.1.attentions.0.proj_out", "down_blocks.0.resnets.0.conv1",
           "down_blocks.0.resnets.0.time_emb_proj", "down_blocks.0.downsamplers.0.conv",
           "up_blocks.0.resnets.0.conv2", "up_blocks.0.resnets.0.conv_shortcut", "conv_in",
           "time_embedding.linear_2", "add_embedding.linear_1"),
)  # fmt: skip
BFL: Layers = {
    "double_blocks.0.img_attn.qkv": under(f"{BLOCK}.attn", *QKV),
    "double_blocks.0.txt_attn.qkv": under(f"{BLOCK}.attn", *ADDED),
    "double_blocks.0.img_attn.proj": (f"{BLOCK}.attn.to_out.0",),
    "double_blocks.0.txt_attn.proj": (f"{BLOCK}.attn.to_add_out",),
}
FLUX: Layers = {
    **BFL,
    "double_blocks.0.img_mlp.0": (f"{BLOCK}.ff.net.0.proj",),
    "double_blocks.0.txt_mlp.2": (f"{BLOCK}.ff_context.net.2",),
    "double_blocks.0.img_mod.lin": (f"{BLOCK}.norm1.linear",),
    "single_blocks.0.linear2": (f"{SINGLE}.proj_out",),
    "single_blocks.0.modulation.lin": (f"{SINGLE}.norm.linear",),
}
FLUX2: Layers = {
    **BFL,
    "double_blocks.0.img_mlp.0": (f"{BLOCK}.ff.linear_in",),
    "double_blocks.0.txt_mlp.2": (f"{BLOCK}.ff_context.linear_out",),
    "single_blocks.0.linear1": (f"{SINGLE}.attn.to_qkv_mlp_proj",),
    "single_blocks.0.linear2": (f"{SINGLE}.attn.to_out",),
    "img_in": ("transformer.x_embedder",),
    "final_layer.linear": ("transformer.proj_out",),
}
OF_XLABS: Layers = {
    "double_blocks.0.processor.qkv_lora1": under(f"{BLOCK}.attn", *QKV),
    "double_blocks.0.processor.qkv_lora2": under(f"{BLOCK}.attn", *ADDED),
    "double_blocks.0.processor.proj_lora1": (f"{BLOCK}.attn.to_out.0",),
    "double_blocks.0.processor.proj_lora2": (f"{BLOCK}.attn.to_add_out",),
    "single_blocks.0.processor.qkv_lora": under(f"{SINGLE}.attn", *QKV),
    "single_blocks.0.processor.proj_lora": (f"{SINGLE}.proj_out",),
}
FUSED_Z: Layers = {
    "layers.0.attention.qkv": under("transformer.layers.0.attention", *QKV),
    "layers.0.attention.out": ("transformer.layers.0.attention.to_out.0",),
    "layers.1.feed_forward.w2": ("transformer.layers.1.feed_forward.w2",),
}
ANIMA: Layers = {
    "blocks.0.self_attn.q_proj": (f"{BLOCK}.attn1.to_q",),
    "blocks.0.cross_attn.output_proj": (f"{BLOCK}.attn2.to_out.0",),
    "blocks.0.mlp.layer1": (f"{BLOCK}.ff.net.0.proj",),
    "blocks.0.adaln_modulation_mlp.2": (f"{BLOCK}.norm3.linear_2",),
}
FLUX3: Layers = {
    "content_mode_blocks.image.0.q_proj": ("transformer.mode_blocks.image.0.attn.to_q",),
    "single_blocks.0.attn_out": (f"{SINGLE}.attn.to_out.0",),
    "single_blocks.0.mlp_in": (f"{SINGLE}.ff.linear_in",),
}


def spelt(layers: Layers, prefix: str, spell: Callable[[str], str] = str) -> Layers:
    """Another program's paths with a prefix."""
    return {f"{prefix}{spell(name)}": own for name, own in layers.items()}


def low(name: str) -> str:
    return name.replace(".", "_")


def text(prefix: str, component: str = "text_encoder") -> Layers:
    """A CLIP's layers as kohya's scripts spell them."""
    return {f"{prefix}_text_model_{low(path)}": (_of_clip(component, path),) for path in CLIP}


def clip(*pairs: tuple[str, str], component: str = "text_encoder") -> Layers:
    """A CLIP's layers as diffusers spelt them, with dots."""
    names = renamed((f"{component}.text_model.{path}" for path in CLIP), *pairs)
    return {name: (_of_clip(component, path),) for name, path in zip(names, CLIP, strict=True)}


OF_COMFY = "text_encoders.clip_l.transformer"


def _of_clip(component: str, path: str) -> str:
    """One with a projection has its layers a level deeper."""
    return f"{component}.{'text_model.' * (component == 'text_encoder_2')}{path}"


def _plain(family: str, *args: Any, **facts: Any) -> Layout:
    return Layout(family, dotted(OURS[family], *args), PEFT, **facts)


LAYOUTS: dict[str, Layout] = {
    "kohya-sd": Layout("sd", {**flat(OURS["sd"], "lora_unet"), **text("lora_te")}, KOHYA, True),
    "kohya-sdxl": Layout(
        "sdxl",
        {**renamed(OF_SGM, *SGM), **text("lora_te1"), **text("lora_te2", "text_encoder_2")},
        KOHYA, True,
    ),
    "onetrainer-sdxl": Layout(
        "sdxl", {**flat(OF_SGM[:-3], "lora_unet"), **text("lora_te2", "text_encoder_2")}, KOHYA,
        True,
    ),
    "processors-sd": Layout(
        "sd",
        {**renamed(ATTENTION["unet"], *OLD),
         **{name: own for name, own in clip(*OLD_CLIP).items() if "fc1" not in name}},
        PROCESSORS,
    ),
    "processors-bare-sd": Layout(
        "sd", renamed(ATTENTION["unet"], *OLD, (r"^unet\.", "")), PROCESSORS, by_hand=True
    ),
    "diffusers-2023-sd": Layout("sd", dotted(OURS["sd"]), DOTTED),
    "diffusers-sd": Layout("sd", {**dotted(OURS["sd"]), **clip()}, PEFT),
    "diffusers-sdxl": Layout(
        "sdxl", {**dotted(OF_SGM), **clip(component="text_encoder_2")}, PEFT
    ),
    "peft-sd": _plain("sd", "base_model.model", by_hand=True),
    "peft-default-sd": Layout(
        "sd", dotted(OURS["sd"], "base_model.model"), DEFAULT, by_hand=True
    ),
    "diffusers-sd3": _plain("sd3"),
    "diffusers-sana": _plain("sana"),
    "kohya-flux": Layout(
        "flux", {**spelt(FLUX, "lora_unet_", low), **text("lora_te1")}, KOHYA, True
    ),
    "comfy-flux": Layout(
        "flux",
        {**spelt(FLUX, "diffusion_model."),
         **spelt(clip(), "", lambda name: name.replace("text_encoder", OF_COMFY))},
        KOHYA, True,
    ),
    "comfy-peft-flux": Layout("flux", spelt(FLUX, "diffusion_model."), PEFT, by_hand=True),
    "onetrainer-flux": Layout(
        "flux", {**flat(ATTENTION["flux"], "lora_transformer"), **text("lora_te1")}, KOHYA, True
    ),
    "onetrainer-whole-flux": Layout(
        "flux", flat(OURS["flux"], "lora_transformer"), KOHYA, True, by_hand=True
    ),
    "dotted-flux": Layout("flux", dotted(OURS["flux"]), KOHYA, True),
    "ai-toolkit-flux": _plain("flux"),
    "bare-flux": _plain("flux", "", by_hand=True),
    "xlabs-flux": Layout("flux", OF_XLABS, XLABS),
    "xlabs-comfy-flux": Layout("flux", spelt(OF_XLABS, "diffusion_model."), XLABS),
    "kohya-flux2": Layout("flux2_klein", spelt(FLUX2, "lora_unet_", low), KOHYA, True),
    "ai-toolkit-flux2": Layout("flux2_klein", spelt(FLUX2, "diffusion_model."), PEFT),
    "peft-flux2": Layout("flux2_klein", spelt(FLUX2, "base_model.model."), PEFT),
    "comfy-flux2": _plain("flux2_klein", "diffusion_model"),
    "diffusers-flux2": _plain("flux2_klein"),
    "lycoris-flux2": Layout("flux2_klein", flat(OURS["flux2_klein"], "lycoris"), LOKR),
    "bare-lokr-flux2": Layout("flux2_klein", dotted(OURS["flux2_klein"], ""), LOKR),
    "kohya-qwen": Layout("qwen_image", flat(OURS["qwen_image"], "lora_unet"), KOHYA, True),
    "lightning-qwen": Layout("qwen_image", dotted(OURS["qwen_image"], ""), KOHYA, True),
    "comfy-qwen": _plain("qwen_image", "diffusion_model"),
    "default-qwen": Layout("qwen_image", dotted(OURS["qwen_image"], ""), DEFAULT),
    "diffusers-qwen": _plain("qwen_image"),
    "onetrainer-qwen": Layout(
        "qwen_image", flat(OURS["qwen_image"], "lora_transformer"), KOHYA, True, by_hand=True
    ),
    "kohya-z": Layout("z_image", flat(OURS["z_image"], "lora_unet"), KOHYA, True),
    "kohya-fused-z": Layout("z_image", spelt(FUSED_Z, "lora_unet_", low), KOHYA, True),
    "comfy-z": _plain("z_image", "diffusion_model"),
    "default-z": Layout("z_image", dotted(OURS["z_image"], ""), DEFAULT),
    "dotted-z": Layout("z_image", dotted(OURS["z_image"], "diffusion_model"), DOTTED),
    "diffusers-z": _plain("z_image"),
    "ai-toolkit-lokr-z": Layout("z_image", dotted(OURS["z_image"], "diffusion_model"), LOKR),
    "onetrainer-z": Layout(
        "z_image", flat(OURS["z_image"], "lora_transformer"), KOHYA, True, by_hand=True
    ),
    "comfy-anima": Layout("anima", spelt(ANIMA, "diffusion_model."), PEFT),
    "comfy-flux3": Layout("flux3", spelt(FLUX3, "diffusion_model."), PEFT),
    # The last of its family: stock's pipeline has its projections fused from then on.
    "ai-toolkit-lokr-flux2": Layout("flux2_klein", spelt(FLUX2, "diffusion_model."), LOKR),
}
