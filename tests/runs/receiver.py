"""A real webhook receiver on loopback, in a thread of its own."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver:
    """Takes webhooks, checks their signatures, and keeps them in the order they came.

    `answers` is what it says to each request in turn; 200 once they are used up. Redirects
    lead to itself; while not `at_ease`, it lets them wait. `taken` are the ids and bodies of
    what it answered with a 2xx, `refused` what was no webhook of this secret. With `any_time`
    a signature may be of any day.
    """

    def __init__(self, secret: str, answers: list[int]) -> None:
        self.secret = secret
        self.answers = answers
        self.at_ease = threading.Event()
        self.at_ease.set()
        self.any_time = False
        self.url = ""
        self.tried: list[str] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.letters: list[tuple[dict[str, str], bytes]] = []
        """What was taken, as it came: headers and body."""
        self.refused: list[str] = []

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Note a request; an event counts once it has been answered with a 2xx."""
        try:
            self.verify(headers, body)
        except WebhookVerificationError as error:
            self.refused.append(f"{headers.get('webhook-id')}: {error}")
            return 400
        self.tried.append(headers["webhook-id"])
        status = self.answers.pop(0) if self.answers else 200
        if 200 <= status < 300:
            self.taken.append((headers["webhook-id"], json.loads(body)))
            self.letters.append((headers, body))
        return status

    def verify(self, headers: dict[str, str], body: bytes) -> None:
        """Check a signature, and unless `any_time` its age.

        Raises:
            WebhookVerificationError: it is not by this secret, or too old.
        """
        webhook = Webhook(self.secret)
        if not self.any_time:
            webhook.verify(body, headers)
            return
        at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        if webhook.sign(headers["webhook-id"], at, body.decode()) != headers["webhook-signature"]:
            raise WebhookVerificationError("No matching signature found")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The bodies of what was taken."""
        return [body for _, body in self.taken]

    @property
    def statuses(self) -> list[str]:
        """The statuses told, in order."""
        return [event["status"] for event in self.events]


class _Server(ThreadingHTTPServer):
    """A server to which a sender that dies is nothing to tell of."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def receiving(secret: str, *answers: int, port: int = 0) -> Iterator[Receiver]:
    """A receiver for as long as the block lasts."""
    receiver = Receiver(secret, list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size_bytes = int(self.headers["content-length"])
            body = self.rfile.read(size_bytes)
            if len(body) < size_bytes:  # the sender has died
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.at_ease.wait()
            self.answer(receiver.take(headers, body))

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

    server = _Server(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.at_ease.set()
        server.shutdown()
        thread.join()
        server.server_close()
