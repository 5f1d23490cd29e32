"""Fields that are not read, or read for nothing: said with the answer, never refused."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gateway.outside.parameters import ALIASES, CONTROL_FIELDS, GenerationRequest
from gateway.outside.spelling import is_absent, is_word
from gateway.remarks import Remark, no_effect, shown

ONE_QUALITY = "the endpoint draws in one quality, and num_inference_steps says how finely"
IDLE = {
    "complexity": ONE_QUALITY,
    "style": "the prompt and the adapters say what a picture looks like",
    "moderation": "nothing is moderated here",
    "input_fidelity": "strength says how much of a picture is redrawn",
    "clip_skip": "a request chooses no layers of text encoders",
}
"""Fields that clients know from elsewhere, and why they change nothing."""

SILENT = frozenset(
    {
        *("user", "safety_identifier", "prompt_cache_key", "metadata", "extra_body"),
        "disable_safety_checker",
    }
)
"""Fields that ask for nothing."""

_OF_REQUESTS = {
    *GenerationRequest.__struct_fields__,
    *(alias for aliases in ALIASES.values() for alias in aliases),
    "width",
    "height",
    *CONTROL_FIELDS,
}
_OF_EDITS = frozenset({"strength"})
MAX_NAMED = 16
"""Unknown fields that are named one by one; a body may have thousands."""

MAX_CHARACTERS = 64


def unread(given: Mapping[str, Any], *more: str, edits: bool = False) -> tuple[Remark, ...]:
    """What is to be said of a body's fields; `more` are those that the dialect reads besides."""
    known = {*_OF_REQUESTS, *more} - (frozenset() if edits else _OF_EDITS)
    said = {name: value for name, value in given.items() if not is_absent(value)}
    idle = [
        no_effect(name, why)
        for name, why in IDLE.items()
        if name in said and not (is_word(said[name]) and said[name].strip().lower() == "auto")
    ]
    strange = [name for name in said if name not in known | IDLE.keys() | SILENT]
    return (*idle, *unknown(strange, known | IDLE.keys()))


def unknown(names: Sequence[str], known: Collection[str]) -> list[Remark]:
    """What is to be said of names that mean nothing among some that do."""
    found = [
        Remark(
            "unknown_field", shown(name), f"{shown(name)!r} is not known here{_near(name, known)}"
        )
        for name in names[:MAX_NAMED]
    ]
    if len(names) > MAX_NAMED:
        more = len(names) - MAX_NAMED
        found.append(Remark("unknown_field", None, f"{more} more fields are not known here."))
    return found


def _near(name: str, known: Collection[str]) -> str:
    """The field that was meant, if there is one."""
    if len(name) > MAX_CHARACTERS:
        return "."
    # Camel case and hyphens are the commonest misspellings.
    folded = "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)
    folded = folded.replace("-", "_").strip("_")
    near = difflib.get_close_matches(folded, known, 1, 0.75)
    return f"; did you mean '{near[0]}'?" if near else "."
