"""What is asked of one front holds at another: each test asks two processes by turns."""

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import httpx
import msgspec
import pytest

from tests.fronts.house import DRAW, House, clients, housed
from tests.runs import postgres
from tests.web.comfyui.asking import endless, graph

Clients = list[httpx.Client]
SOON_SECONDS = 60.0


@pytest.fixture(scope="module")
def house(
    postgres_server: postgres.Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with housed(tmp_path_factory.mktemp("fronts"), postgres_server) as house:
        yield house


@pytest.fixture(scope="module")
def both(house: House) -> Iterator[Clients]:
    _, secret = house.new_key(operator=True)
    with clients(house, secret) as two:
        for client in two:
            known(client)
        yield two


def until(check: Callable[[], Any], seconds: float = SOON_SECONDS) -> Any:
    """What a check finds once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def known(client: httpx.Client) -> None:
    """Wait until a front knows a client's key."""
    until(lambda: client.get("/status.json").is_success)


def is_refused(client: httpx.Client) -> bool:
    """Whether a client's key opens nothing."""
    return client.get("/status.json").status_code == 401


def drawn(client: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """The one picture of an answer."""
    asked = {"model": "tiny", "prompt": "a cat", **fields}
    answer = client.post(DRAW, json=asked, headers=headers)
    assert answer.is_success, answer.text
    (item,) = answer.json()["data"]
    return item


def ended(client: httpx.Client, path: str, status: str) -> Any:
    """What is told of something once it stands so."""

    def found() -> Any:
        told = client.get(path).json()
        return told if told["status"] == status else None

    return until(found)


def seed_of(client: httpx.Client, headers: dict[str, str], **fields: Any) -> int:
    """The seed of a picture, by its receipt."""
    seed: int = drawn(client, headers, **fields)["receipt"]["seed"]
    return seed


def test_urls_of_one_open_at_the_other(both: Clients) -> None:
    one, other = both
    url = httpx.URL(drawn(one, response_format="url")["url"])
    assert str(url).startswith(str(one.base_url))
    assert other.get(url.raw_path.decode()).content == one.get(url).content
    assert other.get(url.copy_set_param("signature", "0" * 32).raw_path.decode()).is_error
    asked = {"model": "editor", "prompt": "x", "image": str(url)}
    edited = other.post("/v1/images/edits", json=asked)
    assert edited.is_success, edited.text


def test_a_key_is_known_to_all_soon_and_revoked_at_all(house: House, both: Clients) -> None:
    key_id, secret = house.new_key()
    began = time.monotonic()
    with clients(house, secret) as two:
        for client in two:
            known(client)
        assert time.monotonic() - began < SOON_SECONDS
        house.revoke(key_id)
        for client in two:
            until(partial(is_refused, client))
    assert all(client.get("/v1/models").is_success for client in both)


def test_a_limit_of_sixty_is_sixty_in_sum(house: House) -> None:
    _, secret = house.new_key(requests_per_minute=60)
    with clients(house, secret) as two, ThreadPoolExecutor(4) as threads:
        for client in two:
            known(client)
        answers = list(
            threads.map(lambda turn: two[turn % 2].get("/v1/models").status_code, range(100))
        )
    assert set(answers) == {200, 429}
    assert 52 <= answers.count(200) <= 66


@contextmanager
def drawing(client: httpx.Client) -> Iterator[None]:
    """A picture is being drawn for as long as the block lasts."""
    asked = {"model": "slow", "prompt": "slow", "num_inference_steps": 2000}
    stream = {"stream": True, "partial_images": 1}
    with client.stream("POST", DRAW, json=asked | stream) as answer:
        lines = answer.iter_lines()  # the answer ends with them
        assert next(line for line in lines if line.startswith("data: {"))
        yield


def test_samples_at_once_are_bounded_in_sum(house: House) -> None:
    _, secret = house.new_key(concurrent_samples=2)
    quick = {"model": "tiny", "prompt": "a cat"}
    with clients(house, secret) as (one, other):
        known(one)
        known(other)
        with drawing(one):
            assert other.post(DRAW, json=quick).is_success, "one of two is left"
            with drawing(other):
                for client, more in product((one, other), ({}, {"stream": True})):
                    refused = client.post(DRAW, json=quick | more)
                    assert refused.status_code == 429
                    assert int(refused.headers["retry-after"]) >= 1
        until(lambda: one.post(DRAW, json=quick | {"n": 2}).is_success)
        for _ in range(5):
            assert other.post(DRAW, json=quick | {"n": 2}).is_success, "free before it is answered"
            assert one.post(DRAW, json=quick | {"n": 2}).is_success


def test_an_idempotency_key_means_one_picture(both: Clients) -> None:
    one, other = both
    named = {"Idempotency-Key": "order-7"}
    same = {seed_of(client, named) for client in (one, other, one)}
    assert len(same) == 1
    assert seed_of(one, {"Idempotency-Key": "order-8"}) not in same
    assert seed_of(one, named, prompt="a dog") not in same
    assert seed_of(one, {}) not in same
    assert seed_of(other, named, seed=7) == 7


def test_files_batches_and_their_webhooks_are_everybodys(both: Clients) -> None:
    one, other = both
    body = {"model": "tiny", "prompt": "x"}
    line = {"custom_id": "1", "method": "POST", "url": DRAW, "body": body}
    files = {"file": ("lines.jsonl", msgspec.json.encode(line))}
    file = one.post("/v1/files", files=files, data={"purpose": "batch"}).json()["id"]
    asked = {"input_file_id": file, "endpoint": DRAW, "completion_window": "24h"}
    batch = other.post("/v1/batches", json=asked).json()["id"]
    done = ended(one, f"/v1/batches/{batch}", "completed")
    output = other.get(f"/v1/files/{done['output_file_id']}/content").text
    assert msgspec.json.decode(output.splitlines()[0])["custom_id"] == "1"
    hook = {"name": "hook", "url": "https://hooks.example/", "event_types": ["batch.completed"]}
    made = one.post("/v1/webhook_endpoints", json=hook).json()
    assert other.get(f"/v1/webhook_endpoints/{made['id']}").json()["url"] == hook["url"]
    assert other.delete(f"/v1/webhook_endpoints/{made['id']}").is_success
    assert one.get(f"/v1/webhook_endpoints/{made['id']}").status_code == 404


def test_conversations_go_on_anywhere(both: Clients) -> None:
    one, other = both
    tool = [{"type": "image_generation"}]
    asked = {"model": "editor", "input": "a cat", "tools": tool}
    first = one.post("/v1/responses", json=asked).json()
    again = other.get(f"/v1/responses/{first['id']}").json()
    assert again["output"] == first["output"]
    more = asked | {"previous_response_id": first["id"], "input": "at night"}
    second = other.post("/v1/responses", json=more)
    assert second.is_success, second.text
    blue = base64.b64decode(second.json()["output"][0]["result"])
    assert blue != base64.b64decode(first["output"][0]["result"])
    assert other.delete(f"/v1/responses/{first['id']}").is_success
    assert one.get(f"/v1/responses/{first['id']}").status_code == 404


def test_a_checkpoint_chosen_at_one_is_chosen(both: Clients) -> None:
    one, other = both
    chosen = {"sd_model_checkpoint": "tiny:style"}
    assert one.post("/sdapi/v1/options", json=chosen).is_success
    assert other.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "tiny:style"


def test_runs_are_watched_and_ended_anywhere(both: Clients) -> None:
    one, other = both
    body = {"model_id": "tiny", "inputs": {"prompt": "x", "seed": 7}}
    run = one.post("/api/run/queue", json=body).json()["run_id"]
    done = ended(other, f"/api/run/{run}", "success")
    url = httpx.URL(done["outputs"][0]["data"]["images"][0]["url"]).raw_path.decode()
    assert one.get(url).content == other.get(url).content
    prompt = one.post("/prompt", json={"prompt": endless()}).json()["prompt_id"]
    until(lambda: [queued[1] for queued in other.get("/queue").json()["queue_running"]] == [prompt])
    assert other.post("/interrupt", json={}).is_success
    told = until(lambda: one.get(f"/history/{prompt}").json())
    assert told[prompt]["status"]["status_str"] == "error"
    named = {"Idempotency-Key": "job"}
    asked = {"workflow": graph()}
    jobs = {client.post("/api/v2/jobs", json=asked, headers=named).json()["id"] for client in both}
    assert len(jobs) == 1


def test_uploads_are_drawn_from_anywhere(both: Clients) -> None:
    one, other = both
    png = base64.b64decode(drawn(one, response_format="b64_json")["b64_json"])
    sent = one.post("/upload/image", files={"image": ("mine.png", png)}).json()
    assert other.get("/view", params={"filename": sent["name"], "type": "input"}).content == png
    params = {"type": "image/png", "file_size": str(len(png))}
    promised = one.get("/api/upload-url", params=params).json()
    put = httpx.URL(promised["upload_url"]).raw_path.decode()
    assert other.put(put, content=png, headers={"Content-Type": "image/png"}).is_success
    got = httpx.URL(promised["download_url"]).raw_path.decode()
    assert one.get(got).content == png
