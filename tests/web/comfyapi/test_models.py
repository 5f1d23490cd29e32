"""Comfy's model router over HTTP: awaited, queued, described."""

import time
from typing import Any

import pytest

from tests.web.comfyapi.app import Client

TINY = "/v2/models/local/tiny"


def completed(client: Client, place: str) -> Any:
    """A request once it is completed."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = client.get(f"{place}/status").json()
        if status["status"] == "COMPLETED":
            return status
        assert status["status"] in ("IN_QUEUE", "IN_PROGRESS")
        time.sleep(0.02)
    raise AssertionError("the request was not completed")


def test_models_are_listed_page_by_page(client: Client) -> None:
    first = client.get("/v2/models", params={"limit": 3}).json()
    assert [model["id"] for model in first["data"]][:2] == ["local/tiny", "local/tiny:style"]
    assert (first["has_more"], first["limit"]) == (True, 3)
    rest = client.get("/v2/models", params={"limit": 300, "cursor": first["next_cursor"]}).json()
    assert (rest["has_more"], rest["next_cursor"], rest["limit"]) == (False, None, 100)
    assert {"id": "local/editor", "provider": "local", "model": "editor", "billing": {}} in (
        first["data"] + rest["data"]
    )
    refused = client.get("/v2/models", params={"cursor": "x"})
    assert (refused.status_code, refused.json()["error_type"]) == (400, "invalid_input")


@pytest.mark.parametrize("id", ["local/tiny", "anyone/tiny", "local/tiny:style"])
def test_a_run_answers_pictures(client: Client, id: str) -> None:
    answer = client.post(f"/v2/models/{id}", json={"prompt": "a cat", "seed": 3, "n": 2})
    assert answer.status_code == 200
    assert answer.headers["x-comfy-request-id"] == answer.headers["x-request-id"]
    data = answer.json()["data"]
    assert [picture["seed"] for picture in data] == [3, 4]
    assert client.get(data[0]["url"], headers={"Authorization": ""}).content[:4] == b"\x89PNG"


def test_what_is_asked_twice_under_one_key_is_drawn_once(client: Client) -> None:
    body, key = {"prompt": "a cat"}, {"Idempotency-Key": "one"}
    first = client.post(TINY, json=body, headers=key).json()
    assert client.post(TINY, json=body, headers=key).json() == first
    assert client.post(TINY, json=body).json() != first
    other = client.post(TINY, json={"prompt": "a dog"}, headers=key)
    assert (other.status_code, other.json()["error_type"]) == (400, "invalid_input")


def test_a_queued_request_is_collected(client: Client) -> None:
    made = client.post(f"{TINY}/requests", json={"prompt": "a cat", "seed": 5})
    assert (made.status_code, made.json()["status"]) == (202, "IN_QUEUE")
    place = f"{TINY}/requests/{made.json()['request_id']}"
    assert completed(client, place)["queue_position"] is None
    assert client.get(place).json()["data"][0]["seed"] == 5
    ended = client.put(f"{place}/cancel")
    assert (ended.status_code, ended.json()["status"]) == (409, "ALREADY_COMPLETED")


def test_a_cancelled_request_is_completed_as_cancelled(client: Client) -> None:
    asked = {"prompt": "a slow cat", "num_inference_steps": 2000}
    made = client.post("/v2/models/local/slow/requests", json=asked).json()
    place = f"/v2/models/local/slow/requests/{made['request_id']}"
    early = client.get(place)
    assert (early.status_code, int(early.headers["retry-after"])) == (409, 1)
    assert client.put(f"{place}/cancel").status_code == 202
    status = completed(client, place)
    assert status["error_type"] == "cancelled"
    assert client.get(place).json() == status


def test_failures_and_refusals_are_of_known_kinds(client: Client) -> None:
    made = client.post(f"{TINY}/requests", json={"prompt": "fail"}).json()
    status = completed(client, f"{TINY}/requests/{made['request_id']}")
    assert (status["error_type"], "raised" in status["detail"]) == ("internal_error", True)
    failed = client.post(TINY, json={"prompt": "fail"})
    assert (failed.status_code, failed.json()["error_type"]) == (500, "internal_error")
    wrong: dict[str, tuple[int, str]] = {
        "/v2/models/local/none": (404, "model_not_found"),
        "/v2/models/local/tiny/requests/none/status": (404, "request_not_found"),
    }
    for path, expected in wrong.items():
        ask = client.get if "requests" in path else client.post
        answer = ask(path) if "requests" in path else client.post(path, json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error_type"]) == expected
        assert answer.headers["x-comfy-error-type"] == expected[1]
        assert answer.headers["x-comfy-request-id"]
    answer = client.post(TINY, json={"prompt": "a", "num_inference_steps": "many"})
    assert (answer.status_code, answer.json()["error_type"]) == (400, "invalid_input")


def test_a_model_says_what_it_takes(client: Client) -> None:
    answer = client.get(f"{TINY}/openapi.json")
    operation = answer.json()["paths"]["/v2/models/local/tiny"]["post"]
    fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert fields["num_inference_steps"] == {
        "type": "integer", "default": 4, "minimum": 1, "maximum": 10,
    }
    again = client.get(
        f"{TINY}/openapi.json", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
