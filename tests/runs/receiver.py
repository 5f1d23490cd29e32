"""A real webhook receiver on loopback, in a thread of its own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook


class Receiver:
    """Takes webhooks, checks their signatures, and keeps them in the order they came.

    `answers` is what it says to each request in turn; 200 once they are used up. Redirects
    lead to itself.
    """

    def __init__(self, secret: str, answers: list[int]) -> None:
        self.secret = secret
        self.answers = answers
        self.seconds = 0.0
        self.url = ""
        self.tried: list[str] = []
        self.events: list[dict[str, Any]] = []

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Note a request; an event counts once it has been answered with a 2xx."""
        Webhook(self.secret).verify(body, headers)
        self.tried.append(headers["webhook-id"])
        status = self.answers.pop(0) if self.answers else 200
        if 200 <= status < 300:
            self.events.append(json.loads(body))
        return status

    @property
    def statuses(self) -> list[str]:
        """The statuses told, in order."""
        return [event["status"] for event in self.events]


@contextmanager
def receiving(secret: str, *answers: int, port: int = 0) -> Iterator[Receiver]:
    """A receiver for as long as the block lasts."""
    receiver = Receiver(secret, list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            threading.Event().wait(receiver.seconds)
            try:
                status = receiver.take(headers, body)
            except Exception:
                status = 400
            self.answer(status)

        def do_GET(self) -> None:
            self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            if 300 <= status < 400:
                self.send_header("location", receiver.url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
