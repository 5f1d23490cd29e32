"""Pictures written into a request, in every spelling that clients have for base64."""

import base64
from typing import Any
from urllib.parse import quote

import pytest

from gateway.errors import InvalidRequest
from gateway.outside.inline import inline_bytes, is_inline, source_of

DATA = bytes(range(250, 256)) * 20 + b"?>"
PLAIN = base64.b64encode(DATA).decode()
URLSAFE = base64.urlsafe_b64encode(DATA).decode()
WRAPPED = base64.encodebytes(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        URLSAFE,
        WRAPPED,
        WRAPPED.replace("\n", "\r\n"),
        PLAIN.rstrip("="),
        quote(PLAIN, safe=""),
        f"data:image/png;base64,{PLAIN}",
        f"DATA:image/PNG;BASE64,{PLAIN}",
        f"  data:;base64,{URLSAFE}",
        f"data:image/png;charset=utf-8;base64,{WRAPPED}",
        f"data:image/png;name=a b.png; base64,{quote(PLAIN)}",
        f"data:image/png,{PLAIN}",
        f"data:image/png,{quote(DATA)}",
    ],
)
def test_every_spelling_is_the_same_bytes(text: str) -> None:
    assert inline_bytes(text, "image") == DATA


@pytest.mark.parametrize(
    "text", ["https:/nope", "data:image/png;base64,!!!", "abcde", "é", "%ff%fe"]
)
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        inline_bytes(text, "mask")
    assert refused.value.param == "mask"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("data:image/png;base64,AAAA", True),
        ("iVBORw0KGgoAAAA", True),
        (" iVBORw\r\n0KGgoA AAA", True),
        ("data: what it is, and what it is not", False),
        ("img_0123456789abcdef", False),
        ("https://a.example/a.png", False),
    ],
)
def test_pictures_are_told_from_names(text: str, wanted: bool) -> None:
    assert is_inline(text) is wanted


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("a", "a"),
        ({"url": "a"}, "a"),
        ({"image_url": {"url": " a "}}, "a"),
        ({"image": "a"}, "a"),
        ({"b64_json": "a"}, "a"),
        ({"image": {"image_url": {"url": "a"}}}, "a"),
        ({"url": 5}, None),
        ({}, None),
        ([], None),
        ("", None),
    ],
)
def test_where_a_picture_is_said(entry: Any, wanted: str | None) -> None:
    assert source_of(entry) == wanted


def test_base64_of_any_length_is_decoded_and_checked_whole() -> None:
    data = bytes(range(256)) * 20_000
    text = base64.b64encode(data).decode()
    assert inline_bytes(text, "image") == data
    assert inline_bytes(" \n".join(text[n : n + 76] for n in range(0, len(text), 76)), "i") == data
    for broken in (f"{text[:1000]}={text[1001:]}", f"{text[:1000]}é{text[1001:]}"):
        with pytest.raises(InvalidRequest):
            inline_bytes(broken, "image")
