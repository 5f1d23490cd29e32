"""What a file is that lies among models and is none, told by its head."""

import re
from collections.abc import Collection
from pathlib import Path

from gateway.catalog.heads.endings import GGUF, ends
from gateway.catalog.heads.headers import read_header
from gateway.catalog.heads.kinds import CONTROL_LORA, unread_in
from gateway.catalog.heads.shapes import shapes_of

_FOLDERS = {
    "ControlNet": "controlnets/ENDPOINT", "textual inversion": "embeddings/ENDPOINT",
    "IP-Adapter": "controlnets/ENDPOINT/NAME, beside its image_encoder",
}  # fmt: skip
_ADAPTERS = "adapters/ENDPOINT"

_PARTS = {
    "a text encoder alone, which a card names as components.text_encoder": re.compile(
        r"(text_model|text_projection|logit_scale|embeddings|final_layer_norm|ln_final|shared|"
        r"transformer\.resblocks|(token|positional)_embedding|lm_head|visual|spiece_model|"
        r"encoder\.(block|layers|final_layer_norm)|model\.(layers|embed_tokens|norm|visual)|"
        r"model\.language_model|"
        r"((enc|dec|v)\.)?(blk|output_norm|patch_embd|position_embd|(pre|post)_ln)|token_embd|output|"
        r"rope_freqs|mm)\b"
    ),
    "an autoencoder alone, which a card names as components.vae": re.compile(
        r"(first_stage_model\.)?(encoder|decoder|(post_)?quant_conv|conv[12]|bn|loss)\b"
    ),
    "an upscaler, which is not read here": re.compile(r"(model\.\d|conv_|body|RRDB_|upsampl)"),
}
"""How all of the names begin of what is no model by itself."""


def why_no_model(file: Path) -> str | None:
    """What a file is instead of a model, and where it belongs; None where nothing tells.

    Raises:
        CardError: it is no whole file of weights.
    """
    header = None if ends(file, GGUF) else read_header(file)
    if header and header.unread:
        folder = _FOLDERS.get(header.unread)
        where = f"and belongs into the folder {folder}" if folder else "which is not read here"
        return f"it is no model but {_one(header.unread)}, {where}"
    if header and header.kinds:
        kind = _one(header.kinds[0])
        return f"it is no model but {kind}, and belongs into the folder {_ADAPTERS}"
    part = _part_in(shapes_of(file))
    return f"it is no model but {part}" if part else None


def is_no_model(names: Collection[str]) -> bool:
    """Whether names are of something else for sure, however like a model's some of them are."""
    unread = unread_in(names)
    is_adapter = unread != CONTROL_LORA or any("lora" in name for name in names)
    return (unread is not None and is_adapter) or _part_in(names) is not None


def _one(name: str) -> str:
    return f"{'an' if name.startswith(tuple('AEIO')) else 'a'} {name}"


def _part_in(names: Collection[str]) -> str | None:
    told = (part for part, known in _PARTS.items() if names and all(map(known.match, names)))
    return next(told, None)
