"""The websocket: what a client is told, who may listen, and for how long."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateway.accounts.keys import KeyStore
from gateway.web.comfyui import socket as sockets
from tests.web.comfyui.asking import bearer, endless, graph
from tests.web.server.listening import Listening, listening, wait_until

SECONDS = 30


class Place:
    """A gateway behind the real server, and two keys."""

    def __init__(self, server: Listening, secrets: dict[str, str]) -> None:
        self.server = server
        self.secrets = secrets

    def queue(self, name: str, prompt: Any, **body: Any) -> str:
        answer = httpx.post(
            f"{self.server.url}/prompt", json={"prompt": prompt, **body},
            headers=bearer(self.secrets[name]),
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def get(self, name: str, path: str) -> Any:
        return httpx.get(self.server.url + path, headers=bearer(self.secrets[name])).json()

    def listen(self, name: str, client_id: str = "c", **headers: str) -> ClientConnection:
        given = {**(bearer(self.secrets[name]) if name in self.secrets else {}), **headers}
        url = f"ws://127.0.0.1:{self.server.port}/ws?clientId={client_id}"
        return connect(url, additional_headers=given)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("data")
    secrets = {name: KeyStore(data).create(name)[1] for name in ("ann", "bob")}
    with listening(data, endpoints=("tiny",)) as server:
        yield Place(server, secrets)


def told(socket: ClientConnection, prompt_id: str) -> list[Any]:
    """What is said until a prompt has ended; pictures are bytes."""
    found: list[Any] = []
    while True:
        message = socket.recv(timeout=SECONDS)
        if isinstance(message, bytes):
            found.append(message)
            continue
        said = json.loads(message)
        found.append((said["type"], said["data"]))
        if said["type"] == "executing" and said["data"]["node"] is None:
            assert said["data"]["prompt_id"] == prompt_id
            return found


def read_to_the_end(socket: ClientConnection) -> None:
    """Wait until the other side has closed."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=SECONDS)


def ended(place: Place, name: str, prompt_id: str) -> None:
    wait_until(lambda: bool(place.get(name, f"/history/{prompt_id}")))


def test_a_prompt_is_told_of_from_beginning_to_end(place: Place) -> None:
    with place.listen("ann") as socket:
        first = json.loads(socket.recv(timeout=SECONDS))
        assert first["type"] == "status"
        assert first["data"]["sid"] == "c"
        prompt_id = place.queue("ann", graph(), client_id="c")
        messages = [one for one in told(socket, prompt_id) if one[0] != "status"]
        after = json.loads(socket.recv(timeout=SECONDS))
    kinds = [kind for kind, _ in messages]
    assert kinds == [
        *("execution_start", "execution_cached", "executing"),
        *("progress", "progress", "progress"),
        *("executing", "executed", "execution_success", "executing"),
    ]
    assert {data["prompt_id"] for _, data in messages} == {prompt_id}
    by_kind = dict(messages)
    assert (by_kind["progress"]["value"], by_kind["progress"]["max"]) == (3, 3)
    assert by_kind["progress"]["node"] == "3"
    (image,) = by_kind["executed"]["output"]["images"]
    assert by_kind["executed"]["node"] == "9"
    assert place.get("ann", "/history")[prompt_id]["outputs"]["9"]["images"] == [image]
    assert after["data"]["status"]["exec_info"]["queue_remaining"] == 0


def test_who_listens_late_is_told_what_was(place: Place) -> None:
    prompt_id = place.queue("ann", endless(), client_id="late")
    wait_until(lambda: bool(place.get("ann", "/queue")["queue_running"]))
    with place.listen("ann", "late") as socket:
        first = json.loads(socket.recv(timeout=SECONDS))
        assert first["data"]["status"]["exec_info"]["queue_remaining"] >= 1
        interrupt(place, "ann", prompt_id)
        kinds = [kind for kind, _ in told(socket, prompt_id) if kind != "status"]
    assert kinds[:3] == ["execution_start", "execution_cached", "executing"]
    assert kinds[-2:] == ["execution_interrupted", "executing"]


def interrupt(place: Place, name: str, prompt_id: str) -> None:
    """Stop a prompt."""
    answer = httpx.post(
        f"{place.server.url}/interrupt", json={"prompt_id": prompt_id},
        headers=bearer(place.secrets[name]),
    )  # fmt: skip
    assert answer.status_code == 200


def test_only_the_client_that_asked_is_told(place: Place) -> None:
    with place.listen("ann", "other") as other, place.listen("bob", "c") as bob:
        for prompt, count in ((graph(), 2), (graph("fail"), 2)):
            for _ in range(count):
                ended(place, "ann", place.queue("ann", prompt, client_id="c"))
        own = place.queue("bob", graph(), client_id="c")
        assert {data.get("prompt_id", own) for _, data in told(bob, own)} == {own}
        mine = place.queue("ann", graph(), client_id="other")
        assert {data.get("prompt_id", mine) for _, data in told(other, mine)} == {mine}


def test_failing_and_interrupted_prompts_say_so(place: Place) -> None:
    with place.listen("ann", "f") as socket:
        failing = told(socket, place.queue("ann", graph("fail"), client_id="f"))
        fault = next(data for kind, data in failing if kind == "execution_error")
        assert fault["exception_message"] == "The pipeline raised."
        prompt_id = place.queue("ann", endless(), client_id="f")
        while json.loads(socket.recv(timeout=SECONDS))["type"] != "progress":
            pass
        interrupt(place, "ann", prompt_id)
        assert "execution_interrupted" in [kind for kind, _ in told(socket, prompt_id)]


def test_pictures_are_shown_as_they_are_drawn_where_they_are_asked_for(place: Place) -> None:
    with place.listen("ann", "p") as socket:
        asked = {"client_id": "p", "extra_data": {"preview_method": "auto"}}
        shown = told(socket, place.queue("ann", graph(), **asked))
        previews = [one for one in shown if isinstance(one, bytes)]
        assert [one[:8] for one in previews] == [b"\0\0\0\1\0\0\0\1"] * 2
        assert all(one[8:].startswith(b"\xff\xd8\xff") for one in previews)
        none = {"client_id": "p", "extra_data": {"preview_method": "none"}}
        shown = told(socket, place.queue("ann", graph(), **none))
        assert not any(isinstance(one, bytes) for one in shown)


def test_what_a_client_can_do_is_answered(place: Place) -> None:
    with place.listen("ann", "s") as socket:
        socket.send(json.dumps({"type": "feature_flags", "data": {}}))
        kinds = {json.loads(socket.recv(timeout=SECONDS))["type"] for _ in range(2)}
    assert kinds == {"status", "feature_flags"}


def status_of(place: Place, name: str, **headers: str) -> int:
    try:
        with place.listen(name, **headers):
            return 101
    except InvalidStatus as refused:
        said = json.loads(refused.response.body)
        return refused.response.status_code if said["error"]["message"] else 0


def test_strangers_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_of(place, "nobody") == 401
    assert status_of(place, "nobody", Authorization="Bearer gw-wrong") == 401
    elsewhere = {"Origin": "http://elsewhere.example"}
    assert status_of(place, "ann", **elsewhere) == 101, "no browser adds this header by itself"
    basic = httpx.BasicAuth("me", place.secrets["ann"])._auth_header
    assert status_of(place, "nobody", Authorization=basic) == 101
    assert status_of(place, "nobody", Authorization=basic, **elsewhere) == 403
    monkeypatch.setattr(sockets, "MAX_SOCKETS", 1)
    wait_until(lambda: place.server.num_connections == 0)
    with place.listen("ann"):
        assert status_of(place, "ann") == 429
        assert status_of(place, "bob") == 101
    wait_until(lambda: place.server.num_connections == 0)
    assert status_of(place, "ann") == 101


def test_a_key_in_the_query_opens_and_is_written_nowhere(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = place.secrets["ann"]
    with connect(f"ws://127.0.0.1:{place.server.port}/api/ws?clientId=q&token={secret}") as socket:
        assert json.loads(socket.recv(timeout=SECONDS))["type"] == "status"
    assert secret not in "".join(capfd.readouterr())


def test_who_does_not_listen_is_cut_off(place: Place) -> None:
    with place.listen("ann", "stalled") as socket:
        wait_until(lambda: place.server.num_connections == 1)
        (held,) = place.server.server.hall.connections
        # As a full buffer does, which the messages of a few prompts do not fill.
        place.server.loop.call_soon_threadsafe(held.pause_writing)
        place.server.pass_seconds(1)
        place.server.pass_seconds(10_000)
        wait_until(lambda: place.server.num_connections == 0)
        read_to_the_end(socket)
