"""What a client got, looked at as a picture."""

import base64
from io import BytesIO

import httpx
from PIL import Image

from gateway.images import encode


def opened(data: bytes | str) -> Image.Image:
    """An encoded picture, or the base64 of one, decoded whole."""
    raw = base64.b64decode(data, validate=True) if isinstance(data, str) else data
    image = Image.open(BytesIO(raw))
    image.load()
    return image


def fetched(url: str) -> Image.Image:
    """The picture that a URL leads anyone to."""
    answer = httpx.get(url)
    assert answer.status_code == 200, answer.text
    image = opened(answer.content)
    assert answer.headers["content-type"] == f"image/{(image.format or '').lower()}"
    return image


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures have the same pixels."""
    return one.size == other.size and one.tobytes() == other.tobytes()


def largest_difference(one: str | None, other: str | None) -> int | None:
    """How far apart the pictures of two base64 texts are, in [0, 255]."""
    assert one
    assert other
    return encode.largest_difference(base64.b64decode(one), base64.b64decode(other))
