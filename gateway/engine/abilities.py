"""What is known of an endpoint's pipeline before it is loaded: its windows, its arguments."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import EndpointCard
from gateway.catalog.weights import index_file, pipeline_class
from gateway.engine.call import hears

ASKED = ("negative_prompt", "guidance_scale", "true_cfg_scale")
"""What requests say that some pipelines' calls have no argument for."""

WINDOW = "max_sequence_length"
"""The argument by which a pipeline bounds a tokenizer that has no end of its own."""

ENDLESS = 10**6
"""Tokenizers without a bound say a number beyond all."""


def abilities_of(card: EndpointCard) -> Abilities | None:
    """What an endpoint's files and the class they name say; None while they are not here."""
    index, name = index_file(card), pipeline_class(card)
    kind: Any = getattr(diffusers, name or "", None)
    if index is None or kind is None:
        return None
    known = inspect.signature(kind.__call__).parameters
    ignores = tuple(name for name in ASKED if not hears(kind, name))
    return Abilities(_tokens(index.parent, _window(card, known)), ignores)


def _window(card: EndpointCard, known: Mapping[str, inspect.Parameter]) -> int:
    default = known[WINDOW].default if WINDOW in known else None
    bound = card.arguments.get(WINDOW, default)
    return bound if isinstance(bound, int) else ENDLESS


def _tokens(folder: Path, window: int) -> dict[str, int]:
    """The most tokens of each tokenizer that has a bound, with those of beginning and end."""
    found = {}
    for file in sorted(folder.glob("tokenizer*/tokenizer_config.json")):
        longest = min(json.loads(file.read_bytes()).get("model_max_length") or ENDLESS, window)
        if longest < ENDLESS:
            found[file.parent.name] = int(longest)
    return found
