"""Prompts over HTTP: queued, told of, interrupted and forgotten, each key's own."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.comfyui.asking import ID, done, endless, graph, queued, served
from tests.web.openai.asking import Client, picture
from tests.web.server.listening import wait_until

Place = tuple[Client, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("data")) as place:
        yield place


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_prompt_is_drawn_and_looked_at(place: Place, prefix: str) -> None:
    client, keys = place
    body = {"prompt": graph(batch := "a cat"), "client_id": "c", "front": True}
    answer = client.post(f"{prefix}/prompt", json=body, headers=keys["ann"])
    prompt_id = answer.json()["prompt_id"]
    told = done(client, keys["ann"], prompt_id)
    (image,) = told["outputs"]["9"]["images"]
    assert (image["subfolder"], image["type"]) == ("", "output")
    assert told["status"]["status_str"] == "success"
    assert told["status"]["completed"] is True
    assert [name for name, _ in told["status"]["messages"]][-1] == "execution_success"
    number, id, drawn, beside, outputs = told["prompt"]
    assert (id, drawn["6"]["inputs"]["text"], outputs) == (prompt_id, batch, ["9"])
    assert (beside["client_id"], number) == ("c", answer.json()["number"])
    assert [(one["code"], one["param"]) for one in told["warnings"]][:1] == [("no_effect", "front")]
    seen = client.get(f"{prefix}/view", params=image, headers=keys["ann"])
    assert picture(seen.content).getpixel((0, 0)) == (7, 0, 0)
    bare = client.get("/view", params={"filename": image["filename"]}, headers=keys["ann"])
    assert bare.content == seen.content


def test_pictures_are_shown_in_other_formats(place: Place) -> None:
    client, keys = place
    told = done(client, keys["ann"], queued(client, keys["ann"], graph()))
    name = told["outputs"]["9"]["images"][0]["filename"]

    def seen(**asked: str) -> Any:
        answer = client.get("/view", params={"filename": name, **asked}, headers=keys["ann"])
        assert answer.status_code == 200
        found = picture(answer.content)
        assert answer.headers["content-type"] == f"image/{(found.format or '').lower()}"
        return found

    assert seen(preview="webp;50").format == "WEBP"
    assert seen(preview="jpeg;999").format == "JPEG"
    assert seen(preview="anything").format == "WEBP"
    assert (seen(channel="rgb").format, seen(channel="rgb").mode) == ("PNG", "RGB")
    assert seen(channel="a").getpixel((0, 0)) == (0, 0, 0, 255)


def test_keys_know_nothing_of_each_other(place: Place) -> None:
    client, keys = place
    running = queued(client, keys["ann"], endless())
    assert client.get("/queue", headers=keys["bob"]).json() == {
        "queue_running": [],
        "queue_pending": [],
    }
    nothing = {"exec_info": {"queue_remaining": 0}}
    assert client.get("/prompt", headers=keys["bob"]).json() == nothing
    assert client.get("/prompt", headers=keys["ann"]).json() != nothing
    for path, body in (
        ("/interrupt", {"prompt_id": running}),
        ("/interrupt", None),
        ("/queue", {"clear": True, "delete": [running]}),
    ):
        assert client.post(path, json=body, headers=keys["bob"]).status_code == 200
    prompt_id = queued(client, keys["ann"], graph())
    told = done(client, keys["ann"], prompt_id)
    queue = client.get("/queue", headers=keys["ann"]).json()
    assert running in [entry[1] for entry in [*queue["queue_running"], *queue["queue_pending"]]]
    client.post("/interrupt", json={"prompt_id": running}, headers=keys["ann"])
    assert client.get(f"/history/{prompt_id}", headers=keys["bob"]).json() == {}
    client.post("/history", json={"clear": True, "delete": [prompt_id]}, headers=keys["bob"])
    assert prompt_id in client.get("/history", headers=keys["ann"]).json()
    assert client.get("/history", headers=keys["bob"]).json() == {}
    name = {"filename": told["outputs"]["9"]["images"][0]["filename"]}
    assert client.get("/view", params=name, headers=keys["ann"]).status_code == 200
    assert client.get("/view", params=name, headers=keys["bob"]).status_code == 404


def test_history_is_bounded_and_can_be_forgotten(place: Place) -> None:
    client, keys = place
    ids = [queued(client, keys["bob"], graph()) for _ in range(3)]
    told = [done(client, keys["bob"], id) for id in ids]
    latest = client.get("/history", params={"max_items": 2}, headers=keys["bob"]).json()
    assert list(latest) == ids[1:]
    assert client.get("/history?max_items=x", headers=keys["bob"]).status_code == 400
    client.post("/history", json={"delete": ids[:1]}, headers=keys["bob"])
    assert list(client.get("/history", headers=keys["bob"]).json()) == ids[1:]
    gone = {"filename": told[0]["outputs"]["9"]["images"][0]["filename"]}
    assert client.get("/view", params=gone, headers=keys["bob"]).status_code == 404
    client.post("/history", json={"clear": True}, headers=keys["bob"])
    assert client.get("/history", headers=keys["bob"]).json() == {}


def test_previewed_pictures_are_temporary_ones(place: Place) -> None:
    client, keys = place
    prompt_id = queued(client, keys["ann"], graph(output="PreviewImage"))
    (image,) = done(client, keys["ann"], prompt_id)["outputs"]["9"]["images"]
    assert image["type"] == "temp"
    seen = client.get("/view", params=image, headers=keys["ann"])
    assert picture(seen.content).size == (64, 64)


def test_some_outputs_alone_are_executed(place: Place) -> None:
    client, keys = place
    both = graph()
    both["10"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    only = {"partial_execution_targets": ["10"]}
    told = done(client, keys["ann"], queued(client, keys["ann"], both, **only))
    assert list(told["outputs"]) == ["10"]


def test_a_running_prompt_is_interrupted(place: Place) -> None:
    client, keys = place
    first, second = (queued(client, keys["ann"], endless()) for _ in range(2))
    wait_until(lambda: set(running(client, keys["ann"])) >= {first, second})
    client.post("/interrupt", json={"prompt_id": first}, headers=keys["ann"])
    told = done(client, keys["ann"], first)
    assert told["status"]["status_str"] == "error"
    assert told["status"]["completed"] is False
    assert told["status"]["messages"][-1][0] == "execution_interrupted"
    assert second in running(client, keys["ann"])
    client.post("/interrupt", headers=keys["ann"])
    assert done(client, keys["ann"], second)["status"]["completed"] is False


def running(client: Client, headers: dict[str, str]) -> list[str]:
    """The prompts that are drawn."""
    return [entry[1] for entry in client.get("/queue", headers=headers).json()["queue_running"]]


def test_a_client_names_its_prompt(place: Place) -> None:
    client, keys = place
    assert queued(client, keys["ann"], graph(), prompt_id=ID.upper()) == ID
    for name in ("ann", "bob"):
        again = client.post(
            "/prompt", json={"prompt": graph(), "prompt_id": ID}, headers=keys[name]
        )
        assert again.status_code == 409
    none = {"prompt": graph(), "prompt_id": "../../etc"}
    refused = client.post("/prompt", json=none, headers=keys["ann"])
    assert (refused.status_code, refused.json()["error"]["details"]) == (400, "prompt_id")
    assert done(client, keys["ann"], ID)["status"]["completed"] is True


def test_refusals_are_in_comfyuis_form(place: Place) -> None:
    client, keys = place
    broken = graph(steps=5000, sampler_name="none")
    answer = client.post("/prompt", json={"prompt": broken}, headers=keys["ann"])
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "prompt_outputs_failed_validation"
    (fault,) = answer.json()["node_errors"]["3"]["errors"]
    assert (fault["type"], fault["extra_info"]["input_name"]) == (
        "value_not_in_list",
        "sampler_name",
    )
    for body, kind in (({}, "no_prompt"), ({"prompt": {}}, "no_prompt"), ([], "invalid_type")):
        answer = client.post("/api/prompt", json=body, headers=keys["ann"])
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == kind
        assert answer.json()["node_errors"] == {}
    stranger = client.post("/prompt", json={"prompt": graph()})
    assert (stranger.status_code, stranger.json()["error"]["type"]) == (401, "invalid_api_key")
    failed = done(client, keys["ann"], queued(client, keys["ann"], graph("fail")))
    kind, told = failed["status"]["messages"][-1]
    assert (kind, failed["outputs"]) == ("execution_error", {})
    assert told["exception_message"] == "The pipeline raised."
