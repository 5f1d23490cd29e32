"""Transformers' weights under their authors' names: diffusers' conversions, gone backwards."""

import re

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def sd3(weights: Weights) -> Weights:
    """As Stability names Stable Diffusion 3's transformer's."""
    rules = {
        "pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj",
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    }  # fmt: skip
    inner = {
        "attn.to_qkv.": "x_block.attn.qkv.", "attn.add_qkv_proj.": "context_block.attn.qkv.",
        "attn.norm_added_q.": "context_block.attn.ln_q.", "attn.norm_q.": "x_block.attn.ln_q.",
        "attn.norm_added_k.": "context_block.attn.ln_k.", "attn.norm_k.": "x_block.attn.ln_k.",
        "attn.to_out.0.": "x_block.attn.proj.", "attn.to_add_out.": "context_block.attn.proj.",
        "attn2.to_qkv.": "x_block.attn2.qkv.", "attn2.to_out.0.": "x_block.attn2.proj.",
        "attn2.norm_q.": "x_block.attn2.ln_q.", "attn2.norm_k.": "x_block.attn2.ln_k.",
        "norm1.linear.": "x_block.adaLN_modulation.1.",
        "norm1_context.linear.": "context_block.adaLN_modulation.1.",
        "ff.net.0.proj.": "x_block.mlp.fc1.", "ff.net.2.": "x_block.mlp.fc2.",
        "ff_context.net.0.proj.": "context_block.mlp.fc1.",
        "ff_context.net.2.": "context_block.mlp.fc2.",
    }  # fmt: skip
    fused = joined(weights, ".attn.to_{}.", ".attn.to_qkv.")
    fused = joined(fused, ".attn2.to_{}.", ".attn2.to_qkv.")
    fused = joined(fused, ".attn.add_{}_proj.", ".attn.add_qkv_proj.")
    last = max(int(name.split(".")[1]) for name in fused if name.startswith("transformer_blocks."))
    found = {}
    for name, weight in fused.items():
        new = prefixed(name, rules) if not name.startswith("pos_embed.pos") else "pos_embed"
        if name.startswith("transformer_blocks."):
            _, block, part = name.split(".", 2)
            start = next(start for start in inner if part.startswith(start))
            new = f"joint_blocks.{block}.{inner[start]}{part.removeprefix(start)}"
        new = re.sub("^proj_out", "final_layer.linear", new)
        new = re.sub("^norm_out.linear", "final_layer.adaLN_modulation.1", new)
        is_last = f"joint_blocks.{last}.context_block.adaLN" in new
        is_swapped = is_last or new.startswith("final_layer.adaLN")
        found[new] = torch.cat(weight.chunk(2)[::-1]) if is_swapped else weight
    return found


def flux1(weights: Weights) -> Weights:
    """As Black Forest Labs name FLUX.1's transformer's, and Chroma's authors theirs."""
    embedder = "time_text_embed.{}_embedder.linear_{}."
    rules = {
        embedder.format(ours, number): f"{theirs}_in.{place}_layer."
        for ours, theirs in (("timestep", "time"), ("text", "vector"), ("guidance", "guidance"))
        for number, place in ((1, "in"), (2, "out"))
    } | {
        "context_embedder.": "txt_in.", "x_embedder.": "img_in.", ".norm1.linear.": ".img_mod.lin.",
        ".norm1_context.linear.": ".txt_mod.lin.", ".norm.linear.": ".modulation.lin.",
        ".attn.norm_added_q.weight": ".txt_attn.norm.query_norm.scale",
        ".attn.norm_added_k.weight": ".txt_attn.norm.key_norm.scale",
        ".attn.to_out.0.": ".img_attn.proj.", ".attn.to_add_out.": ".txt_attn.proj.",
        ".ff.net.0.proj.": ".img_mlp.0.", ".ff.net.2.": ".img_mlp.2.",
        ".ff_context.net.0.proj.": ".txt_mlp.0.", ".ff_context.net.2.": ".txt_mlp.2.",
        "single_transformer_blocks.": "single_blocks.", "transformer_blocks.": "double_blocks.",
        ".proj_out.": ".linear2.",
    }  # fmt: skip
    found: Weights = {}
    for name, weight in joined(weights, ".attn.add_{}_proj.", ".txt_attn.qkv.").items():
        new, is_single = name, name.startswith("single_")
        if name.startswith("distilled_guidance_layer."):
            new = name.replace("linear_1", "in_layer").replace("linear_2", "out_layer")
            found[re.sub(r"(norms\.\d+)\.weight", r"\1.scale", new)] = weight
            continue
        if is_single and ".attn.to_q." in name:
            others = (name.replace(".attn.to_q.", place)
                      for place in (".attn.to_k.", ".attn.to_v.", ".proj_mlp."))  # fmt: skip
            fused = torch.cat([weight, *(weights[other] for other in others)])
            found[renamed_one(name.replace(".attn.to_q.", ".linear1."), rules)] = fused
            continue
        if is_single and re.search(r"\.attn\.to_[kv]\.|\.proj_mlp\.", name):
            continue
        for each in ("query", "key"):
            place = ".norm" if is_single else ".img_attn.norm"
            new = new.replace(f".attn.norm_{each[0]}.weight", f"{place}.{each}_norm.scale")
        new = renamed_one(new, rules)
        new = re.sub("^proj_out", "final_layer.linear", new)
        if name.startswith("norm_out.linear"):
            new = name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")
            weight = torch.cat(weight.chunk(2)[::-1])  # noqa: PLW2901
        found[new] = weight
    return joined(found, ".attn.to_{}.", ".img_attn.qkv.")


def lumina2(weights: Weights) -> Weights:
    """As Lumina-Image-2's authors name its transformer's."""
    rules = {
        "time_caption_embed.caption_embedder.": "cap_embedder.",
        "time_caption_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
        "time_caption_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
        "norm_out.linear_1.": "final_layer.adaLN_modulation.1.",
        "norm_out.linear_2.": "final_layer.linear.", ".attn.": ".attention.",
        ".to_out.0.": ".out.", ".norm_q.": ".q_norm.", ".norm_k.": ".k_norm.",
        ".linear_1.": ".w1.", ".linear_2.": ".w2.", ".linear_3.": ".w3.",
        ".norm1.linear.": ".adaLN_modulation.1.", ".norm1.norm.": ".attention_norm1.",
        ".norm1.": ".attention_norm1.", ".norm2.": ".attention_norm2.",
    }  # fmt: skip
    fused = joined(renamed(weights, rules), ".attention.to_{}.", ".attention.qkv.")
    return fused | {"norm_final.weight": torch.ones(1)}


def sana(weights: Weights) -> Weights:
    """As Sana's authors name its transformer's."""
    rules = {
        "time_embed.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_embed.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_embed.linear": "t_block.1", "patch_embed.proj": "x_embedder.proj",
        "caption_projection.linear_": "y_embedder.y_proj.fc", "caption_norm": "attention_y_norm",
        "transformer_blocks": "blocks", "attn1.to_out.0": "attn.proj",
        "attn2.to_out.0": "cross_attn.proj", "attn2.to_q": "cross_attn.q_linear",
        "ff.conv_inverted": "mlp.inverted_conv.conv", "ff.conv_depth": "mlp.depth_conv.conv",
        "ff.conv_point": "mlp.point_conv.conv", "proj_out": "final_layer.linear",
    }  # fmt: skip
    found = joined(renamed(weights, rules), ".attn1.to_{}.", ".attn.qkv.")
    found = joined(found, ".attn2.to_{}.", ".cross_attn.kv_linear.", "kv")
    found["final_layer.scale_shift_table"] = found.pop("scale_shift_table")
    return found | {"pos_embed": torch.zeros(1), "y_embedder.y_embedding": torch.zeros(1)}


def prefixed(name: str, rules: dict[str, str]) -> str:
    """A name with another beginning."""
    found = next((old for old in rules if name.startswith(f"{old}.")), None)
    return rules[found] + name.removeprefix(found) if found else name


def renamed(weights: Weights, rules: dict[str, str]) -> Weights:
    """The same under names of which parts are others."""
    return {renamed_one(name, rules): weight for name, weight in weights.items()}


def renamed_one(name: str, rules: dict[str, str]) -> str:
    """A name of which parts are others."""
    for old, named in rules.items():
        name = name.replace(old, named)
    return name


def joined(weights: Weights, split: str, joined: str, letters: str = "qkv") -> Weights:
    """Projections that are one in the original."""
    first, found = split.format(letters[0]), {}
    others = [split.format(letter) for letter in letters[1:]]
    for name, weight in weights.items():
        if first in name:
            parts = [weights[name.replace(first, split.format(letter))] for letter in letters]
            found[name.replace(first, joined)] = torch.cat(parts)
        elif not any(other in name for other in others):
            found[name] = weight
    return found
