"""A process answers that it lives before it can draw, and draws for those who waited."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.errors import GatewayError
from gateway.settings import Settings, SettingsError
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server
from tests.serving import Server as Process
from tests.small_engine import TestEngine
from tests.web.server.listening import PATIENCE_SECONDS, Listening, wait_until

HEAVY = "torch diffusers transformers dbos sqlalchemy litestar PIL numpy gateway.app"
LIVE_SECONDS = 10
"""Ten times what is promised of a machine with nothing else to do."""


@contextmanager
def assembling(data: Path) -> Iterator[Listening]:
    """A server that listens, and whose application comes when it may."""
    settings = Settings(data=data, port=0, drain_seconds=0)
    with bound_sockets(settings) as sockets:
        place = Listening(settings, TestEngine(), sockets)
        place.may_open.clear()
        place.start_to_listen()
        try:
            yield place
        finally:
            place.may_open.set()
            place.stop()
            place.thread.join(PATIENCE_SECONDS)
            assert not place.thread.is_alive()


def test_nothing_heavy_is_imported_before_the_port_answers() -> None:
    code = f"import sys, gateway.cli.serve; print({HEAVY.split()!r} & sys.modules.keys())"
    code = code.replace("[", "{", 1).replace("]", "}", 1)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_it_lives_and_says_that_it_loads(tmp_path: Path) -> None:
    with assembling(tmp_path) as place:
        live = httpx.get(f"{place.url}/health/live?now=1")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        for path, status in (("/health", 200), ("/health/ready", 503)):
            health = httpx.get(place.url + path)
            told = (health.status_code, health.json()["status"], health.json()["checks"])
            assert told == (status, "loading", {"engine": "loading"})


def test_who_asks_for_a_picture_meanwhile_waits_for_it(tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    with assembling(tmp_path) as place:

        def ask(path: str) -> None:
            answers.append(
                httpx.post(place.url + path, json={"prompt": "a cat"}, timeout=PATIENCE_SECONDS)
            )

        asking = [
            threading.Thread(target=ask, args=[path])
            for path in ("/v1/images/generations", "/v1/nowhere")
        ]
        for one in asking:
            one.start()
        wait_until(lambda: place.num_connections == 2)
        assert not answers
        place.may_open.set()
        for one in asking:
            one.join(PATIENCE_SECONDS)
        wait_until(lambda: httpx.get(f"{place.url}/health/ready").status_code == 200)
    assert sorted(answer.status_code for answer in answers) == [200, 404]


def test_a_stop_before_it_is_assembled_answers_who_waits(tmp_path: Path) -> None:
    with assembling(tmp_path) as place:
        link = place.link(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: place.num_connections == 1)
        place.stop()
        answer = link.read_all()
        link.socket.close()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in answer
        place.thread.join(PATIENCE_SECONDS)
        assert not place.thread.is_alive()
        place.may_open.set()


@pytest.mark.parametrize("fault", [SettingsError("no such thing"), GatewayError("no")])
def test_what_cannot_be_assembled_ends_it(tmp_path: Path, fault: Exception) -> None:
    def assemble() -> tuple[object, object]:
        raise fault

    settings = Settings(data=tmp_path, port=0)
    with bound_sockets(settings) as sockets, pytest.raises(type(fault)):
        Server(assemble, settings).run(sockets)  # type: ignore[arg-type]


def test_a_process_lives_long_before_it_is_ready(tmp_path: Path) -> None:
    began = time.monotonic()
    process = Process(tmp_path, ())
    try:
        process.wait_for("/health/live")
        assert time.monotonic() - began < LIVE_SECONDS
        assert httpx.get(f"{process.url}/health/ready").status_code == 503
        asked = {"model": "emoji", "prompt": "a red apple", "num_inference_steps": 1}
        drawn = httpx.post(f"{process.url}/v1/images/generations", json=asked, timeout=120)
        assert drawn.status_code == 200
        assert httpx.get(f"{process.url}/health/ready").status_code == 200
    finally:
        process.stop()
