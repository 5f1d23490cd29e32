"""What clients send is read for what it means; what means nothing is refused by name."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from gateway.errors import InvalidRequest, InvalidType, MissingParameter, OutOfRange
from gateway.outside.documents import decode_json
from gateway.outside.values import convert, value_at


class Inner(msgspec.Struct):
    scale: Annotated[float, Meta(ge=-1, le=1)] = 0.0


class Body(msgspec.Struct):
    prompt: Annotated[str, Meta(min_length=1, max_length=5)]
    n: Annotated[int, Meta(ge=1, le=10)] = 1
    stream: bool = False
    loras: Annotated[tuple[Inner, ...], Meta(max_length=2)] = ()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"n": "2"}, Body("x", n=2)),
        ({"n": 2.0}, Body("x", n=2)),
        ({"stream": "true"}, Body("x", stream=True)),
        ({"stream": "0"}, Body("x", stream=False)),
        ({"loras": [{"scale": "0.5"}]}, Body("x", loras=(Inner(0.5),))),
        ({"unknown": {"a": 1}}, Body("x")),
    ],
)
def test_lenient_where_the_meaning_is_plain(given: dict[str, Any], wanted: Body) -> None:
    assert convert({"prompt": "x", **given}, Body) == wanted


@pytest.mark.parametrize(
    ("given", "kind", "param", "code", "said"),
    [
        ({"prompt": 5}, InvalidType, "prompt", "invalid_type", "expected a string"),
        ({"prompt": ""}, MissingParameter, "prompt", "missing_required_parameter", "required"),
        ({"prompt": "x" * 6}, OutOfRange, "prompt", "string_above_max_length", "with length 6"),
        ({"n": 11}, OutOfRange, "n", "integer_above_max_value", "a value <= 10, but got 11"),
        ({"n": "0"}, OutOfRange, "n", "integer_below_min_value", "a value >= 1, but got 0"),
        ({"n": 1.5}, InvalidType, "n", "invalid_type", "expected an integer"),
        ({"n": "two"}, InvalidType, "n", "invalid_type", "expected an integer"),
        ({"stream": "maybe"}, InvalidType, "stream", "invalid_type", "expected a boolean"),
        (
            {"loras": [{}, {"scale": 3}]},
            OutOfRange,
            "loras[1].scale",
            "decimal_above_max_value",
            "got 3",
        ),
        ({"loras": [{}] * 3}, OutOfRange, "loras", "array_above_max_length", "length 3"),
    ],
)
def test_a_refusal_names_the_field_and_what_was_wanted(
    given: dict[str, Any], kind: type[InvalidRequest], param: str, code: str, said: str
) -> None:
    with pytest.raises(kind) as refused:
        convert({"prompt": "x", **given}, Body)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert said in refused.value.message


def test_an_absent_field_is_missed_by_name() -> None:
    with pytest.raises(MissingParameter) as refused:
        convert({"n": 1}, Body)
    assert refused.value.message == "Missing required parameter: 'prompt'."


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000, b'{"a":NaN}', b'{"a":1e999}']
)
def test_what_is_not_json_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_json(body)
    assert refused.value.code == "invalid_json"


def test_a_path_leads_to_a_value() -> None:
    data = {"loras": [{"scale": 1}, {"scale": 2}]}
    assert value_at(data, "loras[1].scale") == 2
    assert value_at(data, "loras[1].name.first") is None
