"""What requests come in, as large as it may be: forms, packed bodies, files, heads and queries."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.resilience.hostile import JSON, LARGE, MIB, Hostile, posted

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
HEAD_BYTES = 60_000
FORM = {"content-type": "multipart/form-data; boundary=x"}


def wrapped(model: str) -> Iterator[Hostile]:
    """Every kind of them."""
    yield from _values(model)
    yield from _forms()
    yield from _packed()
    yield from _files()
    yield from _heads()


def _values(model: str) -> Iterator[Hostile]:
    """JSON at its bounds, and what is done with it after it is decoded."""
    asked: dict[str, Any] = {"model": model, "prompt": "a"}
    value: Any
    names = ("model", "size", "quality", "style", "background", "output_format", "scheduler", "n")
    for name, value in (
        ("letters", "a" * (15 * MIB // len(names))),
        ("spaces", " " * (15 * MIB // len(names))),
        ("small lists", [["a"]] * 2000),
    ):
        yield posted(f"{name} under every name", GENERATIONS, asked | dict.fromkeys(names, value))
    for name, value in (
        ("small strings", ["ab"] * 49_000),
        ("depth", _nested(60)),
        ("15 MiB of letters", "a" * 15 * MIB),
        ("15 MiB of spaces", " " * 15 * MIB),
        ("15 MiB of quotes", '"' * (15 * MIB // 2)),
    ):
        for field in ("quality", "image_size", "user"):
            yield posted(f"{name} as {field}", GENERATIONS, asked | {field: value})
    unknown = {f"num_inference_step_{n}": n for n in range(990)}
    yield posted("990 fields that are nearly known", GENERATIONS, asked | unknown)
    for name, sign in (("two bytes", "é"), ("three bytes", "中"), ("four bytes", "😀")):
        body = json.dumps(asked | {"user": sign * 3 * MIB}, ensure_ascii=False).encode()
        yield Hostile(f"signs of {name}", "POST", GENERATIONS, body, JSON)
    blank = b'{"prompt":' + b" " * (15 * MIB) + b'"a","n":99}'
    yield Hostile("15 MiB of blanks", "POST", GENERATIONS, blank, JSON)
    inputs = {f"input{n}": "a" * 900 for n in range(900)}
    yield posted("900 inputs", "/api/run", {"model_id": model, "inputs": inputs})


def _forms() -> Iterator[Hostile]:
    image = _part('image"; filename="i.png', b"no picture")
    for name, parts in (
        ("of 990 texts", _part("x", b"a") * 990),
        ("of 990 files", _part('x"; filename="a', b"a") * 990),
        ("of 5,000 parts", _part("x", b"") * 5000),
        ("of 990 pictures", _part('image"; filename="a', b"a") * 990),
        ("of a text of 15 MiB", _part("prompt", b"a" * 15 * MIB)),
        ("of a text of 60 MiB", _part("prompt", b"a" * 60 * MIB)),
        ("of a picture of 60 MiB", _part('image"; filename="a', b"a" * 60 * MIB)),
        ("of signs", _part("prompt", "中".encode() * LARGE)),
        ("of punycode", _part('x"\r\nContent-Type: text/plain; charset="punycode', b"a" * LARGE)),
        ("of boundaries", b"--x\r\n" * (LARGE // 5)),
        ("of line ends", _part("prompt", b"\r\n-" * (LARGE // 3))),
        ("of LoRAs", b"".join(_part(f"loras[{n}][path]", b"a") for n in range(900))),
    ):
        yield Hostile(f"form {name}", "POST", EDITS, parts + image + b"--x--\r\n", FORM)
    fields = {"content-type": "application/x-www-form-urlencoded"}
    for path in ("/v1/files", "/api/file/upload"):
        yield Hostile(f"fields at {path}", "POST", path, b"a=%41&" * (LARGE // 6), fields)


def _packed() -> Iterator[Hostile]:
    for name, body in (
        ("16 MiB of blanks", gzip.compress(b" " * 16 * MIB)),
        ("64 MiB of blanks", gzip.compress(b" " * 64 * MIB)),
        ("nothing, often", gzip.compress(b"") * 10_000),
    ):
        for path in (GENERATIONS, "/api/run"):
            headers = JSON | {"content-encoding": "gzip"}
            yield Hostile(f"{name} packed at {path}", "POST", path, body, headers)


def _files() -> Iterator[Hostile]:
    """The files of batches, none of whose lines can be asked."""
    line = json.dumps({"custom_id": "x", "method": "POST", "url": "/v1/no", "body": {"a": [1] * 9}})
    for name, data in (
        ("of 60,000 lines", f"{line}\n".encode() * 60_000),
        ("of a line of 15 MiB", b'{"custom_id":"%s"}' % (b"a" * 15 * MIB)),
        ("of line ends", b"\n" * 20 * MIB),
        ("of 400 lines of decimals", (b"[" + b"1e308," * 12_000 + b"1]\n") * 400),
    ):
        body = _part("purpose", b"batch") + _part('file"; filename="a.jsonl', data) + b"--x--\r\n"
        yield Hostile(f"batch {name}", "POST", "/v1/files", body, FORM)


def _heads() -> Iterator[Hostile]:
    asked = posted("", GENERATIONS, {"prompt": "a", "n": 99})
    for name, value in (
        ("accept", "a," * (HEAD_BYTES // 2)),
        ("accept", "image/png;q=0.1," * (HEAD_BYTES // 16)),
        ("cookie", "a=b;" * (HEAD_BYTES // 4)),
        ("content-encoding", "gzip," * (HEAD_BYTES // 5)),
        ("forwarded", "for=1;proto=http," * (HEAD_BYTES // 17)),
        ("x-forwarded-prefix", "/a" * (HEAD_BYTES // 2)),
        ("authorization", "Bearer " + "k" * HEAD_BYTES),
        ("idempotency-key", "k" * HEAD_BYTES),
    ):
        headers = JSON | {name: value}
        yield asked._replace(name=f"{name} of {value[:9]} without end", headers=headers)
    many = JSON | {f"x-{n}": "" for n in range(1000)}
    yield asked._replace(name="1,000 headers", headers=many)
    for name, path in (
        ("a query of parameters", "/v1/models?" + "a=b&" * (HEAD_BYTES // 4)),
        ("a query of escapes", "/v1/files?after=" + "%E4%B8%AD" * (HEAD_BYTES // 9)),
        ("a path of segments", "/v1/models" + "/a" * (HEAD_BYTES // 2)),
        ("a file's path of segments", "/kept/" + "a/" * (HEAD_BYTES // 2) + "?sig=x"),
        ("a long id", "/v1/files/" + "a" * HEAD_BYTES),
    ):
        yield Hostile(name, "GET", path, b"", {})


def _part(name: str, data: bytes) -> bytes:
    """A part of a form; behind its name there may be more of its head."""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n"


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value
