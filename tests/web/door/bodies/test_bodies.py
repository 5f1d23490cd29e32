"""Bodies are refused as soon as they are seen to be too large, or of a kind that nobody reads."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx

from gateway.app import create_app
from gateway.outside.documents import MAX_JSON_BYTES, MAX_SMALL_BYTES
from gateway.settings import Settings
from gateway.web.door.bodies.packing import MAX_STREAMS
from gateway.web.door.bodies.uploads import MAX_IMAGES
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import PATH

EDITS = "/v1/images/edits"
FORM = {"content-type": "multipart/form-data; boundary=x"}
JSON = {"content-type": "application/json"}
PIECE_BYTES = 2**16


class Sent:
    """A body that comes in pieces, and how many of them were asked for."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.count = pieces, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.count += 1
            yield piece


@asynccontextmanager
async def asking(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client that an application reads piece by piece."""
    app = create_app(Settings(data=data), TestEngine(), small_catalog())
    transport = httpx.ASGITransport(cast(Any, app))
    base = "http://127.0.0.1:8000"
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of texts; behind its name's end quote one may have more of its head."""
    made = [
        b'--x\r\nContent-Disposition: form-data; name="%s\r\n\r\n%s\r\n' % (name.encode(), text)
        for name, text in parts
    ]
    return b"".join(made) + b"--x--\r\n"


async def test_what_nobody_reads_is_not_read(tmp_path: Path) -> None:
    async with asking(tmp_path) as client:
        endless = Sent(*[b" " * PIECE_BYTES] * 640)
        assert (await client.post(PATH, content=endless, headers=JSON)).status_code == 413
        assert endless.count == MAX_JSON_BYTES // PIECE_BYTES + 1
        for path in ("/v1/files", "/api/file/upload", EDITS):
            fields = Sent(b"file=", *[bytes(PIECE_BYTES)] * 100)
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = await client.post(path, content=fields, headers=headers)
            assert answer.status_code == 415, path
            assert fields.count == 0


async def test_texts_of_a_form_are_bounded(tmp_path: Path) -> None:
    head, _, tail = form(('prompt"', b"?")).partition(b"?")
    long = Sent(head, *[b"a" * PIECE_BYTES] * 600, tail)
    signs = form(('prompt"', "中".encode() * (MAX_SMALL_BYTES // 3 + 1)))
    blob = form(('prompt"; filename="a"\r\nContent-Type: text/plain', b"a" * MAX_SMALL_BYTES * 2))
    async with asking(tmp_path) as client:
        for body in (long, signs, blob):
            answer = await client.post(EDITS, content=cast(Any, body), headers=FORM)
            assert answer.status_code == 413
    assert long.count <= MAX_JSON_BYTES // PIECE_BYTES + 2


async def test_what_is_wrong_with_a_form_is_said(tmp_path: Path) -> None:
    wrong = {
        "'punycode'": [('prompt"\r\nContent-Type: text/plain; charset=punycode', b"a-b")],
        f"maximum length {MAX_IMAGES}": [('mask"', b"http://127.0.0.1:1/")] * (MAX_IMAGES + 1),
        "over 1000 parts": [('x"', b"")] * 1001,
        "very long head": [("x" * 5000 + '"', b"")],
        "'image'": [],
    }
    async with asking(tmp_path) as client:
        for why, parts in wrong.items():
            answer = await client.post(EDITS, content=form(*parts), headers=FORM)
            assert answer.status_code == 400
            assert why in answer.text


async def test_unpacking_leaves_turns_to_others(tmp_path: Path) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    headers = JSON | {"content-encoding": "gzip"}
    bomb, many = gzip.compress(b" " * MAX_JSON_BYTES), gzip.compress(b"") * (MAX_STREAMS + 1)
    async with asking(tmp_path) as client:
        other = asyncio.create_task(others())
        assert (await client.post(PATH, content=bomb, headers=headers)).status_code == 400
        other.cancel()
        answer = await client.post(PATH, content=many, headers=headers)
    assert turns > 50
    assert f"over {MAX_STREAMS} packed streams" in answer.text
