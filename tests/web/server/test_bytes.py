"""Bytes at random places: whatever a peer writes, the next one is answered."""

import random
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx

from tests.web.server.listening import listening

ROUNDS = 120
PATIENCE_SECONDS = 20
HOST = b"Host: localhost\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST
ASK = b"POST /v1/images/generations HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
VALID = (
    LIVE + b"\r\n",
    LIVE + b"Connection: close\r\n\r\n",
    LIVE + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /health/live HTTP/1.0\r\n\r\n",
    b"HEAD /v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
    ASK + b'Content-Length: 14\r\n\r\n{"prompt":"a"}',
    ASK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n",
    ASK + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
)
MORE = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xff", b"HTTP/1.1", b"0\r\n\r\n", b"ffffffff\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
)  # fmt: skip


def test_whatever_is_written_the_next_is_answered(tmp_path: Path) -> None:
    chance = random.Random(1)
    with (
        listening(tmp_path, max_connections=16, max_body_mib=1) as place,
        httpx.Client(base_url=place.url, timeout=PATIENCE_SECONDS) as bystander,
    ):
        for _ in range(ROUNDS):
            written = _mutated(chance)
            _write(place.port, written, chance)
            answer = bystander.get("/health/live")
            assert answer.status_code == 200, written


def _mutated(chance: random.Random) -> bytes:
    """Requests one after the other, with bytes put in, taken out, changed or said twice."""
    written = bytearray(b"".join(chance.choices(VALID, k=chance.randint(1, 3))))
    for _ in range(chance.randint(0, 3)):
        at, length = chance.randrange(len(written)), chance.randint(1, 40)
        written[at : at + chance.choice((0, length))] = chance.choice(
            (chance.choice(MORE), b"", bytes([chance.randrange(256)]), written[at : at + length])
        )
    return bytes(written)


def _write(port: int, written: bytes, chance: random.Random) -> None:
    """In pieces; read or not, and said to be all or not, before it is hung up."""
    with socket.create_connection(("127.0.0.1", port)) as one, suppress(OSError):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while written:
            length = chance.randint(1, len(written))
            one.sendall(written[:length])
            written = written[length:]
            time.sleep(chance.choice((0, 0.001)))
        if chance.random() < 0.3:
            one.shutdown(socket.SHUT_WR)
        one.settimeout(0.01)
        if chance.random() < 0.3:
            one.recv(65536)
