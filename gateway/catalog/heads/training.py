"""What whoever trained an adapter wrote into its file: for which model, and the words to say.

The notes are kohya's (`ss_*`) and the model spec's (`modelspec.*`); nobody checks them, so that
they are shown and never obeyed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

MAX_CHARACTERS = 60
MAX_WORDS = 8
USUAL = 0.9
"""In as many of a set's pictures a tag stands that is said to bring them about."""

_ARCHITECTURE = ("modelspec.architecture", "ss_base_model_version")
_PHRASES = ("modelspec.trigger_phrase", "modelspec.trigger_words", "ss_trigger_words")
_REPEATS = re.compile(r"\d+_")

_FAMILIES = {
    "Stable Diffusion XL": (
        r"sdxl|stable-diffusion-xl|pony(?! v7)|illustrious|noobai",
        "StableDiffusionXL",
    ),
    "Stable Diffusion 3": (r"sd ?3|stable-diffusion-3", "StableDiffusion3"),
    "Stable Diffusion": (
        r"sd[-_ ]?v?[12]|stable-diffusion-v?[12]",
        r"(LatentConsistencyModel|StableDiffusion)(?!XL|3)",
    ),
    "FLUX.2": (r"flux-?\.?2", "Flux2"),
    "FLUX.1": (r"flux", r"(Flux|Chroma)(?!2)"),
    "Qwen-Image": (r"qwen", "QwenImage"),
    "Z-Image": (r"z-?_?image", "ZImage"),
    "Sana": (r"sana", "Sana"),
    "Lumina": (r"lumina", "Lumina"),
    "HiDream": (r"hidream", "HiDream"),
}
"""How trainers write down a family, and what its pipelines are called."""


def made_for(facts: Mapping[str, Any]) -> str | None:
    """The architecture that a file is said to be for."""
    return shown(next((str(facts[key]) for key in _ARCHITECTURE if facts.get(key)), ""))


def trigger_words(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that a file is said to answer to; else what all of its pictures were called."""
    told = (facts.get(key) for key in _PHRASES)
    phrase = next((text for text in told if text and isinstance(text, str)), "")
    words = phrase.split(",") if phrase else _usual_tags(facts.get("ss_tag_frequency"))
    return tidy(words)


def shown(told: str) -> str | None:
    """What somebody wrote down, if it is short enough and a text."""
    return told[:MAX_CHARACTERS] if told and told.isprintable() else None


def tidy(words: Iterable[str]) -> tuple[str, ...]:
    """Some words to say, as many as are shown."""
    plain = (" ".join(word.split())[:MAX_CHARACTERS] for word in words)
    return tuple(dict.fromkeys(word for word in plain if word and word.isprintable()))[:MAX_WORDS]


def is_stranger(made_for: str | None, pipeline: str | None) -> bool:
    """Whether a file is said to be for another family than a pipeline's class is of."""
    meant = _family(made_for, 0, re.IGNORECASE)
    own = _family(pipeline, 1, re.NOFLAG)
    return None not in (meant, own) and meant != own


def _family(text: str | None, side: int, flags: re.RegexFlag) -> str | None:
    return next(
        (name for name, told in _FAMILIES.items() if text and re.match(told[side], text, flags)),
        None,
    )


def _usual_tags(text: Any) -> list[str]:
    """The tags of nearly all pictures of a set, by how often the sets have them."""
    try:
        sets = msgspec.json.decode(str(text), type=dict[str, dict[str, int]])
    except (msgspec.MsgspecError, RecursionError):
        return []
    words: list[str] = []
    for name, counts in sets.items():
        most = max(counts.values(), default=0)
        usual = [tag for tag, count in counts.items() if count >= USUAL * most]
        # Where nothing is told of pictures one by one, their folder is called after them.
        words += usual if counts else [_REPEATS.sub("", name, count=1)]
    return words
