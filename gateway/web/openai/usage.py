"""What an answer's `usage` counts, and how each of OpenAI's routes says it.

- **Text tokens** are those that the pipeline's tokenizers read of the prompt and the negative
  prompt: what is cut off or unheard is not counted, nor are marks or what a pipeline writes around
  them. Of several tokenizers the one counts that read most. A pipeline without any is taken to
  read a token per four characters.
- **Image tokens** are patches of 16 by 16 pixels, rounded up on each side: of a latent of an
  eighth of the size, two by two, as most transformers divide it. Those of the output are of the
  pictures as they are drawn, before they are resampled; those of the input are of the pictures
  that an edit begins with and that ControlNets are shown, as the pipeline gets them.

The input counts once a request, however many pictures come of it; in a stream with the first.
"""

import math
from typing import Any

import msgspec

from gateway.job import Job
from gateway.studio import Picture

PATCH = 16
"""Pixels on each side of what counts as an image token."""

CHARACTERS = 4
"""Of a text, as a token, where no tokenizer reads it."""


class Tokens(msgspec.Struct, frozen=True):
    """How usage splits."""

    text_tokens: int = 0
    image_tokens: int = 0

    @property
    def total(self) -> int:
        """Of both kinds."""
        return self.text_tokens + self.image_tokens


class Usage(msgspec.Struct, frozen=True):
    """Tokens as OpenAI's Images count them."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_tokens_details: Tokens
    output_tokens_details: Tokens

    @classmethod
    def of(cls, job: Job, pictures: list[Picture], *, is_first: bool = True) -> "Usage":
        """What some pictures of a job took; the input is counted with the first."""
        read = _read(job, pictures) if is_first else Tokens()
        drawn = Tokens(image_tokens=len(pictures) * image_tokens(job.width, job.height))
        return cls(read.total + drawn.total, read.total, drawn.total, read, drawn)


class CachedTokens(msgspec.Struct, frozen=True):
    """How a chat's or response's input splits; nothing of it is charged less."""

    text_tokens: int
    image_tokens: int
    cached_tokens: int = 0


class MadeTokens(msgspec.Struct, frozen=True):
    """How a chat's or response's output splits."""

    text_tokens: int
    image_tokens: int
    reasoning_tokens: int = 0


class ChatUsage(msgspec.Struct, frozen=True):
    """The same as OpenAI's chats say it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: MadeTokens

    @classmethod
    def of(cls, usage: Usage) -> "ChatUsage":
        """What an answer took."""
        read, made = _details(usage)
        return cls(usage.input_tokens, usage.output_tokens, usage.total_tokens, read, made)


class ResponseUsage(msgspec.Struct, frozen=True):
    """The same as OpenAI's Responses say it."""

    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: MadeTokens
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        """What an answer took."""
        read, made = _details(usage)
        return cls(usage.input_tokens, read, usage.output_tokens, made, usage.total_tokens)


def image_tokens(width: int, height: int) -> int:
    """How many a picture of so many pixels is."""
    return math.ceil(width / PATCH) * math.ceil(height / PATCH)


def _read(job: Job, pictures: list[Picture]) -> Tokens:
    counted = [one.num_tokens for one in pictures if one.num_tokens is not None]
    characters = len(job.prompt) + len(job.negative_prompt or "")
    shown = (*job.images, *(control.image for control in job.controls))
    return Tokens(
        text_tokens=max(counted, default=math.ceil(characters / CHARACTERS)),
        image_tokens=sum(image_tokens(one.width, one.height) for one in shown),
    )


def _details(usage: Usage) -> tuple[CachedTokens, MadeTokens]:
    read: dict[str, Any] = msgspec.structs.asdict(usage.input_tokens_details)
    made: dict[str, Any] = msgspec.structs.asdict(usage.output_tokens_details)
    return CachedTokens(**read), MadeTokens(**made)
