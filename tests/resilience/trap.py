"""A server on loopback that answers webhooks in every way that can hurt a client."""

import gzip
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

BOMB_MIB = 1024
PIECE = b"x" * 65_536
DRIP_SECONDS = 0.2
OK = b"HTTP/1.1 200 OK\r\n"

Send = Callable[[bytes], None]
Pause = Callable[[float], bool]
"""Wait so many seconds; whether it is over."""


class Trap:
    """Its address, and how often it was asked for each kind of answer."""

    def __init__(self) -> None:
        self.door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        self.asked: Counter[str] = Counter()
        self._over = threading.Event()
        self._open: set[socket.socket] = set()

    def serve(self) -> None:
        """Answer whoever comes, each in a thread, until closed."""
        with suppress(OSError):
            while True:
                peer, _ = self.door.accept()
                threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody."""
        self._over.set()
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        for peer in list(self._open):
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def _answer(self, peer: socket.socket) -> None:
        self._open.add(peer)
        with peer, suppress(OSError):
            head = peer.recv(65_536).decode("latin-1")
            kind = head.partition(" /")[2].partition(" ")[0].partition("/")[0].replace("-", " ")
            self.asked[kind] += 1
            KINDS[kind](peer.sendall, self._over.wait)
        self._open.discard(peer)


def _gzip_bomb(send: Send, _pause: Pause) -> None:
    body = _bomb()
    send(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _endless_body(send: Send, _pause: Pause) -> None:
    send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in itertools.count():
        send(b"10000\r\n" + PIECE + b"\r\n")


def _endless_head(send: Send, _pause: Pause) -> None:
    send(OK)
    for number in itertools.count():
        send(b"X-%d: " % number + PIECE[:1000] + b"\r\n")


def _long_line(send: Send, _pause: Pause) -> None:
    send(OK + b"X-Long: ")
    for _ in itertools.count():
        send(PIECE)


def _many_informations(send: Send, _pause: Pause) -> None:
    for _ in itertools.count():
        send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")


def _dripping_body(send: Send, pause: Pause) -> None:
    send(OK + b"Content-Length: 100000\r\n\r\n")
    while not pause(DRIP_SECONDS):
        send(b"x")


def _dripping_head(send: Send, pause: Pause) -> None:
    send(OK + b"X-Slow: ")
    while not pause(DRIP_SECONDS):
        send(b"x")


def _silence(_send: Send, pause: Pause) -> None:
    pause(3600)


def _hanging_up(_send: Send, _pause: Pause) -> None:
    pass


def _no_http(send: Send, _pause: Pause) -> None:
    send(PIECE)


def _lying_length(send: Send, pause: Pause) -> None:
    send(OK + b"Content-Length: 10000000000\r\n\r\nx")
    pause(3600)


def _redirects(send: Send, _pause: Pause) -> None:
    send(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /redirects\r\nContent-Length: 0\r\n\r\n")


KINDS: dict[str, Callable[[Send, Pause], None]] = {
    "gzip bomb": _gzip_bomb,
    "endless body": _endless_body,
    "endless head": _endless_head,
    "long line": _long_line,
    "many informations": _many_informations,
    "dripping body": _dripping_body,
    "dripping head": _dripping_head,
    "silence": _silence,
    "hanging up": _hanging_up,
    "no http": _no_http,
    "lying length": _lying_length,
    "redirects": _redirects,
}

_bombs: list[bytes] = []


def _bomb() -> bytes:
    """A GiB of zeros in a MiB; made once, as it takes seconds."""
    if not _bombs:
        _bombs.append(gzip.compress(bytes(BOMB_MIB << 20), compresslevel=6))
    return _bombs[0]


@contextmanager
def trap() -> Iterator[Trap]:
    """A trap for as long as the block lasts."""
    _bomb()
    one = Trap()
    thread = threading.Thread(target=one.serve)
    thread.start()
    try:
        yield one
    finally:
        one.close()
        thread.join()
