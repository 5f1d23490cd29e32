"""What is known of an endpoint's pipeline before it is loaded: its windows, its arguments."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import diffusers

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import EndpointCard
from gateway.catalog.sources.weights import index_file, pipeline_class
from gateway.engine.pipelines.call import hears, window
from gateway.engine.pipelines.modular import is_modular
from gateway.engine.weights.unusable import UNREADABLE

ASKED = ("negative_prompt", "guidance_scale", "true_cfg_scale")
"""What requests say that some pipelines' calls have no argument for."""

ENDLESS = 10**6
"""Tokenizers without a bound say a number beyond all."""


def abilities_of(card: EndpointCard) -> Abilities | None:
    """What an endpoint's files and the class they name say; None while they do not."""
    with suppress(*UNREADABLE):
        return _abilities(card)
    return None


def _abilities(card: EndpointCard) -> Abilities | None:
    index, name = index_file(card), pipeline_class(card)
    kind: Any = getattr(diffusers, name or "", None)
    if index is None or kind is None or is_modular(kind):
        return None
    tokens = _tokens(index.parent, window(kind, card.arguments) or ENDLESS)
    return Abilities(tokens, ignored_by(kind))


def ignored_by(kind: Any) -> tuple[str, ...]:
    """What requests say that a pipeline class does nothing with."""
    return tuple(name for name in ASKED if not hears(kind, name))


def _tokens(folder: Path, window: int) -> dict[str, int]:
    """The most tokens of each tokenizer that has a bound, with those of beginning and end."""
    found = {}
    for file in sorted(folder.glob("tokenizer*/tokenizer_config.json")):
        longest = min(json.loads(file.read_bytes()).get("model_max_length") or ENDLESS, window)
        if longest < ENDLESS:
            found[file.parent.name] = int(longest)
    return found
