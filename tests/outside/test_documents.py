"""JSON in any Unicode encoding; what it decodes to can be written again."""

import msgspec
import pytest

from gateway.errors import InvalidRequest
from gateway.outside.documents import MAX_DEPTH, MAX_VALUES, decode_json

DEEPEST = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding: str) -> None:
    assert decode_json('{"prompt": "é"}'.encode(encoding)) == {"prompt": "é"}


@pytest.mark.parametrize(
    "body",
    [
        b"[" + DEEPEST + b"]",
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
        b'["a\\u0000b"]',
        b'{"\\u0000": 1}',
        b"9" * 5000,
        b"[" + b"9" * 400 + b"]",
        b"[1e400]",
        b'["\\ud800"]',
        b"\xff\xfe\x00",
    ],
)
def test_what_could_not_be_kept_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_json(body)
    assert refused.value.code == "invalid_json"


def test_the_bounds_are_within_what_is_taken() -> None:
    decode_json(DEEPEST)
    assert decode_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_numbers_beyond_64_bits_are_decimals() -> None:
    found = decode_json(b'{"a": 18446744073709551616, "b": [-9223372036854775809, 5]}')
    assert found == {"a": 2.0**64, "b": [-(2.0**63) - 1, 5]}
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
