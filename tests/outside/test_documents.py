"""JSON in any Unicode encoding; what it decodes to can be written again."""

import json
import time

import msgspec
import pytest

from gateway.errors import InvalidRequest, TooLarge
from gateway.outside.documents import MAX_DEPTH, MAX_JSON_BYTES, MAX_VALUES, Reading, decode_json

DECODE_SECONDS = 0.05
"""That the event loop may be held; the tests allow ten times that."""

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
        b'[{"a": ["\\u0000"]}]',
        b'["\0"]',
        '["\\u0000"]'.encode("utf-16-le"),
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


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1e308," * 70_000 + b"1]",
        b"[" + (b"9" * 600 + b",") * 25_000 + b"1]",
        b"[" + b"[]," * 200_000 + b"1]",
        b"{" + b",".join(b'"%d":0' % number for number in range(200_000)) + b"}",
        b'"' + b"\\n" * (3 * 2**20) + b'"',
        b'"' + "中".encode() * 2**20 + b'"',
    ],
    ids=["exponents", "digits", "lists", "keys", "escapes", "signs"],
)
def test_what_costs_more_than_its_bytes_is_read_or_refused_soon(body: bytes) -> None:
    before = time.thread_time()
    with pytest.raises(InvalidRequest):
        decode_json(body)
    assert time.thread_time() - before < 10 * DECODE_SECONDS


def test_a_large_picture_is_plain_however_it_is_wrapped() -> None:
    picture = "\r\n".join(["A" * 63 + "/"] * 2**16)
    text = json.dumps({"prompt": "пёс", "image": f"data:;base64,{picture}"}, ensure_ascii=False)
    body = text.replace("/", "\\/").encode()
    assert decode_json(body)["image"].endswith("\n" + "A" * 63 + "/")
    reading = Reading()
    for start in range(0, len(body), 1000):
        reading.add(body[start : start + 1000])
    assert reading.document() == decode_json(body)


def test_a_document_is_refused_before_it_is_whole() -> None:
    reading = Reading()
    reading.add(b"0," * MAX_VALUES)
    with pytest.raises(InvalidRequest, match=f"{MAX_VALUES} values"):
        reading.add(b"0,")


def test_a_document_has_a_bound_and_the_refusal_says_what_to_do() -> None:
    fits = b'"' + b"a" * (MAX_JSON_BYTES - 2) + b'"'
    assert len(decode_json(fits)) == MAX_JSON_BYTES - 2
    with pytest.raises(TooLarge) as refused:
        decode_json(fits + b" ")
    assert "multipart/form-data" in refused.value.message


def test_decimals_are_read_to_the_last_bit() -> None:
    texts = ["0.1", "1e23", "-1.7976931348623157e308", "5e-324", "123456789.123456789e-30"]
    assert decode_json(f"[{','.join(texts)}]".encode()) == [float(text) for text in texts]
