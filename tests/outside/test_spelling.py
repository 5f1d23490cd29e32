"""However a value is spelled, it is read for what it means; and digits are 0 to 9."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from gateway.errors import InvalidRequest, MissingParameter
from gateway.images.store import PictureStore
from gateway.outside.inline import is_inline
from gateway.outside.spelling import Words, decimal, is_absent, truth, whole
from gateway.outside.unread import unread
from gateway.outside.values import convert
from gateway.runs.library.files import FileStore
from gateway.runs.library.signed import SignedUrls
from gateway.settings import Settings


class Untouched(str):
    """A text that is too long to be copied: a picture."""

    __slots__ = ()

    def strip(self, *_: Any) -> str:
        raise AssertionError

    lower = strip


class Inner(msgspec.Struct):
    scale: float = 1.0


class Body(msgspec.Struct):
    prompt: Words
    model: str | None = None
    mode: Literal["sync", "async"] | None = None
    n: Annotated[int, Meta(ge=1)] = 1
    scale: float | None = None
    stream: bool = False
    size: tuple[Inner, ...] = ()
    extra: dict[str, str] = {}


@pytest.mark.parametrize("nothing", [None, "", "  ", "null", "NULL", "undefined", "None", " null "])
def test_the_words_for_nothing_are_absent(nothing: Any) -> None:
    assert is_absent(nothing)
    fields = dict.fromkeys(("model", "mode", "n", "scale", "stream", "size"), nothing)
    assert convert({"prompt": "x", **fields}, Body) == Body("x")


def test_words_are_words() -> None:
    assert convert({"prompt": "null", "extra": {"a": " null "}}, Body) == Body(
        "null", extra={"a": " null "}
    )
    with pytest.raises(MissingParameter):
        convert({"prompt": None}, Body)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"mode": " SYNC "}, {"mode": "sync"}),
        ({"model": " emoji\n"}, {"model": "emoji"}),
        ({"n": " 2 "}, {"n": 2}),
        ({"n": "2.0"}, {"n": 2}),
        ({"n": 2.0}, {"n": 2}),
        ({"scale": "1e1"}, {"scale": 10.0}),
        ({"scale": ".5"}, {"scale": 0.5}),
        ({"stream": "On"}, {"stream": True}),
        ({"stream": 0}, {"stream": False}),
        ({"size": [{"scale": " 2"}]}, {"size": (Inner(2.0),)}),
    ],
)
def test_spellings(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert convert({"prompt": "x", **given}, Body) == Body("x", **wanted)


@pytest.mark.parametrize(
    "text",
    ["٣", "²", "１２", "1_000", "0x10", "nan", "inf", "-Infinity", "1e999", "9" * 5000, "1,5"],
)
def test_what_python_would_take_for_a_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="whole"):
        whole(text)
    with pytest.raises(ValueError, match="finite"):
        decimal(text)
    for field in ("n", "scale"):
        with pytest.raises(InvalidRequest) as refused:
            convert({"prompt": "x", field: text}, Body)
        assert refused.value.param == field


@pytest.mark.parametrize("value", [True, [], {}, None, "x"])
def test_what_is_no_number_at_all(value: Any) -> None:
    with pytest.raises(ValueError, match="whole"):
        whole(value)
    with pytest.raises(ValueError, match="finite"):
        decimal(value)


@pytest.mark.parametrize("value", [2, "maybe", None, float("nan")])
def test_what_is_neither_true_nor_false(value: Any) -> None:
    with pytest.raises(ValueError, match="truth"):
        truth(value)


def test_a_small_none_may_be_an_id() -> None:
    assert not is_absent("none")


def test_a_long_text_is_no_word_and_is_not_searched_for_one() -> None:
    long = Untouched("a" * 1000)
    assert not is_absent(long)
    assert not is_inline(long)
    assert unread({"complexity": long})[0].param == "complexity"
    with pytest.raises(ValueError, match="not a truth value"):
        truth(long)


async def test_a_long_text_is_no_url_of_this_gateway(tmp_path: Path) -> None:
    files = FileStore(Settings(data=tmp_path))
    signed = SignedUrls(PictureStore(Settings(data=tmp_path)), files)
    assert await signed.open(Untouched("a" * 10_000)) is None
