"""An end in good order: first not ready, then closed, then done; and no traceback on the way."""

import http.client
import json
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings
from gateway.web.server import server
from gateway.web.server.ports import bound_sockets
from tests.small_engine import TestEngine
from tests.web.server.listening import listening, wait_until

GENERATIONS = "/v1/images/generations"


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_it_is_not_ready_while_it_still_answers(tmp_path: Path) -> None:
    with listening(tmp_path, drain_seconds=1.5) as place, httpx.Client(base_url=place.url) as kept:
        assert kept.get("/health/ready").status_code == 200
        place.stop()
        ready = httpx.get(f"{place.url}/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        drawn = kept.post(GENERATIONS, json={"prompt": "a cat"})
        assert drawn.status_code == 200
        assert drawn.headers["connection"] == "close"
        place.thread.join(20)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{place.url}/health/ready")


def test_who_is_in_a_hurry_does_not_wait_for_balancers(tmp_path: Path) -> None:
    with listening(tmp_path, drain_seconds=600) as place:
        place.server.handle_exit(signal.SIGINT, None)
        place.thread.join(20)
        assert not place.thread.is_alive()


def test_what_will_never_be_answered_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FAREWELL_SECONDS", 0.3)
    engine = TestEngine(step_seconds=0.1)
    head = f"POST {GENERATIONS} HTTP/1.1\r\nHost: localhost\r\n".encode()
    asked = {"prompt": "a cat", "num_inference_steps": 10, "stream": True}
    with (
        listening(tmp_path, engine=engine, grace_seconds=0) as place,
        place.link(head + b"X: ") as half,
        place.link(head + b"Content-Length: 10\r\n\r\n{") as headless,
        place.link() as silent,
        httpx.stream("POST", place.url + GENERATIONS, json=asked, timeout=20) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        wait_until(lambda: place.num_connections == 4)
        place.stop()
        place.thread.join(20)
        assert not place.thread.is_alive()
        for link in (half, headless, silent):
            assert b"200 OK" not in link.read_all()
        with pytest.raises(httpx.TransportError):
            list(lines)


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    engine = TestEngine(step_seconds=0.5)
    with listening(tmp_path, engine=engine, grace_seconds=600) as place:
        link = http.client.HTTPConnection("127.0.0.1", place.port)
        body = json.dumps({"prompt": "a cat", "num_inference_steps": 10})
        link.request("POST", GENERATIONS, body, {"Content-Type": "application/json"})
        wait_until(lambda: engine.num_running == 1)
        for _ in range(2):
            place.server.handle_exit(signal.SIGINT, None)
        place.thread.join(20)
        assert not place.thread.is_alive()
        link.close()


def test_a_name_of_several_addresses_is_bound_at_each_on_one_port() -> None:
    with bound_sockets(Settings(host="localhost", port=0)) as bound:
        found = {one.getsockname()[:2] for one in bound}
    assert {port for _, port in found} == {next(iter(found))[1]}
    assert {host for host, _ in found} <= {"127.0.0.1", "::1"}


def test_a_port_is_held_before_it_listens(tmp_path: Path) -> None:
    with bound_sockets(Settings(port=0)) as (bound,):
        with socket.socket() as client:
            assert client.connect_ex(bound.getsockname()) != 0
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(bound.getsockname())
