"""What became of a text in a tokenizer: how much was read, what was lost, what has no token.

Tokenizers written in Rust say it themselves; of those in Python the same is found out by
reading the text again, whole and in words.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from tokenizers import Encoding

_WORD = re.compile(r"[^\W\d_]+")
ORDINARY = "picture"
"""A word that whoever has words at all has: one who spells it spells everything."""
MAX_WORDS = 1000
"""As many of a text are looked up one by one."""
MAX_LOST = 200
"""Tokens that are turned back into the text they were."""


class Tokens(msgspec.Struct, frozen=True):
    """`num_read` and `num_lost` count tokens, marks apart; `lost` is the text of the latter.

    `unknown` are words without a token, or in pieces no larger than letters. `starts` is where
    in the text each token that was read begins; None where a tokenizer does not tell.
    """

    num_read: int
    num_lost: int
    lost: str
    unknown: tuple[str, ...]
    starts: tuple[int, ...] | None = None


def tokens_of(tokenizer: Any, text: str, row: Encoding | list[int]) -> Tokens:
    """A text that a tokenizer was called with; `row` is what the call made of it."""
    if isinstance(row, Encoding):
        return _told(text, row, _unknown_id(tokenizer))
    return _found_out(tokenizer, text, row)


def _told(text: str, encoding: Encoding, unknown_id: int | None) -> Tokens:
    lost = [
        span
        for piece in encoding.overflowing
        for span, is_special in zip(piece.offsets, piece.special_tokens_mask, strict=True)
        if not is_special
    ]
    start, end = min((span[0] for span in lost), default=0), max((e for _, e in lost), default=0)
    read = [
        span[0]
        for span, is_special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        if not is_special
    ]
    unknown = tuple(dict.fromkeys(_unknown(text, encoding, unknown_id)))
    return Tokens(len(read), len(lost), text[start:end].strip(), unknown, tuple(read))


def _unknown(text: str, encoding: Encoding, unknown_id: int | None) -> Iterator[str]:
    counts = [0] * (len(text) + 1)
    for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if end > start:
            counts[start] += 1
            if id == unknown_id:
                yield text[start:end].strip()
    for match in _WORD.finditer(text):
        if _is_in_pieces(match[0], sum(counts[match.start() : match.end()])):
            yield match[0]


def _found_out(tokenizer: Any, text: str, ids: list[int]) -> Tokens:
    whole = _encoded(tokenizer, text)
    num_read = _num_alike(whole, ids)
    lost = tokenizer.decode(whole[num_read : num_read + MAX_LOST], skip_special_tokens=True)
    unknown = tuple(dict.fromkeys(_unknown_words(tokenizer, text, whole)))
    return Tokens(num_read, len(whole) - num_read, lost.strip(), unknown)


def _unknown_words(tokenizer: Any, text: str, whole: list[int]) -> Iterator[str]:
    unknown_id = _unknown_id(tokenizer)
    if unknown_id in whole:
        words = islice(dict.fromkeys(text.split()), MAX_WORDS)
        yield from (word for word in words if unknown_id in _encoded(tokenizer, word))
    found = (match[0] for match in _WORD.finditer(text) if not match[0].isascii())
    strange = list(islice(dict.fromkeys(found), MAX_WORDS))
    if strange and len(_encoded(tokenizer, ORDINARY)) < len(ORDINARY):
        for word in strange:
            if _is_in_pieces(word, len(_encoded(tokenizer, word))):
                yield word


def _encoded(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _num_alike(whole: list[int], given: list[int]) -> int:
    """How many of a text's tokens were given, behind marks and padding."""
    begin = given.index(whole[0]) if whole and whole[0] in given else len(given)
    pairs = list(zip(whole, given[begin:], strict=False))
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _is_in_pieces(word: str, num_tokens: int) -> bool:
    """Whether a word was read letter by letter, or byte by byte.

    One token a character is nothing strange in scripts that write syllables or ideas.
    """
    if word.isascii():
        return False
    has_letters = word.lower() != word.upper()
    return num_tokens > len(word) or (has_letters and num_tokens == len(word) > 3)


def _unknown_id(tokenizer: Any) -> int | None:
    """The token that stands for what has none, unless it is also another's."""
    id: int | None = tokenizer.unk_token_id
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return None if id in others else id
