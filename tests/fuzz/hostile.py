"""Where hostile values are put in a valid request, and how its bytes are spoilt."""

import copy
import gzip
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from tests.fuzz.values import HEADER_NAMES, HEADER_VALUES, RAW_VALUES, SEGMENTS, TEXTS, VALUES
from tests.fuzz.wire import Sent

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
