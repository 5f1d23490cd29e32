"""Which kinds of adapters a file holds, told by its tensors' names; imports no torch.

A name is a layer's and a part's: `lora_unet_mid_block_x.lokr_w1` says of which layer it is, in
some trainer's spelling, and what of that layer's change.
"""

from collections.abc import Collection
from pathlib import Path

DOWN, UP, MID, ALPHA, MAGNITUDE = "lora_down", "lora_up", "lora_mid", "alpha", "dora_scale"
PLAIN = frozenset({DOWN, UP, ALPHA})
"""The parts of a layer's change that is a LoRA, and no more."""

WHOLE = frozenset({"diff_b", "set_weight", "set_bias"})
"""Parts that no two matrices are, whatever else a layer's change is."""

LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADAPTER_FILES = (LORA_FILE, PEFT_FILE)
"""What diffusers and PEFT call an adapter's file in a folder of its own, or on the hub."""

_ENDINGS = {
    **{f"{name}.weight": DOWN for name in (".lora_A", ".lora_A.default", ".lora_down", ".lora.down",
                                           "_lora.down", ".lora_linear_layer.down")},
    **{f"{name}.weight": UP for name in (".lora_B", ".lora_B.default", ".lora_up", ".lora.up",
                                         "_lora.up", ".lora_linear_layer.up")},
    ".lora_mid.weight": MID,
    **{f".{name}": name for name in (
        ALPHA, MAGNITUDE, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
        "diff", "diff_b", "set_weight", "set_bias", "w_norm", "b_norm", "ia3_l", "on_input",
        "oft_blocks", "rescale",
    )},
    **{f".{name}.weight": name for name in ("a1", "a2", "b1", "b2", "bm")},
}  # fmt: skip
"""How names end that are of a part of a layer's change; before it is the layer's own."""

_KINDS = {
    UP: "LoRA", MAGNITUDE: "DoRA", "hada_w1_a": "LoHa", "lokr_w1": "LoKr", "lokr_w1_a": "LoKr",
    "diff": "full", "diff_b": "bias", "set_weight": "full", "set_bias": "bias", "w_norm": "norm",
    "b_norm": "norm", "ia3_l": "IA3", "on_input": "IA3", "oft_blocks": "OFT", "a1": "GLoRA",
}  # fmt: skip
_MAGNITUDE = "lora_magnitude_vector"

PEFT_KINDS = {
    "LORA": "LoRA", "ADALORA": "AdaLoRA", "BOFT": "BOFT", "C3A": "C3A", "DELORA": "DeLoRA",
    "FOURIERFT": "FourierFT", "GLORA": "GLoRA", "GRALORA": "GraLoRA", "HIRA": "HiRA",
    "HRA": "HRA", "IA3": "IA3", "LN_TUNING": "norm", "LOHA": "LoHa", "LOKR": "LoKr",
    "MISS": "MiSS", "OFT": "OFT", "RANDLORA": "RandLoRA", "ROAD": "RoAd", "SHIRA": "SHiRA",
    "VERA": "VeRA", "WAVEFT": "WaveFT",
}  # fmt: skip
"""What PEFT calls the kinds that are read by it, and what they are called here."""

_TUNED = {
    "lora_E": "AdaLoRA", "boft_R": "BOFT", "c3a_kernel": "C3A", "delora_lambda": "DeLoRA",
    "fourierft_spectrum": "FourierFT", "glora_A": "GLoRA", "gralora_A": "GraLoRA",
    "hira_A": "HiRA", "hra_u": "HRA", "ln_tuning_layers": "norm", "miss_block": "MiSS",
    "oft_R": "OFT", "randlora_lambda": "RandLoRA", "road_theta": "RoAd", "shira_weight": "SHiRA",
    "vera_lambda_b": "VeRA", "waveft_spectrum": "WaveFT",
}  # fmt: skip
"""How names tell those that cannot be read without PEFT's configuration beside them."""

CONTROL_LORA = "control LoRA"
_UNREAD = {
    "ip_adapter": "IP-Adapter", "double_stream_modulation_lora": "IP-Adapter",
    "redux_up": "Redux", "controlnet_cond_embedding": "ControlNet", "input_hint_block":
    "ControlNet", "controlnet_blocks": "ControlNet", "control_all_x_embedder": "ControlNet",
    "control_layers.": "ControlNet", "emb_params": "textual inversion",
    "motion_modules.": "AnimateDiff module", "lambda_layer": "T-LoRA",
    "reshape_weight": CONTROL_LORA, "key_norm.scale": CONTROL_LORA,
    "lora_controlnet": CONTROL_LORA,
}  # fmt: skip
"""What is no adapter of this shape, by a mark in its names."""

PLACES = {
    "IP-Adapter": "it as controlnets/ENDPOINT/NAME/FILE, beside its image_encoder",
    "ControlNet": "it in controlnets/ENDPOINT", "textual inversion": "it in embeddings/ENDPOINT",
}  # fmt: skip
"""Where such files are read from."""

BUNDLED = "bundle_emb."
"""How names begin of vectors of words that lie in an adapter's file; the word follows."""


def layers_in(names: Collection[str]) -> dict[str, dict[str, str]]:
    """The tensors of a file that change layers: by layer, each part's full name."""
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        for ending, part in _ENDINGS.items():
            if name.endswith(ending):
                layers.setdefault(name.removesuffix(ending), {})[part] = name
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
    kinds |= {tuned} if (tuned := tuned_in(names)) else set()
    if not kinds and any("lora" in name.lower() for name in names):
        kinds = {"LoRA"}
    return tuple(sorted(kinds - {"LoRA"} if "DoRA" in kinds else kinds))


def tuned_in(names: Collection[str]) -> str | None:
    """The kind of an adapter that cannot be read without PEFT's configuration, if it is one."""
    return _marked(_TUNED, names)


def bundled_words(names: Collection[str]) -> tuple[str, ...]:
    """The words whose embeddings lie in a file of an adapter, as kohya's trainers bundle them."""
    found = {name.split(".")[1] for name in names if name.startswith(BUNDLED)}
    return tuple(sorted(found - {""}))


def unread_in(names: Collection[str]) -> str | None:
    """What a file is that nothing here reads as an adapter, if it is known."""
    return _marked(_UNREAD, names)


def why_unread(unread: str | None, tuned: str | None, file: Path) -> str | None:
    """Why a file cannot be read as an adapter, by what its names tell; None where it can."""
    if unread:
        place = PLACES.get(unread)
        told = f"; wanted {place}" if place else ""
        return f"{unread} weights are no adapter that is read here{told}"
    if tuned and not config_beside(file):
        return f"{tuned} weights want {PEFT_CONFIG} beside them, and to be called {PEFT_FILE}"
    return None


def config_beside(file: Path) -> Path | None:
    """PEFT's configuration of an adapter's file, where PEFT wrote both."""
    config = file.with_name(PEFT_CONFIG)
    return config if file.name == PEFT_FILE and config.is_file() else None


def _marked(marks: dict[str, str], names: Collection[str]) -> str | None:
    return next((kind for mark, kind in marks.items() if any(mark in one for one in names)), None)
