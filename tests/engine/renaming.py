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
    found = {}
    for name, weight in weights.items():
        new = name
        for old, named in rules.items():
            new = new.replace(old, named)
        found[new] = weight
    return found


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
