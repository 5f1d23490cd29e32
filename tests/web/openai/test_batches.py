"""The Batch and Files APIs as clients see them; the engine paints plain pictures."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.settings import Settings
from tests.images.test_decode import saved
from tests.small_engine import TestEngine, small_catalog

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
Client = TestClient[Litestar]


@pytest.fixture
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture
def client(engine: TestEngine, tmp_path: Path) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, small_catalog())) as client:
        yield client


def line(id: str, url: str = GENERATIONS, **body: Any) -> dict[str, Any]:
    return {
        "custom_id": id,
        "method": "POST",
        "url": url,
        "body": {"model": "tiny", "prompt": "a cat", **body},
    }


def upload(client: Client, *lines: Any, text: bytes | None = None, **fields: Any) -> Any:
    data = b"\n".join(map(msgspec.json.encode, lines)) if text is None else text
    form = {"purpose": "batch", **fields}
    return client.post("/v1/files", files={"file": ("lines.jsonl", data)}, data=form)


def begin(client: Client, file_id: str, endpoint: str = GENERATIONS, **more: Any) -> Any:
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
    return client.post("/v1/batches", json=body)


def begun(client: Client, *lines: Any, endpoint: str = GENERATIONS, **more: Any) -> str:
    answer = begin(client, upload(client, *lines).json()["id"], endpoint, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ended(client: Client, batch_id: str, seconds: float = 20) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch: dict[str, Any] = client.get(f"/v1/batches/{batch_id}").json()
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch stands at {batch}")


def content(client: Client, file_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    return [msgspec.json.decode(text) for text in answer.content.splitlines()]


def refused(answer: Any, status: int, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    return str(error["message"])


def test_a_batch_is_answered_line_by_line(client: Client, engine: TestEngine) -> None:
    batch = ended(
        client,
        begun(
            client,
            line("one", seed=5),
            line("two", n=2, seed=9),
            line("wrong", size="1x1"),
            metadata={"who": "me"},
        ),
    )
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert batch["metadata"] == {"who": "me"}
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["completed_at"]
    one, two = content(client, batch["output_file_id"])
    assert (one["custom_id"], two["custom_id"]) == ("one", "two")
    assert one["error"] is None
    assert one["response"]["status_code"] == 200
    assert one["response"]["request_id"].startswith("req_")
    (item,) = one["response"]["body"]["data"]
    assert base64.b64decode(item["b64_json"]).startswith(b"\x89PNG")
    assert "url" not in item
    assert [item["seed"] for item in two["response"]["body"]["data"]] == [9, 10]
    (wrong,) = content(client, batch["error_file_id"])
    assert wrong["custom_id"] == "wrong"
    assert wrong["response"]["status_code"] == 400
    assert wrong["response"]["body"]["error"]["param"] == "size"
    assert {job.priority for job in engine.jobs} == {"batch"}


def test_a_line_may_ask_for_a_url(client: Client) -> None:
    batch = ended(client, begun(client, line("one", response_format="url")))
    (one,) = content(client, batch["output_file_id"])
    (item,) = one["response"]["body"]["data"]
    assert item["url"].startswith("http://testserver.local/files/")
    assert client.get(item["url"]).content.startswith(b"\x89PNG")


def test_edits_come_in_batches_too(client: Client, engine: TestEngine) -> None:
    picture = (
        "data:image/png;base64,"
        + base64.b64encode(saved(Image.new("RGB", (64, 64)), "png")).decode()
    )
    lines = [line("one", EDITS, images=[{"image_url": picture}], strength=0.5)]
    batch = ended(client, begun(client, *lines, endpoint=EDITS))
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert engine.jobs[-1].images


@pytest.mark.parametrize(
    ("text", "code", "number", "param"),
    [
        (b"", "empty_file", None, None),
        (b"{}\n", "invalid_request", 1, "custom_id"),
        (b"\n\nnot json\n", "invalid_json_line", 3, None),
        (b'{"custom_id":"a","method":"GET","url":"/v1/images/generations","body":{}}',
         "invalid_request", 1, "method"),
        (b'{"custom_id":"a","method":"POST","url":"/v1/chat","body":{}}',
         "mismatched_url", 1, "url"),
        (b'{"custom_id":"","method":"POST","url":"/v1/images/generations","body":{}}',
         "invalid_custom_id", 1, "custom_id"),
        (b'{"custom_id":"a","method":"POST","url":"/v1/images/generations","body":{"stream":true}}',
         "unsupported_stream", 1, "body.stream"),
        (b'{"custom_id":"a","method":"POST","url":"/v1/images/generations","body":{}}\n' * 2,
         "duplicate_custom_id", 2, "custom_id"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_answered_fails_before_anything_is_drawn(
    client: Client, engine: TestEngine, text: bytes, code: str, number: int | None, param: Any
) -> None:
    file = upload(client, text=text).json()
    batch = ended(client, begin(client, file["id"]).json()["id"])
    assert batch["status"] == "failed"
    assert batch["failed_at"]
    assert batch["output_file_id"] is None
    (fault,) = batch["errors"]["data"]
    assert (fault["code"], fault["line"], fault["param"]) == (code, number, param)
    assert fault["message"].endswith(".")
    assert engine.jobs == []


def test_a_cancelled_batch_keeps_what_was_answered(client: Client, engine: TestEngine) -> None:
    slow = [line(f"slow {number}", prompt="slow", num_inference_steps=10) for number in range(40)]
    batch_id = begun(client, line("quick"), *slow)
    deadline = time.monotonic() + 10
    while client.get(f"/v1/batches/{batch_id}").json()["request_counts"]["completed"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = client.post(f"/v1/batches/{batch_id}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] in ("cancelling", "cancelled")
    batch = ended(client, batch_id)
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    done = [entry["custom_id"] for entry in content(client, batch["output_file_id"])]
    assert "quick" in done
    assert len(done) < 41
    errors = content(client, batch["error_file_id"])
    assert {entry["error"]["code"] for entry in errors} == {"batch_cancelled"}
    assert len(done) + len(errors) == 41
    assert engine.num_running == 0
    again = client.post(f"/v1/batches/{batch_id}/cancel")
    assert again.json()["status"] == "cancelled"


def test_an_ended_batch_cannot_be_cancelled(client: Client) -> None:
    batch = ended(client, begun(client, line("one")))
    refused(client.post(f"/v1/batches/{batch['id']}/cancel"), 409, None)


def test_lines_wait_while_the_engine_is_full(tmp_path: Path) -> None:
    engine = TestEngine(step_seconds=0.01, max_jobs=2)
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, small_catalog())) as client:
        batch = ended(client, begun(client, *(line(str(number)) for number in range(12))), 60)
    assert batch["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    assert engine.max_running == 2


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input_file_id": "file-none"}, 404, "id"),
        ({"endpoint": "/v1/chat/completions"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata[...]"),
    ],
)
def test_a_batch_that_cannot_begin_is_refused(
    client: Client, body: dict[str, Any], status: int, param: str
) -> None:
    file = upload(client, line("one")).json()
    whole = {
        "input_file_id": file["id"], "endpoint": GENERATIONS, "completion_window": "24h", **body,
    }  # fmt: skip
    refused(client.post("/v1/batches", json=whole), status, param)


def test_a_file_is_kept_listed_read_and_deleted(client: Client) -> None:
    one = upload(client, line("one")).json()
    other = upload(client, line("two"), purpose="user_data").json()
    assert one["object"] == "file"
    assert one["status"] == "processed"
    assert one["filename"] == "lines.jsonl"
    assert client.get(f"/v1/files/{one['id']}").json() == one
    listed = client.get("/v1/files").json()
    assert [file["id"] for file in listed["data"]] == [other["id"], one["id"]]
    assert (listed["first_id"], listed["last_id"]) == (other["id"], one["id"])
    page = client.get("/v1/files", params={"limit": 1, "order": "asc"}).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([one["id"]], True)
    after = client.get("/v1/files", params={"after": one["id"], "order": "asc"}).json()
    assert [file["id"] for file in after["data"]] == [other["id"]]
    batch_files = client.get("/v1/files", params={"purpose": "batch"}).json()
    assert [file["id"] for file in batch_files["data"]] == [one["id"]]
    assert content(client, one["id"])[0]["custom_id"] == "one"
    assert client.delete(f"/v1/files/{one['id']}").json() == {
        "id": one["id"], "object": "file", "deleted": True,
    }  # fmt: skip
    refused(client.get(f"/v1/files/{one['id']}"), 404, "id")
    refused(client.get(f"/v1/files/{one['id']}/content"), 404, "id")


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"purpose": "dancing"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"expires_after[seconds]": "5"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "soon"}, "expires_after[seconds]"),
    ],
)
def test_an_upload_that_makes_no_sense_is_refused(
    client: Client, form: dict[str, Any], param: str
) -> None:
    refused(upload(client, line("one"), **form), 400, param)


def test_an_upload_without_a_file_is_refused(client: Client) -> None:
    answer = client.post("/v1/files", data={"purpose": "batch"}, files={"more": b"x"})
    refused(answer, 400, "file")


def test_a_file_says_when_it_goes(client: Client) -> None:
    lasting: dict[str, Any] = {"expires_after[seconds]": "3600"}
    file = upload(client, line("one"), **lasting).json()
    assert file["expires_at"] - file["created_at"] == pytest.approx(3600, abs=1)


def test_batches_are_listed_newest_first(client: Client) -> None:
    ids = [begun(client, line("one")) for _ in range(3)]
    page = client.get("/v1/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"] is True
    rest = client.get("/v1/batches", params={"after": page["last_id"]}).json()
    assert [batch["id"] for batch in rest["data"]] == [ids[0]]
    assert rest["has_more"] is False
    refused(client.get("/v1/batches", params={"limit": 101}), 400, "limit")


def test_keys_see_their_own_alone(engine: TestEngine, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    ann, bob = keys.create("ann", requests_per_minute=10), keys.create("bob")
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, small_catalog())) as client:
        client.headers["Authorization"] = f"Bearer {ann[1]}"
        # More lines than ann may send in a minute: a batch's are not counted.
        batch_id = begun(client, *(line(str(number)) for number in range(20)))
        batch = ended(client, batch_id)
        assert batch["request_counts"]["completed"] == 20
        assert {job.owner for job in engine.jobs} == {ann[0].id}
        client.headers["Authorization"] = f"Bearer {bob[1]}"
        refused(client.get(f"/v1/batches/{batch_id}"), 404, "batch_id")
        refused(client.get(f"/v1/files/{batch['output_file_id']}"), 404, "id")
        assert client.get("/v1/batches").json()["data"] == []
        del client.headers["Authorization"]
        assert client.get("/v1/batches").status_code == 401


def test_lines_of_a_revoked_key_are_not_drawn(engine: TestEngine, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    _, still_there = keys.create("ann")
    gone, secret = keys.create("bob")
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, small_catalog())) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        slow = [line(str(number), prompt="slow") for number in range(20)]
        batch_id = begun(client, *slow)
        while len(engine.jobs) < 16:
            time.sleep(0.01)
        keys.revoke(gone.id)
        # The lines on their way are answered, the four that wait for a place are not.
        client.headers["Authorization"] = f"Bearer {still_there}"
        runs = client.app.state.runs
        deadline = time.monotonic() + 20
        while not runs.batches.store.get(batch_id).has_ended:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        batch = runs.batches.store.get(batch_id)
    assert (batch.num_completed, batch.num_failed) == (16, 4)


def test_a_line_waits_as_long_as_it_takes(client: Client, engine: TestEngine) -> None:
    batch = ended(client, begun(client, line("late", timeout=0.001)))
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert engine.jobs[-1].deadline is None


def test_a_line_that_fails_late_fails_alone(tmp_path: Path) -> None:
    settings = Settings(endpoints=("tiny",), data=tmp_path, heartbeat_seconds=0.05)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        late = line("late", prompt="slow fail", num_inference_steps=4)
        batch = ended(client, begun(client, late, line("fine")))
        assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        (entry,) = content(client, batch["error_file_id"])
    assert entry["response"]["status_code"] == 500


def test_a_line_above_its_keys_limit_ends_the_wait(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("shop", concurrent_samples=2)
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        batch = ended(client, begun(client, line("ten", n=10), line("two", n=2)))
        assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
        (entry,) = content(client, batch["error_file_id"])
    assert entry["response"]["body"]["error"]["param"] == "n"
