"""LoRAs loaded and unloaded by request: by whom, from where, and what is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.collection import Collection
from gateway.settings import Settings
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import Client, post, refused

SERVED = ["tiny", "tiny:style", "slow", "editor", "old"]
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


class Loading(TestEngine):
    """Notes what it is to have in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[tuple[str, str]] = []
        self.fault: Exception | None = None

    async def load_adapter(self, endpoint: str, route: str) -> None:
        if self.fault:
            raise self.fault
        self.loaded.append((endpoint, route))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adapters" / "tiny" / "peft").mkdir(parents=True)
    for name in ("ink.safetensors", "peft/adapter_model.safetensors", "pickle.bin"):
        (tmp_path / "adapters" / "tiny" / name).write_bytes(b"weights")
    (tmp_path / "secret.safetensors").write_bytes(b"weights")
    (tmp_path / "adapters" / "tiny" / "way_out.safetensors").symlink_to(
        tmp_path / "secret.safetensors"
    )
    return tmp_path


@pytest.fixture
def engine() -> Loading:
    return Loading()


@pytest.fixture
def client(folder: Path, engine: Loading) -> Iterator[Client]:
    with opened(folder, engine) as client:
        yield client


def opened(folder: Path, engine: Loading) -> Client:
    settings = Settings(data=folder / "data", adapters=folder / "adapters")
    catalog = msgspec.structs.replace(small_catalog(), aliases={"old": "tiny:style"})
    return TestClient(create_app(settings, engine, Collection.of(catalog)))


def ids(client: Client) -> list[str]:
    return [model["id"] for model in client.get("/v1/models").json()["data"]]


def success(answer: Any) -> bool:
    return bool(answer.status_code == 200 and answer.text.startswith("Success: LoRA adapter '"))


@pytest.mark.parametrize(
    ("name", "path"), [("pen", "tiny/ink.safetensors"), ("slow:pen", "{}/adapters/tiny/peft")]
)
def test_a_lora_is_served_from_when_it_is_loaded_until_it_is_unloaded(
    client: Client, engine: Loading, folder: Path, name: str, path: str
) -> None:
    id = name if ":" in name else f"tiny:{name}"
    given = {"lora_name": name, "lora_path": path.format(folder)}
    assert success(client.post(LOAD, json=given))
    assert engine.loaded == [tuple(id.split(":"))]
    # Whoever loaded it looks for its name in the list, and asks for it by that.
    assert {id, name} <= set(ids(client))
    assert {post(client, model=known).status_code for known in (id, name)} == {200}
    again = client.post(LOAD, json=given)
    assert "already been loaded" in refused(again, 400, "invalid_value", "lora_name")
    assert again.json()["error"]["type"] == "InvalidUserInput"
    assert success(client.post(LOAD, json=given | {"load_inplace": True}))
    assert success(client.post(UNLOAD, json={"lora_name": name}))
    assert not {id, name} & set(ids(client))
    refused(post(client, model=id), 404, "model_not_found", "model")
    refused(post(client, model=name), 404, "model_not_found", "model")
    refused(client.post(UNLOAD, json={"lora_name": name}), 404, None, "lora_name")
    assert success(client.post(LOAD, json=given))


def test_one_of_the_catalogue_is_unloaded_too(client: Client) -> None:
    assert "tiny:style" in ids(client)
    assert success(client.post(UNLOAD, json={"lora_name": "tiny:style"}))
    assert ids(client) == ["tiny", "slow", "editor"]  # and no alias of it


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("tiny/none.safetensors", 404, "no file"),
        ("tiny/pickle.bin", 400, "pickled"),
        ("tiny", 400, "holds no LoRA"),
        ("/etc/passwd", 400, "none of the folders"),
        ("../secret.safetensors", 400, "none of the folders"),
        ("tiny/../../secret.safetensors", 400, "none of the folders"),
        ("tiny/way_out.safetensors", 404, "no file"),
        ("{}/secret.safetensors", 400, "none of the folders"),
        ("nobody/nothing", 404, "hub"),
        ("https://example.com/x.safetensors", 404, "no file"),
        ("etc/ssl", 404, "hub"),
    ],
)
def test_what_cannot_be_loaded_is_told_why(
    client: Client, folder: Path, path: str, status: int, reason: str
) -> None:
    given = {"lora_name": "tiny:new", "lora_path": path.format(folder)}
    answer = client.post(LOAD, json=given)
    code = "invalid_value" if status == 400 else None
    assert reason in refused(answer, status, code, "lora_path")
    assert "tiny:new" not in ids(client)


def test_what_the_engine_cannot_use_is_not_served(client: Client, engine: Loading) -> None:
    engine.fault = RuntimeError("the shapes differ")
    answer = client.post(LOAD, json={"lora_name": "new", "lora_path": "tiny/ink.safetensors"})
    assert "the shapes differ" in refused(answer, 400, "invalid_value", "lora_path")
    assert "tiny:new" not in ids(client)


@pytest.mark.parametrize("name", ["other:new", "tiny:a/b", "a:b:c", "slow", "tiny"])
def test_names_are_those_of_routes(client: Client, name: str) -> None:
    answer = client.post(LOAD, json={"lora_name": name, "lora_path": "tiny/ink.safetensors"})
    assert answer.status_code in (400, 404), answer.text
    assert ids(client) == SERVED


def test_their_bodies_are_in_the_document(client: Client) -> None:
    paths = client.get("/schema/openapi.json").json()["paths"]
    for path, required in {LOAD: ["lora_name", "lora_path"], UNLOAD: ["lora_name"]}.items():
        asked = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert asked["required"] == required
        assert set(paths[path]["post"]["responses"]["200"]["content"]) == {"text/plain"}


def test_only_operators_may(folder: Path, engine: Loading) -> None:
    keys = KeyStore(folder / "data")
    _, secret = keys.create("any")
    _, operators = keys.create("operator", operator=True)
    given = {"lora_name": "tiny:new", "lora_path": "tiny/ink.safetensors"}
    with opened(folder, engine) as client:
        for path in (LOAD, UNLOAD):
            refused(client.post(path, json=given), 401, "invalid_api_key", None)
            bearer = {"Authorization": f"Bearer {secret}"}
            answer = client.post(path, json=given, headers=bearer)
            refused(answer, 403, "permission_denied", None)
        assert not engine.loaded
        bearer = {"Authorization": f"Bearer {operators}"}
        assert success(client.post(LOAD, json=given, headers=bearer))
