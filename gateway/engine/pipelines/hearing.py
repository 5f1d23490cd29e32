"""What a pipeline's tokenizers make of a job's texts: what they cut, do not know, or never see.

Which window a pipeline cuts to, and whether it reads a negative prompt at all, is in its own
code. So its calls are listened to.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Encoding

from gateway.engine.pipelines.tokens import Tokens, tokens_of
from gateway.job import Job
from gateway.remarks import Remark, once, shown

MAX_WORDS = 8
"""As many are named."""


class Hearing:
    """Listens to the tokenizers of one sample; their names are those of its pipeline's parts."""

    def __init__(self, job: Job) -> None:
        self._texts = {"prompt": job.prompt}
        self._reads_all = job.prompts == "weighted"
        # Read in pieces, with weights, it would not be known again.
        if job.negative_prompt and not self._reads_all:
            self._texts["negative_prompt"] = job.negative_prompt
        for name, value in job.arguments.items():
            if isinstance(value, str):
                self._texts[name] = value
        self._heard: set[str] = set()
        self._remarks: list[Remark] = []
        self._spans: list[tuple[str, str, tuple[int, ...]]] = []
        self._counts: dict[int, dict[str, int]] = {}

    def note(self, tokenizer: Any, texts: Any, result: Any) -> None:
        """A call was made with these texts, and this came of it."""
        listed = [texts] if isinstance(texts, str) else texts
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            return
        for text, row in zip(listed, _rows(result), strict=False):
            params = self._params(text)
            self._heard.update(params)
            tokens = tokens_of(tokenizer, text, row)
            cut = () if self._reads_all else _cut(params[0], tokens)
            self._remarks += [*cut, *_unknown(params[0], tokens)]
            self._spans += [(params[0], text, tokens.starts or ())]
            counts = self._counts.setdefault(id(tokenizer), {})
            counts.setdefault(text, self._num_own(params[0], text, tokens))

    @property
    def num_tokens(self) -> int | None:
        """Tokens of the job's texts, by the tokenizer that read most; None where none did."""
        return max((sum(counts.values()) for counts in self._counts.values()), default=None)

    def remarks(self, window: int | None = None) -> tuple[Remark, ...]:
        """What is to be told of it all.

        `window` is how many tokens of a prompt the pipeline's call says that it takes: what a
        tokenizer read beyond is cut off later.
        """
        unused = []
        if "negative_prompt" in self._texts.keys() - self._heard:
            why = "No tokenizer read the negative prompt: the pipeline takes none without guidance"
            unused = [Remark("negative_prompt_unused", "negative_prompt", f"{why}.")]
        return once([*self._remarks, *self._beyond(window), *unused])

    def _beyond(self, window: int | None) -> Iterator[Remark]:
        told = {remark.param for remark in self._remarks if remark.code == "prompt_cut"}
        for param, text, starts in self._spans:
            begin, end = self._place(param, text)
            inside = [start for start in starts if begin <= start < end]
            if window is not None and param not in told and begin >= 0 and len(inside) > window:
                yield _told_cut(param, window, len(inside), text[inside[window] : end])

    def _place(self, param: str, text: str) -> tuple[int, int]:
        """Where in a text that was read a job's own stands; below 0 where it does not."""
        own = self._texts.get(param, "")
        begin = text.find(own)
        return begin, begin + len(own)

    def _num_own(self, param: str, text: str, tokens: Tokens) -> int:
        """How many tokens of a job's own text were read, without what a pipeline writes around."""
        begin, end = self._place(param, text)
        if begin < 0 or tokens.starts is None:
            return tokens.num_read
        return sum(begin <= start < end for start in tokens.starts)

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


def _cut(param: str, tokens: Tokens) -> Iterator[Remark]:
    if tokens.num_lost:
        total = tokens.num_read + tokens.num_lost
        yield _told_cut(param, tokens.num_read, total, tokens.lost)


def _told_cut(param: str, num_read: int, total: int, lost: str) -> Remark:
    return Remark(
        "prompt_cut",
        param,
        f"{total - num_read} of {total} tokens were not read, since a text encoder takes "
        f"{num_read}: {shown(lost.strip())!r}.",
    )


def _unknown(param: str, tokens: Tokens) -> Iterator[Remark]:
    if tokens.unknown:
        named = shown(", ".join(map(repr, tokens.unknown[:MAX_WORDS])))
        num_more = len(tokens.unknown) - MAX_WORDS
        more = f" and {num_more} more" if num_more > 0 else ""
        yield Remark("words_unknown", param, f"A text encoder does not know {named}{more}.")


def _rows(result: Any) -> Sequence[Encoding | list[int]]:
    """What each text became, whatever it came in."""
    encodings: list[Encoding] | None = getattr(result, "encodings", None)
    if encodings:
        return encodings
    ids: Any = getattr(result, "input_ids", None)
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    if isinstance(listed, list) and listed and isinstance(listed[0], list):
        return listed
    return [listed or []]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
