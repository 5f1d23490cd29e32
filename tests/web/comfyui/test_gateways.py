"""What a gateway of its own is needed for: another setting, an open door, a second process."""

from pathlib import Path

from gateway.accounts.keys import KeyStore
from tests.small_engine import TestEngine
from tests.web.comfyui.asking import done, endless, graph, queued, served
from tests.web.comfyui.test_pictures import RED_PNG, upload
from tests.web.comfyui.test_socket import SECONDS, Place, read_to_the_end
from tests.web.openai.asking import Client
from tests.web.server.listening import listening, wait_until


def test_waiting_prompts_are_taken_out_of_the_queue(tmp_path: Path) -> None:
    with served(tmp_path, TestEngine(), max_batch=1) as (client, keys):
        running, *waiting = [queued(client, keys["ann"], endless()) for _ in range(4)]
        wait_until(lambda: pending(client, keys["ann"]) == waiting)
        client.post("/queue", json={"delete": [*waiting[:1], running]}, headers=keys["ann"])
        assert pending(client, keys["ann"]) == waiting[1:]
        client.post("/queue", json={"clear": True}, headers=keys["ann"])
        assert pending(client, keys["ann"]) == []
        left = client.get("/prompt", headers=keys["ann"]).json()
        assert left == {"exec_info": {"queue_remaining": 1}}
        client.post("/interrupt", headers=keys["ann"])
        assert done(client, keys["ann"], running)["status"]["completed"] is False
        assert running in client.get("/history", headers=keys["ann"]).json()


def pending(client: Client, headers: dict[str, str]) -> list[str]:
    """The prompts that wait."""
    return [entry[1] for entry in client.get("/queue", headers=headers).json()["queue_pending"]]


def test_json_may_come_as_text_but_not_from_a_strangers_page(tmp_path: Path) -> None:
    text = {"content-type": "text/plain;charset=UTF-8"}
    with served(tmp_path, keys=False) as (client, _):
        assert queued(client, text, graph())
        page = {**text, "Origin": "http://elsewhere.example"}
        refused = client.post("/prompt", json={"prompt": graph()}, headers=page)
        assert (refused.status_code, refused.json()["error"]["type"]) == (403, "origin_not_allowed")
        rebound = {**text, "Host": "elsewhere.example"}
        assert client.post("/interrupt", headers=rebound).status_code == 421


def test_a_prompt_outlives_its_process(tmp_path: Path) -> None:
    with served(tmp_path, TestEngine()) as (client, keys):
        prompt_id = queued(client, keys["ann"], graph("slow", steps=4), client_id="c")
    with served(tmp_path, TestEngine(), keys=False) as (client, _):
        told = done(client, keys["ann"], prompt_id)
        assert told["status"]["completed"] is True
        assert told["prompt"][3]["client_id"] == "c"
        name = {"filename": told["outputs"]["9"]["images"][0]["filename"]}
        assert client.get("/view", params=name, headers=keys["ann"]).status_code == 200


def test_uploads_count(tmp_path: Path) -> None:
    with served(tmp_path, kept_gib=20_000 / 2**30) as (client, keys):
        statuses = [
            client.post(
                "/upload/image",
                files={"image": (f"{number}.png", RED_PNG + bytes([number]), "image/png")},
                headers=keys["ann"],
            )
            for number in range(6)
        ]
        assert [answer.status_code for answer in statuses[:2]] == [200, 200]
        assert statuses[-1].status_code == 413
        assert statuses[-1].json()["error"]["type"] == "storage_quota_exceeded"
        assert upload(client, keys["bob"], RED_PNG)["name"] == "a.png"
        none = client.post("/upload/image", files={"other": RED_PNG}, headers=keys["bob"])
        assert (none.status_code, none.json()["error"]["details"]) == (400, "image")


def test_sockets_are_closed_when_the_gateway_leaves(tmp_path: Path) -> None:
    secret = KeyStore(tmp_path).create("bob")[1]
    with listening(tmp_path, endpoints=("tiny",)) as server:
        here = Place(server, {"bob": secret})
        with here.listen("bob") as socket:
            socket.recv(timeout=SECONDS)
            server.stop()
            read_to_the_end(socket)
