"""Pictures written into a request: data URLs and base64, in every spelling that clients have."""

import base64
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.errors import InvalidRequest, shortened

_HEAD = re.compile(
    r"\s{0,100}+data:(?P<kind>([\w.+*-]{1,100}/[\w.+*-]{1,100})?(\s{0,100}+;[^,;]{0,200}){0,9}),",
    re.IGNORECASE,
)
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n\v\f"
_PIECE = 4 * 2**18
"""Characters of base64 decoded at once: a thread that does it lets others go on between."""

_BASE64_OF_PICTURES = ("iVBORw0KGgo", "/9j/", "_9j_", "R0lGOD", "UklGR")
"""How PNG, JPEG, GIF and WebP begin in base64."""

HEAD_CHARACTERS = 100
"""Of a text, as much is looked at to see whether it begins so."""


def inline_bytes(text: str, param: str) -> bytes:
    """The bytes of a data URL or of bare base64.

    Raises:
        InvalidRequest: it is neither.
    """
    head = _HEAD.match(text)
    encoded = text[head.end() :] if head else text
    try:
        return _decoded(encoded)
    except ValueError:
        if head and not head["kind"].lower().rstrip().endswith("base64"):
            return unquote_to_bytes(encoded)
        raise InvalidRequest(
            f"Invalid image '{shortened(param, 100)}': wanted a URL, a data URL or base64.",
            param=param,
            code="invalid_image",
        ) from None


def is_inline(text: str) -> bool:
    """Whether a text is a picture itself, and no name or address of one."""
    begin = "".join(text[:HEAD_CHARACTERS].split())  # wrapped base64 may be so anywhere
    return bool(_HEAD.match(text)) or begin.startswith(_BASE64_OF_PICTURES)


def source_of(entry: Any) -> str | None:
    """What names a picture, or is one, in `{image_url}`, `{url}`, `{image}`, `{b64_json}` or bare.

    Objects stand in each other: `{"image_url": {"url": "…"}}`. None where nothing does.
    """
    for _ in range(3):
        if not isinstance(entry, dict):
            break
        names = ("image_url", "url", "image", "b64_json")
        entry = next((entry[name] for name in names if entry.get(name)), None)
    return entry.strip() or None if isinstance(entry, str) else None


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet, wrapped or not, padded or not, percent-encoded or not.

    Raises:
        ValueError: it is none.
    """
    encoded = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    plain = encoded.translate(_ALPHABET, _SPACE).rstrip(b"=")
    plain += b"=" * (-len(plain) % 4)
    if b"=" in plain[:-2]:
        raise ValueError("padding before the end")
    pieces = (plain[start : start + _PIECE] for start in range(0, len(plain), _PIECE))
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])
