"""Which kinds of adapters a file holds, told by its tensors' names; imports no torch.

A name is a layer's and a part's: `lora_unet_mid_block_x.lokr_w1` says of which layer it is, in
some trainer's spelling, and what of that layer's change.
"""

from collections.abc import Collection

DOWN, UP, MID, ALPHA, MAGNITUDE = "lora_down", "lora_up", "lora_mid", "alpha", "dora_scale"
PLAIN = frozenset({DOWN, UP, ALPHA})
"""The parts of a layer's change that is a LoRA, and no more."""

_ENDINGS = {
    **{f"{name}.weight": DOWN for name in ("lora_A", "lora_A.default", "lora_down", "lora.down",
                                           "lora_linear_layer.down")},
    **{f"{name}.weight": UP for name in ("lora_B", "lora_B.default", "lora_up", "lora.up",
                                         "lora_linear_layer.up")},
    "lora_mid.weight": MID,
    **{name: name for name in (
        ALPHA, MAGNITUDE, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
        "diff", "diff_b", "w_norm", "b_norm", "ia3_l", "on_input", "oft_blocks", "rescale",
    )},
}  # fmt: skip

_KINDS = {
    UP: "LoRA", MAGNITUDE: "DoRA", "hada_w1_a": "LoHa", "lokr_w1": "LoKr", "lokr_w1_a": "LoKr",
    "diff": "full", "diff_b": "bias", "w_norm": "norm", "b_norm": "norm", "ia3_l": "IA3",
    "on_input": "IA3", "oft_blocks": "OFT",
}  # fmt: skip
_MAGNITUDE = "lora_magnitude_vector"
_UNREAD = {"boft_R": "BOFT", "oft_R": "OFT of PEFT", "vera_lambda_b": "VeRA", "hra_u": "HRA"}
"""Kinds that nothing here reads."""


def layers_in(names: Collection[str]) -> dict[str, dict[str, str]]:
    """The tensors of a file that change layers: by layer, each part's full name."""
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        for ending, part in _ENDINGS.items():
            if name.endswith(f".{ending}"):
                layers.setdefault(name[: -len(ending) - 1], {})[part] = name
    for layer, parts in layers.items():
        if "on_input" in parts and f"{layer}.weight" in names:
            parts["ia3_l"] = f"{layer}.weight"
    return layers


def kinds_in(names: Collection[str]) -> tuple[str, ...]:
    """What a file's adapter is, sorted: `LoRA`, `DoRA`, `LoKr`, ...; nothing if it is none."""
    kinds = {
        _KINDS[part] for parts in layers_in(names).values() for part in parts if part in _KINDS
    }
    kinds |= {"DoRA"} if any(_MAGNITUDE in name for name in names) else set()
    if not kinds and any("lora" in name.lower() for name in names):
        kinds = {"LoRA"}
    return tuple(sorted(kinds - {"LoRA"} if "DoRA" in kinds else kinds))


def unread_in(names: Collection[str]) -> str | None:
    """The kind of an adapter that nothing here reads, if there is one."""
    return next((kind for mark, kind in _UNREAD.items() if any(mark in one for one in names)), None)
