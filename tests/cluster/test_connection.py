"""One connection for many calls: what is answered, who may ask, and what becomes of who waits."""

import asyncio
import secrets
import socket
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from gateway.cluster.connection import (
    DRAW,
    QUESTION,
    TOKEN_BYTES,
    Answer,
    Connection,
    Listener,
    asked_now,
)
from tests.programs import program

TOKEN = secrets.token_bytes(TOKEN_BYTES)
LARGE = 5_000_000
PATIENCE_SECONDS = 0.3

Address = tuple[str, int]


async def counted(asked: bytes) -> AsyncGenerator[bytes]:
    """So many as are asked for, each of them large in the end."""
    for number in range(int(asked)):
        await asyncio.sleep(0)
        yield str(number).encode()
    yield b"." * LARGE


@asynccontextmanager
async def listening(draw: Answer = counted, question: Answer = counted) -> AsyncIterator[Address]:
    near = socket.create_server(("127.0.0.1", 0))
    listener = Listener(TOKEN, {DRAW: draw, QUESTION: question})
    serving = asyncio.create_task(listener.serve(near))
    try:
        yield near.getsockname()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def answers(connection: Connection, asked: bytes) -> list[bytes]:
    async with aclosing(connection.call(DRAW, asked)) as told:
        return [one async for one in told]


async def test_calls_at_once_are_each_answered_in_order_and_end() -> None:
    async with listening() as address:
        connection = await Connection.opened(*address, TOKEN)
        told = await asyncio.gather(*(answers(connection, b"%d" % n) for n in range(1, 20)))
        for number, one in enumerate(told, 1):
            assert one == [*(b"%d" % n for n in range(number)), b"." * LARGE]
        connection.close()


async def test_who_stops_listening_stops_that_call_alone() -> None:
    stopped, others = asyncio.Event(), asyncio.Event()

    async def drawn(asked: bytes) -> AsyncGenerator[bytes]:
        try:
            yield asked
            await others.wait()
            yield asked
        finally:
            if asked == b"leaves":
                stopped.set()

    async with listening(drawn) as address:
        connection = await Connection.opened(*address, TOKEN)
        staying = connection.call(DRAW, b"stays")
        leaving = connection.call(DRAW, b"leaves")
        assert [await anext(staying), await anext(leaving)] == [b"stays", b"leaves"]
        await leaving.aclose()
        async with asyncio.timeout(10):
            await stopped.wait()
        others.set()
        assert [one async for one in staying] == [b"stays"]
        connection.close()


@pytest.mark.parametrize("token", [b"another".ljust(TOKEN_BYTES), b""], ids=["another", "none"])
async def test_nobody_without_the_token_is_answered(token: bytes) -> None:
    is_asked = asyncio.Event()

    async def drawn(asked: bytes) -> AsyncGenerator[bytes]:
        is_asked.set()
        yield asked

    async with listening(drawn) as address:
        connection = await Connection.opened(*address, token)
        with pytest.raises(ConnectionError):
            await answers(connection, b"." * TOKEN_BYTES)  # as if it were the token that is missing
        assert not is_asked.is_set()


async def test_a_call_that_fails_ends_without_words_and_others_go_on() -> None:
    async def drawn(asked: bytes) -> AsyncGenerator[bytes]:
        yield asked
        if asked == b"bad":
            raise ValueError("nothing comes of it")

    async with listening(drawn) as address:
        connection = await Connection.opened(*address, TOKEN)
        assert await answers(connection, b"bad") == [b"bad"]
        assert await answers(connection, b"good") == [b"good"]
        connection.close()


async def test_what_waits_is_told_when_it_breaks_and_what_comes_later_too() -> None:
    begun = asyncio.Event()

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await begun.wait()
        writer.close()

    server = await asyncio.start_server(breaks, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    connection = await Connection.opened(host, port, TOKEN)
    waiting = [asyncio.create_task(answers(connection, b"9")) for _ in range(3)]
    await asyncio.sleep(0)
    begun.set()
    for one in waiting:
        with pytest.raises(ConnectionError):
            await one
    with pytest.raises(ConnectionError):
        await answers(connection, b"9")
    server.close()


async def test_what_is_drawn_for_who_has_gone_is_stopped() -> None:
    stopped = asyncio.Event()

    async def drawn(asked: bytes) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield asked
                await asyncio.sleep(0.001)
        finally:
            stopped.set()

    async with listening(drawn) as address:
        connection = await Connection.opened(*address, TOKEN)
        told = connection.call(DRAW, b"endless")
        await anext(told)
        connection.close()
        async with asyncio.timeout(10):
            await stopped.wait()
        await told.aclose()


async def test_a_question_is_answered_to_who_stands_still_or_not_in_time() -> None:
    async def answered(asked: bytes) -> AsyncGenerator[bytes]:
        if asked == b"hard":
            await asyncio.sleep(3600)
        yield asked * LARGE

    async with listening(question=answered) as (host, port):

        async def ask(question: bytes, token: bytes = TOKEN) -> bytes | None:
            seconds = PATIENCE_SECONDS if question == b"hard" else 60
            return await asyncio.to_thread(asked_now, host, port, token, question, seconds)

        assert await ask(b"?") == b"?" * LARGE
        assert await ask(b"hard") is None
        assert await ask(b"?", secrets.token_bytes(TOKEN_BYTES)) is None
    assert await ask(b"?") is None


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Certificates as a cluster with Ray's TLS has them; call it to use those of an authority."""
    openssl = program("openssl", package="openssl")
    for name in ("ours", "others"):
        subprocess.run(
            [
                openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt",
            ],
            check=True, capture_output=True,
        )  # fmt: skip

    def use(name: str) -> None:
        monkeypatch.setenv("RAY_USE_TLS", "1")
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(tmp_path / f"{name}.key"))
        for variable in ("RAY_TLS_SERVER_CERT", "RAY_TLS_CA_CERT"):
            monkeypatch.setenv(variable, str(tmp_path / f"{name}.crt"))

    return use


async def test_where_ray_has_tls_so_has_the_connection(
    authority: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority("ours")
    async with listening() as address:
        await asyncio.sleep(0)  # it listens, with what it was given
        connection = await Connection.opened(*address, TOKEN)
        assert (await answers(connection, b"1"))[0] == b"0"
        connection.close()
        asked = await asyncio.to_thread(asked_now, *address, TOKEN, b"0", 60)
        assert asked == b"." * LARGE
        authority("others")
        with pytest.raises(OSError, match="certificate"):
            await Connection.opened(*address, TOKEN)
        monkeypatch.delenv("RAY_USE_TLS")
        plain = await Connection.opened(*address, TOKEN)
        with pytest.raises(ConnectionError):
            await answers(plain, b"1")
