"""What a conversation asks to be drawn: the last words of its user, and the pictures with them."""

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.errors import InvalidType, MissingParameter
from gateway.outside.spelling import is_absent
from gateway.web.door.bodies.uploads import MAX_IMAGES, Sources, Upload, check_count, named_picture

BY_USER = ("user", None)
TEXTS = ("text", "input_text", "output_text")
PICTURES = ("image_url", "input_image", "image")
OF_LANGUAGE = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "include", "instructions"),
        *("logit_bias", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens"),
        *("max_tool_calls", "modalities", "parallel_tool_calls", "prediction", "presence_penalty"),
        *("prompt_cache_retention", "reasoning", "reasoning_effort", "response_format"),
        *("service_tier", "stop", "store", "stream_options", "temperature", "text", "tool_choice"),
        *("top_k", "top_logprobs", "top_p", "truncation", "verbosity", "web_search_options"),
    }
)
"""Fields that mean something to a model of language, and ask for nothing of one that draws."""


class Said(msgspec.Struct, frozen=True):
    """Words, and the pictures with them as a request names them: `{image_url}`, `{file_id}` …"""

    prompt: str
    pictures: tuple[Any, ...] = ()

    async def upload(self, fields: dict[str, Any], sources: Sources, param: str) -> Upload:
        """The fields of a request for it, and the pictures themselves.

        Raises:
            InvalidRequest: there are too many pictures, or one is not to be had.
        """
        check_count(len(self.pictures))
        pictures = [await named_picture(one, param, sources) for one in self.pictures]
        return Upload(fields | {"prompt": self.prompt}, pictures)


def last_said(messages: Any, param: str) -> Said:
    """What the last message of a user says.

    Raises:
        InvalidRequest: there are no messages, or no words in the last.
    """
    if is_absent(messages):
        raise MissingParameter(param)
    if isinstance(messages, str):
        messages = [{"content": messages}]
    if not isinstance(messages, list):
        raise InvalidType(param, "a list of messages", type(messages).__name__)
    by_user = [one for one in messages if isinstance(one, dict) and one.get("role") in BY_USER]
    parts = list(_parts(by_user[-1].get("content"))) if by_user else []
    words = [str(part["text"]) for part in parts if part.get("type") in TEXTS and part.get("text")]
    if not "".join(words).strip():
        raise MissingParameter(param)
    pictures = [part for part in parts if part.get("type") in PICTURES and not _is_empty(part)]
    return Said("\n".join(words), tuple(pictures[: MAX_IMAGES + 1]))


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    """What a message is made of; a bare text is one."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        elif isinstance(part, dict):
            yield part


def _is_empty(part: dict[str, Any]) -> bool:
    return all(is_absent(value) for name, value in part.items() if name not in ("type", "detail"))
