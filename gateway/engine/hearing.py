"""What a pipeline's tokenizers make of a job's texts: what they cut, do not know, or never see.

Which window a pipeline cuts to, and whether it reads a negative prompt at all, is in its own
code. So its calls are listened to.
"""

import itertools
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Encoding

from gateway.job import Job
from gateway.remarks import Remark, once, shown

_WORD = re.compile(r"[^\W\d_]+")
MAX_WORDS = 8
"""As many are named."""


class Hearing:
    """Listens to the tokenizers of one sample; their names are those of its pipeline's parts."""

    def __init__(self, job: Job) -> None:
        self._texts = {"prompt": job.prompt}
        if job.negative_prompt:
            self._texts["negative_prompt"] = job.negative_prompt
        for name, value in job.arguments.items():
            if isinstance(value, str):
                self._texts[name] = value
        self._heard: set[str] = set()
        self._remarks: list[Remark] = []

    def note(self, tokenizer: Any, texts: Any, result: Any) -> None:
        """A call was made with these texts, and this came of it."""
        listed = [texts] if isinstance(texts, str) else texts
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            return
        encodings = getattr(result, "encodings", None) or [None] * len(listed)
        for text, encoding in zip(listed, encodings, strict=False):
            params = self._params(text)
            self._heard.update(params)
            if encoding is not None:
                self._remarks += _cut(params[0], text, encoding)
                self._remarks += _unknown(params[0], text, encoding, _unknown_id(tokenizer))

    def remarks(self) -> tuple[Remark, ...]:
        """What is to be told of it all."""
        unused = []
        if "negative_prompt" in self._texts.keys() - self._heard:
            why = "No tokenizer read the negative prompt: the pipeline takes none without guidance"
            unused = [Remark("negative_prompt_unused", "negative_prompt", f"{why}.")]
        return once([*self._remarks, *unused])

    def _params(self, text: str) -> list[str]:
        """Whose text it is: pipelines write around prompts, and some fold their case."""
        inside = _folded(text)
        lengths = {
            name: len(told)
            for name, value in self._texts.items()
            if (told := _folded(value)) in inside
        }
        longest = max(lengths.values(), default=0)
        return [name for name, length in lengths.items() if length == longest] or ["prompt"]


def _cut(param: str, text: str, encoding: Encoding) -> Iterable[Remark]:
    lost = [
        span
        for piece in encoding.overflowing
        for span, is_special in zip(piece.offsets, piece.special_tokens_mask, strict=True)
        if not is_special
    ]
    if lost:
        kept = encoding.special_tokens_mask.count(0)
        start, end = min(span[0] for span in lost), max(span[1] for span in lost)
        ignored = shown(text[start:end].strip())
        yield Remark(
            "prompt_cut",
            param,
            f"{len(lost)} of {kept + len(lost)} tokens were not read, since a text encoder takes "
            f"{kept}: {ignored!r}.",
        )


def _unknown(param: str, text: str, encoding: Encoding, unknown_id: int | None) -> Iterable[Remark]:
    """Words that have no token, or that come to pieces no larger than letters."""
    counts = [0] * (len(text) + 1)
    lost: dict[str, None] = {}
    for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if end > start:
            counts[start] += 1
            if id == unknown_id:
                lost[text[start:end].strip()] = None
    for match in _WORD.finditer(text):
        if _is_in_pieces(match[0], sum(counts[match.start() : match.end()])):
            lost[match[0]] = None
    if lost:
        named = shown(", ".join(repr(word) for word in itertools.islice(lost, MAX_WORDS)))
        more = f" and {len(lost) - MAX_WORDS} more" if len(lost) > MAX_WORDS else ""
        yield Remark("words_unknown", param, f"A text encoder does not know {named}{more}.")


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
    id = tokenizer.unk_token_id
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return None if id in others else id


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
