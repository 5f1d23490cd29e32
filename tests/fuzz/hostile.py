"""Values that have broken servers, and where they are put in a valid request."""

import copy
import gzip
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from tests.fuzz.wire import Sent

DEEP = 3000
NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    0.5,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    4.0,
    1e21,
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-inf",
    "0x10",
    "1_000",
    "٣",
    "²",
    "１２",
    "9" * 100,
    "9" * 5000,
    " 4 ",
    "+4",
    "4.",
    ".5",
    "--1",
    "1,000",
)
TEXTS = (
    "",
    " ",
    "null",
    "undefined",
    "None",
    "NULL",
    "\x00",
    "a\x00b",
    "\x01\x1b[2J",
    "\u202e",
    "\ufeff",
    "\U0010ffff",
    "é" * 200,
    "a" * 300,
    "a" * 70_000,
    "../../etc/passwd",
    "a/../b",
    "%00",
    "%s%n{0}",
    "'\"--;",
    "<b>",
    "\r\nX: y",
    "data:image/png;base64,AAAA",
    "data:,",
    "data:image/png;base64,!!!",
    "data:" + "x" * 500,
    "file:///etc/hosts",
    "http://",
    "http://[",
    "http://a:99999/",
    "//",
    "a:b",
    "[1,2",
    "{",
    "[" * DEEP,
    '{"a":' * DEEP,
    "true",
    "on",
)
SHAPES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
    ["1"],
    ["1", "0"],
    [1, -1],
    ["3", True],
    ["3", 0, 0],
    [["3"], 0],
    {"__value__": ["x"]},
    {"__value__": {"__value__": 1}},
    {"class_type": []},
    {"inputs": []},
    {"url": 5},
    {"width": "128", "height": "128"},
    {"width": None},
    [128.0, 128.0],
    [128],
    ["a"] * 2000,
)
VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *SHAPES)
RAW_VALUES = (
    b"9" * 5000,
    b"-" + b"9" * 400,
    b"1e400",
    b"NaN",
    b"Infinity",
    b"1e-400",
    b"18446744073709551616",
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * 99 + b"1" + b"}" * 99,
    b'{"a":1,"a":2}',
    b"01",
    b"'a'",
    b"undefined",
    b"",
)
"""Put into JSON as they stand: no encoder would write them."""

HEADER_NAMES = (
    b"host",
    b"content-type",
    b"content-encoding",
    b"accept",
    b"authorization",
    b"x-api-key",
    b"x-request-id",
    b"x-request-timeout",
    b"idempotency-key",
    b"user-agent",
    b"origin",
    b"if-none-match",
    b"range",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"forwarded",
    b"x-stainless-retry-count",
    b"x-stainless-lang",
    b"cookie",
    b"accept-encoding",
    b"te",
    b"access-control-request-method",
    b"access-control-request-headers",
)
HEADER_VALUES = (
    b"",
    b" ",
    b"a:b",
    b"a:99999",
    b"[::1",
    b"[::1]:x",
    b"a b",
    b'a"><b>',
    b"\xff\xfe",
    b"\xc3\xa9",
    b",",
    b";",
    b"=",
    b"\xd9\xa3",
    b"-1",
    b"0",
    b"1e400",
    b"nan",
    b"9" * 400,
    b"gzip",
    b"gzip, br",
    b"identity",
    b"*/*;q=x",
    b"application/json;q=0.1, image/png",
    b"image/*;q=nan",
    b"application/json; charset=nope",
    b"application/json; charset=utf-16",
    b"multipart/form-data",
    b"multipart/form-data; boundary=",
    b"multipart/form-data; boundary=\xc3\xa9",
    b"application/x-www-form-urlencoded",
    b"text/plain",
    b"image/png",
    b"proto=https;host=images.example",
    b'for="[::1]";host="a b"',
    b"javascript",
    b"../..",
    b"bytes=9-1",
    b"speakeasy-sdk/python friendli",
    b"a" * 4000,
    b"Bearer \xff",
    b"Basic Og==",
)
SEGMENTS = (
    b"%00",
    b"a%00b",
    b"%",
    b"%zz",
    b"%ff",
    b"%c3%28",
    b"..",
    b"%2e%2e",
    b"%2f%2f",
    b"//",
    b".",
    b"a" * 300,
    b"null",
    b"undefined",
    b"%20",
    b"%0d%0a",
    b"%d9%a3",
    b"\xd9\xa3",
    b"~",
    b"*",
    b"a:b",
    b"%F0%9F%98%80",
)
Mutate = Callable[[random.Random, Sent], Sent]


def mutated(rng: random.Random, sent: Sent, mutations: "tuple[Mutate, ...]") -> Sent:
    """A request after one to three mutations."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        sent = rng.choice(mutations)(rng, sent)
    return sent


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside decoded JSON."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from places(value[key])


def json_mutated(rng: random.Random, sent: Sent) -> Sent:
    """A value of a JSON body replaced, removed, copied elsewhere or written in raw."""
    try:
        data = msgspec.json.decode(sent.body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return body_mutated(rng, sent)
    found = list(places(data))
    if not found:
        return _with(sent, body=_encoded(rng.choice(VALUES)))
    container, key = rng.choice(found)
    match rng.randrange(6):
        case 0:
            del container[key]
        case 1:
            mark = f"{rng.getrandbits(64):x}"
            container[key] = mark
            return _with(
                sent, body=_encoded(data).replace(f'"{mark}"'.encode(), rng.choice(RAW_VALUES))
            )
        case 2:
            other, name = rng.choice(found)
            container[key] = copy.deepcopy(other.get(name) if isinstance(other, dict) else other)
        case 3 if isinstance(container, dict):
            container[rng.choice((*TEXTS[:14], "n", "size", "seed", "stream"))] = rng.choice(VALUES)
        case _:
            container[key] = rng.choice(VALUES)
    return _with(sent, body=_encoded(data))


def body_mutated(rng: random.Random, sent: Sent) -> Sent:
    """Bytes of a body cut, doubled, changed or wrapped. What names a host is left whole."""
    body = sent.body
    if b"//" in body or not body:
        return _with(sent, body=rng.choice((b"", b"{", b"[]", b"\xef\xbb\xbf{}", *RAW_VALUES)))
    at = rng.randrange(len(body))
    changed = (
        body[:at],
        body[at:],
        body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :],
        body[:at] + rng.choice(RAW_VALUES) + body[at:],
        b"\xef\xbb\xbf" + body,
        body.decode("utf-8", "replace").encode("utf-16"),
        body + body,
    )
    return _with(sent, body=rng.choice(changed))


def form_mutated(rng: random.Random, sent: Sent) -> Sent:
    """A part of a form changed: its head, its text, how often it comes."""
    parts = sent.body.split(b"\r\n--")
    if len(parts) < 2:
        return body_mutated(rng, sent)
    index = rng.randrange(len(parts))
    head, gap, text = parts[index].partition(b"\r\n\r\n")
    match rng.randrange(6):
        case 0:
            text = rng.choice((*map(_form_text, VALUES), b"\xff\xfe", b"\x00"))
        case 1:
            head = head.replace(b'filename="', b'filename*="')
        case 2:
            head += b"\r\nContent-Type: text/plain; charset=" + rng.choice(
                (b"nope", b"utf-16", b"\xff")
            )
        case 3:
            parts[index:index] = [parts[index]] * rng.choice((2, 20, 2000))
            return _with(sent, body=b"\r\n--".join(parts))
        case 4:
            head = head.replace(
                b'name="',
                b'name="' + rng.choice((b"loras[0][", b"[]", b"image[9]", b"\xff", b"")),
                1,
            )
        case _:
            text, gap = b"", rng.choice((gap, b""))
    parts[index] = head + gap + text
    return _with(sent, body=b"\r\n--".join(parts))


def query_mutated(rng: random.Random, sent: Sent) -> Sent:
    """A parameter of a query added, emptied, doubled or spoilt."""
    path, _, query = sent.target.partition(b"?")
    pairs = query.split(b"&") if query else []
    names = [pair.partition(b"=")[0] for pair in pairs]
    name = rng.choice(
        [*names, b"limit", b"after", b"page", b"pageSize", b"order", b"sig", b"search", b"run_id"]
    )
    value = rng.choice(
        (
            rng.choice(SEGMENTS),
            quote(str(rng.choice(VALUES))[:3000], errors="replace").encode(),
            b"",
            b"%ED%A0%80",
        )
    )
    kept = [pair for pair in pairs if rng.random() < 0.7 or pair.partition(b"=")[0] != name]
    kept += [name + b"=" + value] * rng.choice((1, 1, 1, 2, 1500))
    return _with(sent, target=path + b"?" + b"&".join(kept))


def path_mutated(rng: random.Random, sent: Sent) -> Sent:
    """A segment of a path replaced, added or removed."""
    path, mark, query = sent.target.partition(b"?")
    segments = path.split(b"/")[1:]
    index = rng.randrange(len(segments))
    match rng.randrange(3):
        case 0:
            segments[index] = rng.choice(SEGMENTS)
        case 1:
            segments.insert(index, rng.choice(SEGMENTS))
        case _:
            segments[index] += rng.choice(SEGMENTS)
    return _with(sent, target=b"/" + b"/".join(segments) + mark + query)


def header_mutated(rng: random.Random, sent: Sent) -> Sent:
    """A header added, replaced or sent twice."""
    name, value = rng.choice(HEADER_NAMES), rng.choice(HEADER_VALUES)
    kept = tuple(pair for pair in sent.headers if pair[0] != name or rng.random() < 0.1)
    if name == b"content-encoding" and value == b"gzip" and rng.random() < 0.5:
        return _with(sent, headers=(*kept, (name, value)), body=gzip.compress(sent.body))
    return _with(sent, headers=(*kept, (name, value)))


def method_mutated(rng: random.Random, sent: Sent) -> Sent:
    """Another method."""
    return _with(
        sent, method=rng.choice(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"))
    )


MUTATIONS: tuple[Mutate, ...] = (
    json_mutated,
    json_mutated,
    json_mutated,
    json_mutated,
    body_mutated,
    form_mutated,
    form_mutated,
    query_mutated,
    path_mutated,
    header_mutated,
    header_mutated,
    method_mutated,
)


def fitting(sent: Sent) -> tuple[Mutate, ...]:
    """The mutations that have something to change."""
    if sent.body.startswith(b"--"):
        return tuple(mutate for mutate in MUTATIONS if mutate is not json_mutated)
    if sent.body:
        return tuple(mutate for mutate in MUTATIONS if mutate is not form_mutated)
    return (
        query_mutated,
        query_mutated,
        path_mutated,
        path_mutated,
        header_mutated,
        method_mutated,
    )


def _with(sent: Sent, **changes: Any) -> Sent:
    return msgspec.structs.replace(sent, **changes)


def _encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _form_text(value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else _encoded(value)
