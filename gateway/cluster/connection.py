"""One connection to a replica for all that is asked of it: jobs, with their events, and questions.

Ray begins processes and tells of their end. A call of its own takes milliseconds of both for each
thing that it carries, which is what a step of a small model takes; a frame here takes a tenth of
one. A frame is the number of a call, its kind, how many bytes follow, and those. Without any it is
the end of the call: of a replica's words, or of a front's listening.
"""

import asyncio
import hmac
import itertools
import os
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress

import structlog

HEAD = struct.Struct("!QBI")
END = b""
BUFFER_BYTES = 2**20
GREETING_SECONDS = 10.0
TOKEN_BYTES = 32

DRAW, QUESTION = 0, 1
Answer = Callable[[bytes], AsyncGenerator[bytes]]

log = structlog.get_logger()


class Listener:
    """A replica's end: whoever brings the token has his calls answered, by their kinds."""

    def __init__(self, token: bytes, answers: Mapping[int, Answer]) -> None:
        self._token = token
        self._answers = answers

    async def serve(self, near: socket.socket) -> None:
        """Answer who comes to a socket that listens, until it is cancelled."""
        context = tls(ssl.Purpose.CLIENT_AUTH)
        server = await asyncio.start_server(self._greet, sock=near, limit=BUFFER_BYTES, ssl=context)
        await server.serve_forever()

    async def _greet(self, reader: StreamReader, writer: StreamWriter) -> None:
        guest = Guest(self._answers, writer)
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                token = await reader.readexactly(TOKEN_BYTES)
            if hmac.compare_digest(token, self._token):
                await guest.listen_to(reader)
        except (OSError, EOFError, TimeoutError):
            pass  # who was there has gone
        finally:
            guest.leave()


class Guest:
    """Who has the token, and his calls that have not ended."""

    def __init__(self, answers: Mapping[int, Answer], writer: StreamWriter) -> None:
        self._answers = answers
        self._writer = writer
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def listen_to(self, reader: StreamReader) -> None:
        """Answer each call as it comes, until he goes."""
        while True:
            number, kind, body = await _read(reader)
            if body != END:
                self._begin(number, kind, body)
            elif call := self._calls.get(number):
                call.cancel()

    def leave(self) -> None:
        """Stop what is under way."""
        for call in self._calls.values():
            call.cancel()
        self._writer.close()

    def _begin(self, number: int, kind: int, asked: bytes) -> None:
        call = asyncio.create_task(self._answer(number, kind, asked))
        self._calls[number] = call
        call.add_done_callback(lambda _: self._calls.pop(number))

    async def _answer(self, number: int, kind: int, asked: bytes) -> None:
        """Send what there is to say, and that there is no more."""
        try:
            async with aclosing(self._answers[kind](asked)) as told:
                async for body in told:
                    self._writer.write(_frame(number, kind, body))
                    await self._writer.drain()
        except ConnectionError:
            return
        except Exception as error:
            log.error("a call was not answered", exc_info=error)
        self._writer.write(_frame(number, kind, END))


class Connection:
    """A front's end. What waits when it breaks, or comes later, gets a ConnectionError."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._told: dict[int, asyncio.Queue[bytes | None]] = {}
        self._is_broken = False
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def opened(cls, host: str, port: int, token: bytes) -> "Connection":
        """The connection to a replica that listens.

        Raises:
            OSError: nobody is there.
        """
        context = tls(ssl.Purpose.SERVER_AUTH)
        reader, writer = await asyncio.open_connection(host, port, limit=BUFFER_BYTES, ssl=context)
        writer.write(token)
        return cls(reader, writer)

    async def call(self, kind: int, body: bytes) -> AsyncGenerator[bytes]:
        """All that is answered; closed early, it has the replica stop."""
        if self._is_broken:
            raise ConnectionError
        number = next(self._numbers)
        told = self._told[number] = asyncio.Queue()
        self._writer.write(_frame(number, kind, body))
        has_ended = False
        try:
            while (answer := await told.get()) != END:
                if answer is None:
                    raise ConnectionError
                yield answer
            has_ended = True
        finally:
            del self._told[number]
            if not (has_ended or self._is_broken):
                self._writer.write(_frame(number, kind, END))

    def close(self) -> None:
        """End it; whoever waits is told so."""
        self._listening.cancel()

    async def _listen(self, reader: StreamReader) -> None:
        try:
            while True:
                number, _, answer = await _read(reader)
                if number in self._told:
                    self._told[number].put_nowait(answer)
        except (OSError, EOFError):
            pass
        finally:
            self._is_broken = True
            self._writer.close()
            for told in self._told.values():
                told.put_nowait(None)


def asked_now(host: str, port: int, token: bytes, question: bytes, seconds: float) -> bytes | None:
    """What a replica answers to one question that its asker's thread stands still for.

    None if nothing comes in so many seconds, or nobody is there.
    """
    with suppress(OSError):
        near = socket.create_connection((host, port), seconds)
        if context := tls(ssl.Purpose.SERVER_AUTH):
            near = context.wrap_socket(near)
        with near, near.makefile("rb") as answers:
            near.sendall(token + _frame(0, QUESTION, question))
            _, _, size = HEAD.unpack(answers.read(HEAD.size).ljust(HEAD.size, b"\0"))
            return answers.read(size) or None
    return None


def tls(purpose: ssl.Purpose) -> ssl.SSLContext | None:
    """As Ray's own connections have it: each end shows a certificate of the cluster's authority."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    context = ssl.create_default_context(purpose, cafile=os.environ["RAY_TLS_CA_CERT"])
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    context.check_hostname = False  # Ray's certificates are of an authority, not of addresses
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _read(reader: StreamReader) -> tuple[int, int, bytes]:
    number, kind, size = HEAD.unpack(await reader.readexactly(HEAD.size))
    return number, kind, await reader.readexactly(size)


def _frame(number: int, kind: int, body: bytes) -> bytes:
    return HEAD.pack(number, kind, len(body)) + body
