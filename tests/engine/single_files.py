"""Tiny pipelines as single files: the names and shapes that their authors publish them in.

What diffusers' conversions make of these is what diffusers itself saves.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
)
from safetensors.torch import save_file

from tests.engine import tiny
from tests.engine.renaming import Weights, joined, lumina2, prefixed, renamed, sana, sd3

CONFIGS = ("*.json", "*.txt", "*.model")

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet(weights: Weights, layers: int = 1) -> Weights:
    """As in Stable Diffusion's own files, for levels of so many layers."""
    rules: dict[str, Callable[[Any], str]] = {
        r"down_blocks\.(\d+)\.resnets\.(\d+)\.": lambda m: f"input_blocks.{_down(m, layers)}.0.",
        r"down_blocks\.(\d+)\.attentions\.(\d+)\.": lambda m: f"input_blocks.{_down(m, layers)}.1.",
        r"down_blocks\.(\d+)\.downsamplers\.0\.conv": lambda m: (
            f"input_blocks.{(layers + 1) * (int(m[1]) + 1)}.0.op"
        ),
        r"up_blocks\.(\d+)\.resnets\.(\d+)\.": lambda m: f"output_blocks.{_up(m, layers)}.0.",
        r"up_blocks\.(\d+)\.attentions\.(\d+)\.": lambda m: f"output_blocks.{_up(m, layers)}.1.",
    }
    attended = {int(name.split(".")[1]) for name in weights if re.match(r"up.*attentions", name)}
    found = {}
    for name, weight in weights.items():
        new = prefixed(name, _UNET)
        for pattern, rename in rules.items():
            new = re.sub(pattern, rename, new)
        if match := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", name):
            block, place = int(match[1]), 2 if int(match[1]) in attended else 1
            end = name.rpartition(".")[2]
            new = f"output_blocks.{(layers + 1) * block + layers}.{place}.conv.{end}"
        if ".resnets." in name:
            new = re.sub(r"\.(norm[12]|conv[12]|time_emb_proj|conv_shortcut)\.",
                         lambda m: f".{_RESNET[m[1]]}.", new)
        found[f"model.diffusion_model.{new}"] = weight
    return found


def _down(match: Any, layers: int) -> int:
    return (layers + 1) * int(match[1]) + int(match[2]) + 1


def _up(match: Any, layers: int) -> int:
    return (layers + 1) * int(match[1]) + int(match[2])


def vae(weights: Weights, prefix: str = "first_stage_model.") -> Weights:
    """As in latent diffusion's own files."""
    levels = 1 + max(int(name.split(".")[2]) for name in weights if ".up_blocks." in name)
    found = {}
    for name, weight in weights.items():
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.resnets\.",
                     lambda m: f"up.{levels - 1 - int(m[1])}.block.", new)
        new = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0",
                     lambda m: f"up.{levels - 1 - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0." in new:
            head, tail = new.split("mid_block.attentions.0.")
            part, _, end = tail.rpartition(".")
            new = f"{head}mid.attn_1.{_ATTENTION[part]}.{end}"
            weight = weight[:, :, None, None] if weight.ndim == 2 else weight  # noqa: PLW2901
        found[prefix + new] = weight
    return found


def clip(weights: Weights, prefix: str) -> Weights:
    """As transformers itself once named them."""
    found = {}
    for name, weight in weights.items():
        is_inner = not name.startswith("text_projection")
        new = f"text_model.{name.removeprefix('text_model.')}" if is_inner else name
        found[prefix + new] = weight
    return found


def open_clip(weights: Weights, prefix: str) -> Weights:
    """As OpenCLIP names them."""
    plain = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
    rules = {
        "encoder.layers.": "transformer.resblocks.", "layer_norm": "ln_", ".fc1.": ".c_fc.",
        ".fc2.": ".c_proj.", "self_attn.out_proj": "attn.out_proj", "final_ln_": "ln_final",
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.token_embedding": "token_embedding",
    }  # fmt: skip
    found: Weights = {}
    for name, weight in plain.items():
        if match := re.match(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(\w+)", name):
            parts = [plain[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            place = f"transformer.resblocks.{match[1]}.attn.in_proj_{match[2]}"
            found[prefix + place] = torch.cat(parts)
        elif name == "text_projection.weight":
            found[f"{prefix}text_projection"] = weight.T
        elif ".k_proj." not in name and ".v_proj." not in name:
            new = name.replace("final_layer_norm", "ln_final")
            for old, named in rules.items():
                new = new.replace(old, named)
            found[prefix + new] = weight
    return found


def z_image(weights: Weights) -> Weights:
    """As Z-Image's authors and ComfyUI name its transformer's."""
    rules = {
        "all_final_layer.2-1.": "final_layer.", "all_x_embedder.2-1.": "x_embedder.",
        ".attention.to_out.0.": ".attention.out.", ".attention.norm_k.": ".attention.k_norm.",
        ".attention.norm_q.": ".attention.q_norm.",
    }  # fmt: skip
    return joined(renamed(weights, rules), ".attention.to_{}.", ".attention.qkv.")


def flux2(weights: Weights) -> Weights:
    """As Black Forest Labs name FLUX.2's transformer's."""
    rules = {
        "x_embedder": "img_in", "context_embedder": "txt_in",
        "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "_modulation_img.linear": "_modulation_img.lin",
        "_modulation_txt.linear": "_modulation_txt.lin",
        "single_stream_modulation.linear": "single_stream_modulation.lin",
        "single_transformer_blocks": "single_blocks", "transformer_blocks": "double_blocks",
        "attn.to_qkv_mlp_proj": "linear1",
        "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
        "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
        "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
        "ff_context.linear_in": "txt_mlp.0", "ff_context.linear_out": "txt_mlp.2",
        "ff.linear_in": "img_mlp.0", "ff.linear_out": "img_mlp.2",
    }  # fmt: skip
    fused = joined(renamed(weights, rules), ".attn.to_{}.", ".img_attn.qkv.")
    fused = joined(fused, ".attn.add_{}_proj.", ".txt_attn.qkv.")
    found = {}
    for name, weight in fused.items():
        is_single = name.startswith("single_blocks")
        new = name.replace("attn.to_out.", "linear2.") if is_single else name
        for each in ("query", "key"):
            place = "norm" if is_single else "img_attn.norm"
            new = new.replace(f"attn.norm_{each[0]}.weight", f"{place}.{each}_norm.scale")
        new = re.sub("^proj_out", "final_layer.linear", new)
        if name.startswith("norm_out.linear"):
            new = name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")
            weight = torch.cat(weight.chunk(2)[::-1])  # noqa: PLW2901
        found[new] = weight
    return found


def sd_file(pipeline: Any, layers: int = 1) -> Weights:
    """A whole Stable Diffusion 1 in one file, as on Civitai."""
    return (
        unet(pipeline.unet.state_dict(), layers)
        | vae(pipeline.vae.state_dict())
        | clip(pipeline.text_encoder.state_dict(), "cond_stage_model.transformer.")
        | {"alphas_cumprod": torch.zeros(4)}
    )


def sd2_file(pipeline: Any, layers: int = 1) -> Weights:
    """A whole Stable Diffusion 2 in one file, whose text encoder is OpenCLIP's."""
    return (
        unet(pipeline.unet.state_dict(), layers)
        | vae(pipeline.vae.state_dict())
        | open_clip(pipeline.text_encoder.state_dict(), "cond_stage_model.model.")
    )


def sd3_file(pipeline: Any) -> Weights:
    """A whole Stable Diffusion 3 in one file, with its three text encoders."""
    first = clip(pipeline.text_encoder.state_dict(), "text_encoders.clip_l.transformer.")
    first.pop("text_encoders.clip_l.transformer.text_projection.weight")
    t5 = pipeline.text_encoder_3.state_dict()
    return (
        {COMFY + name: weight for name, weight in sd3(pipeline.transformer.state_dict()).items()}
        | vae(pipeline.vae.state_dict())
        | first
        | clip(pipeline.text_encoder_2.state_dict(), "text_encoders.clip_g.transformer.")
        | {f"text_encoders.t5xxl.transformer.{name}": weight for name, weight in t5.items()}
    )


def sdxl_file(pipeline: Any, layers: int = 1) -> Weights:
    """A whole Stable Diffusion XL in one file."""
    return (
        unet(pipeline.unet.state_dict(), layers)
        | vae(pipeline.vae.state_dict())
        | clip(pipeline.text_encoder.state_dict(), "conditioner.embedders.0.transformer.")
        | open_clip(pipeline.text_encoder_2.state_dict(), "conditioner.embedders.1.model.")
    )


def denoiser_file(rename: Callable[[Weights], Weights], prefix: str = "") -> Any:
    """A transformer alone."""
    return lambda pipeline: {
        prefix + name: weight for name, weight in rename(pipeline.transformer.state_dict()).items()
    }


COMFY = "model.diffusion_model."
LAYOUTS: dict[str, tuple[str, Callable[[Any], Weights]]] = {
    "sd": ("sd", sd_file),
    "sd2": ("sd2", sd2_file),
    "sdxl": ("sdxl", sdxl_file),
    "sd3": ("sd3", sd3_file),
    "sd3 of Comfy": ("sd3", denoiser_file(sd3, COMFY)),
    "lumina2": ("lumina2", denoiser_file(lumina2)),
    "z_image": ("z_image", denoiser_file(z_image)),
    "z_image of Comfy": ("z_image", denoiser_file(z_image, COMFY)),
    "flux2": ("flux2_klein", denoiser_file(flux2)),
    "flux2 of Comfy": ("flux2_klein", denoiser_file(flux2, COMFY)),
    "sana": ("sana", denoiser_file(sana)),
    "qwen_image": ("qwen_image", denoiser_file(dict)),
    "qwen_image of Comfy": ("qwen_image", denoiser_file(dict, COMFY)),
    "flux as diffusers saves it": ("flux", denoiser_file(dict)),
}
"""Families by layout, and how one of their pipelines becomes a file of it."""


def save(weights: Weights, path: Path) -> Path:
    """Write a single file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous().clone() for name, weight in weights.items()}, path)
    return path


def scaled(weights: Weights, names: tuple[str, str]) -> Weights:
    """Linear layers' weights in float8 under a scale, as ComfyUI writes them."""
    found: Weights = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    for name, weight in weights.items():
        if weight.ndim == 2 and name.endswith("weight"):
            scale = weight.abs().max() / 448
            stem = name.removesuffix("weight")
            found[name] = (weight / scale).to(torch.float8_e4m3fn)
            found[stem + names[0]] = scale
            found[stem + names[1]] = torch.ones(())
        else:
            found[name] = weight
    return found


def save_gguf(weights: Weights, path: Path, *, in_rows: bool = False) -> Path:
    """As people publish them: matrices in blocks of 32, tables in bfloat16, else float32.

    Of UNets weights are written `in_rows` of 256, whatever their shapes, which are told beside.
    """
    writer = gguf.GGUFWriter(path, "lumina2")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    for name, weight in weights.items():
        plain = weight.float().numpy()
        if in_rows and plain.ndim > 1 and plain.size % 256 == 0 and plain.shape[-1] % 256:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", plain.shape)
            plain = plain.reshape(-1, 256)
        if plain.ndim == 2 and name.endswith(".weight") and plain.shape[1] % 32 == 0:
            packed = gguf.quantize(plain, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        elif plain.ndim == 2 and not name.endswith(".weight"):
            packed = gguf.quantize(plain, gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def unpacked_gguf(path: Path) -> Weights:
    """What is in such a file, by the library of those who made the format."""
    reader, found = gguf.GGUFReader(path), {}
    for one in reader.tensors:
        told = reader.get_field(f"comfy.gguf.orig_shape.{one.name}")
        shape = told.contents() if told else [int(edge) for edge in one.shape[::-1]]
        plain = gguf.dequantize(one.data, one.tensor_type)
        found[one.name] = torch.from_numpy(plain.copy()).view(shape)
    return found


def configs(pipeline: Any, folder: Path, *, without: tuple[str, ...]) -> Path:
    """A pipeline's folder without the weights of some parts, as the hub's configs lie."""
    pipeline.save_pretrained(folder)
    for name in without:
        for file in (folder / name).glob("*.safetensors"):
            file.unlink()
    return folder


def whole_parts(pipeline: Any) -> tuple[str, ...]:
    """The parts of a pipeline that have weights."""
    return tuple(
        name for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)
    )


def build(family: str) -> Any:
    """A tiny pipeline, whose text encoders can be told apart as a real one's can."""
    make = {"sd2": _sd2, "sdxl": _sdxl, "sd3": _sd3, "lumina2": _lumina2}.get(family)
    return tiny.built(make) if make else tiny.build(family)


def _sd2() -> Any:
    pipeline = tiny.sd()
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    return pipeline


def _sdxl() -> Any:
    pipeline = tiny.sdxl()
    pipeline.register_modules(
        text_encoder_2=tiny.clip(projected=True, width=64),
        unet=tiny.unet(
            cross_attention_dim=96, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 64, use_linear_projection=True,
        ),
    )  # fmt: skip
    return pipeline


def _sd3() -> Any:
    pipeline = tiny.sd3()
    pipeline.text_encoder.text_projection.weight.data = torch.eye(tiny.WIDTH)
    config = dict(pipeline.transformer.config)
    config |= {"joint_attention_dim": 96, "qk_norm": "rms_norm", "dual_attention_layers": (0,)}
    pipeline.register_modules(
        text_encoder_2=tiny.clip(projected=True, width=64),
        text_encoder_3=tiny.t5(96),
        transformer=type(pipeline.transformer)(**config | {"pooled_projection_dim": 96}),
    )
    return pipeline


def _lumina2() -> Any:
    """As wide as its authors' own, since the conversion splits its projections by their widths."""
    transformer = Lumina2Transformer2DModel(
        sample_size=16, in_channels=4, num_layers=1, num_refiner_layers=1, cap_feat_dim=16,
        multiple_of=8, ffn_dim_multiplier=0.001, axes_lens=(300, 64, 64),
    )  # fmt: skip
    return Lumina2Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=tiny.kl(shift_factor=0.1), text_encoder=tiny.gemma(), tokenizer=tiny.tokenizer(256),
    )  # fmt: skip
