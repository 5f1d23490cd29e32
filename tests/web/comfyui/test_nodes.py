"""What there is, as ComfyUI's editors and clients ask for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounts.keys import KeyStore
from tests.web.comfyui.asking import bearer, served
from tests.web.openai.asking import Client

Place = tuple[Client, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def place(data: Path) -> Iterator[Place]:
    with served(data) as place:
        yield place


def test_nodes_say_what_they_take(place: Place) -> None:
    client, keys = place
    told = client.get("/object_info", headers=keys["ann"]).json()
    sampler = told["KSampler"]
    required = sampler["input"]["required"]
    assert required["model"] == ["MODEL", {}]
    assert required["steps"] == ["INT", {"default": 20, "min": 1, "max": 10000}]
    assert "euler" in required["sampler_name"][0]
    assert sampler["input"]["optional"]["seed"][1]["control_after_generate"] is True
    assert sampler["output"] == ["LATENT"]
    assert sampler["input_order"]["required"] == list(required)
    assert told["SaveImage"]["output_node"] is True
    assert told["LoraLoader"]["input"]["required"]["lora_name"][0] == ["style"]
    one = client.get("/api/object_info/KSampler", headers=keys["ann"]).json()
    assert one == {"KSampler": sampler}
    assert client.get("/object_info/NoSuchNode", headers=keys["ann"]).json() == {}


def test_a_key_sees_the_models_that_it_may_use(place: Place, data: Path) -> None:
    client, keys = place
    _, narrow = KeyStore(data).create("narrow", models=("editor",))
    assert set(client.get("/models/checkpoints", headers=keys["ann"]).json()) == {
        "tiny", "slow", "editor",
    }  # fmt: skip
    assert client.get("/models/checkpoints", headers=bearer(narrow)).json() == ["editor"]
    assert client.get("/api/models/loras", headers=keys["ann"]).json() == ["style"]
    assert client.get("/models/loras", headers=bearer(narrow)).json() == []


def test_the_lists_of_others_stay_where_they_are(place: Place) -> None:
    client, keys = place
    assert client.get("/models", headers=keys["ann"]).json()["object"] == "list"
    assert client.get("/models/tiny", headers=keys["ann"]).json()["id"] == "tiny"
    assert client.get("/models/checkpoint", headers=keys["ann"]).json()["error"]["param"] == "model"
    assert client.get("/api/models", headers=keys["ann"]).json()[0]["id"]


def test_the_machine_is_told_of(place: Place) -> None:
    client, keys = place
    told = client.get("/system_stats", headers=keys["ann"]).json()
    assert told["system"]["ram_total"] > told["system"]["ram_free"] > 0
    assert told["devices"][0]["name"]
    for path in ("/embeddings", "/extensions"):
        assert client.get(path, headers=keys["ann"]).json() == []
    assert client.get("/features", headers=keys["ann"]).json()["max_upload_size"] > 0
    freed = client.post("/free", json={"unload_models": True}, headers=keys["ann"])
    assert freed.status_code == 200
