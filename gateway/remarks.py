"""What was not done as it was asked: drawn all the same, and said with the answer.

Clients read remarks as `warnings`, in every dialect.
"""

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from gateway.errors import shortened

Code = Literal[
    "prompt_cut",
    "words_unknown",
    "syntax_unread",
    "negative_prompt_unused",
    "no_effect",
    "unknown_field",
    "steps_lowered",
    "guidance_changed",
    "size_changed",
    "scheduler_replaced",
    "background_opaque",
    "read_freely",
]
NOT_OF_PICTURES: frozenset[Code] = frozenset({"no_effect", "unknown_field"})
"""What a picture would look the same without."""

SHOWN_CHARACTERS = 200
"""Of what a client sent, as much is repeated."""

WEIGHT = "a weight"
BREAK = "a break"
READ_WITH_WEIGHTS = (WEIGHT, BREAK)
_SYNTAX = {
    WEIGHT: re.compile(
        r"\(\([^()]{1,200}\)\)|\([^()]{1,200}:\s*[0-9.]{1,8}\s*\)|\[[^\[\]]{1,200}:\s*[0-9.]{1,8}\]"
    ),
    BREAK: re.compile(r"(?<!\w)BREAK(?!\w)"),
    # In capitals altogether it is a word like the others.
    "a composition": re.compile(r"(?<=[a-z0-9,.)])\s+AND\s+(?=[a-z0-9(])"),
    "a LoRA": re.compile(r"<(?:lora|lyco|hypernet):[^<>]{1,200}>", re.IGNORECASE),
    "an embedding": re.compile(r"\bembedding:[\w./-]{1,200}", re.IGNORECASE),
    "alternatives": re.compile(r"\{[^{}|]{1,200}(?:\|[^{}|]{1,200})+\}"),
}


class Remark(msgspec.Struct, frozen=True):
    """One thing that was not done as asked; `param` is the field as the client named it."""

    code: Code
    param: str | None
    message: str


def once(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """The same, each but once."""
    return tuple(dict.fromkeys(remarks))


def codes(remarks: Iterable[Remark]) -> list[str]:
    """The kinds of remarks there are."""
    return list(dict.fromkeys(remark.code for remark in remarks))


def of_picture(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Those that a picture would look different without."""
    return tuple(remark for remark in remarks if remark.code not in NOT_OF_PICTURES)


def no_effect(param: str, why: str) -> Remark:
    """A field that changed nothing."""
    return Remark("no_effect", param, f"'{shown(param)}' had no effect: {why}.")


def of_syntax(param: str, text: str | None, prompts: str = "plain") -> list[Remark]:
    """What other programs' users write into prompts to be read, and is drawn as words here."""
    read = READ_WITH_WEIGHTS if prompts == "weighted" else ()
    found = [
        (kind, match[0].strip())
        for kind, form in _SYNTAX.items()
        if kind not in read and (match := form.search(text or ""))
    ]
    return [
        Remark("syntax_unread", param, f"{shown(written)!r} was read as words, not as {kind}.")
        for kind, written in found
    ]


def shown(text: str) -> str:
    """A text short enough to be repeated to whoever sent it."""
    return shortened(text, SHOWN_CHARACTERS)
