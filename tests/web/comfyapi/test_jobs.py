"""Jobs of the Comfy API v2 over HTTP: submitted, named, listed, watched, cancelled."""

import time
from typing import Any

import pytest

from tests.web.comfyapi.app import Client, ended, events, graph, submit


def code(answer: Any) -> str:
    found: str = answer.json()["error"]["code"]
    return found


def test_a_job_goes_from_its_workflow_to_a_picture(client: Client) -> None:
    job = submit(client, graph(seed=258))
    assert job["status"] in ("queued", "running")
    job = ended(client, job)
    assert (job["status"], job["error"], job["queue_position"]) == ("succeeded", None, None)
    assert job["progress"] | {"message": 0} == {
        **dict.fromkeys(("current_node", "current_node_class", "step", "steps")),
        **{"value": 1.0, "nodes_done": 7, "nodes_total": 7, "message": 0},
    }
    (output,) = job["outputs"]
    assert (output["node_id"], output["type"], output["job_id"]) == ("9", "image", job["id"])
    picture = client.get(output["url"], headers={"Authorization": ""}).content
    assert len(picture) == output["size_bytes"]
    assert client.get(f"/api/v2/assets/{output['id']}/content").content == picture
    assert job["metrics"].keys() == {"queue_ms", "execution_ms"}
    kept = client.get(f"{job['urls']['self']}/workflow").json()
    assert (kept["format"], kept["workflow"]["3"]["inputs"]["seed"]) == ("api", 258)


def test_what_happens_is_told_in_its_order(client: Client) -> None:
    began = time.monotonic()
    job = submit(client, graph("a slow cat", model="slow", steps=12))
    told = events(client, job)
    most = 2 + 2 * (time.monotonic() - began)
    names = [name for name, _ in told]
    assert names[0] == "status"
    assert told[-1] == ("status", {"status": "succeeded", "queue_position": None})
    assert names.index("output") < names.index("log") < len(names) - 1
    seen = [data for name, data in told if name == "progress"]
    assert 2 <= len(seen) <= most, "twice a second at most"
    assert [data["value"] for data in seen] == sorted(data["value"] for data in seen)
    last = seen[-1]
    assert (last["current_node"], last["current_node_class"]) == ("3", "KSampler")
    assert (last["steps"], last["nodes_total"]) == (12, 7)
    assert last["nodes_done"] == 4 + (last["step"] == 12)
    assert last["message"] == f"KSampler {last['step']}/12"
    assert events(client, job)[-1] == told[-1], "of a job that has ended, its end"


def test_one_request_under_one_key_is_one_job(client: Client, other: Client) -> None:
    job = submit(client, graph(), "once")
    assert submit(client, graph(), "once")["id"] == job["id"]
    again = {"workflow": graph(steps=3)}
    answer = client.post("/api/v2/jobs", json=again, headers={"Idempotency-Key": "once"})
    assert (answer.status_code, code(answer)) == (422, "idempotency_key_reuse")
    assert submit(client, graph(), "twice")["id"] != job["id"]
    assert submit(other, graph(), "once")["id"] != job["id"]
    for key in ("x" * 256, "a\tb"):
        answer = client.post("/api/v2/jobs", json=again, headers={"Idempotency-Key": key})
        assert (answer.status_code, code(answer)) == (400, "invalid_request")


def test_lists_go_page_by_page_and_by_labels(client: Client, other: Client) -> None:
    wanted = [submit(client, graph(), metadata={"team": "a", "n": str(n)}) for n in range(5)]
    submit(client, graph("team"), metadata={"team": "A"})
    submit(client, graph('{"team":"a"}'))
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"metadata[team]": "a", "limit": "2", "cursor": cursor}
        page = client.get("/api/v2/jobs", params=query).json()
        assert len(page["jobs"]) <= 2
        found += [job["id"] for job in page["jobs"]]
        cursor = page.get("next_cursor")
    assert found == [job["id"] for job in reversed(wanted)]
    query = {"metadata[team]": "a", "metadata[n]": "3"}
    (one,) = client.get("/api/v2/jobs", params=query).json()["jobs"]
    assert (one["id"], one["metadata"]) == (wanted[3]["id"], {"team": "a", "n": "3"})
    assert other.get("/api/v2/jobs", params={"metadata[team]": "a"}).json() == {"jobs": []}
    assert len(client.get("/api/v2/jobs", params={"limit": 1000}).json()["jobs"]) >= 7
    refused = {"cursor=x": "invalid_cursor", "limit=0": "invalid_request", "limit=-1": ""}
    for query_text, wanted_code in refused.items():
        answer = client.get(f"/api/v2/jobs?{query_text}")
        assert (answer.status_code, code(answer)) == (400, wanted_code or "invalid_request")
    long = client.get("/api/v2/jobs", params={"metadata[a]": "x" * 300})
    assert (long.status_code, code(long)) == (400, "invalid_metadata_filter")


@pytest.mark.parametrize(
    "labels", [{str(n): "" for n in range(17)}, {"": "a"}, {"a": 1}, {"a": "x" * 300}, ["a"], "a"]
)
def test_labels_are_a_few_short_strings(client: Client, labels: Any) -> None:
    answer = client.post("/api/v2/jobs", json={"workflow": graph(), "metadata": labels})
    assert (answer.status_code, code(answer)) == (422, "metadata_invalid")


def test_a_cancelled_job_is_drawn_no_further(client: Client) -> None:
    job = submit(client, graph("a slow cat", model="slow", steps=2000))
    cancelled = client.post(job["urls"]["cancel"])
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
    assert client.post(job["urls"]["cancel"]).json()["status"] == "canceled"
    assert events(client, job) == [("status", {"status": "canceled", "queue_position": None})]


def test_a_job_that_fails_says_why(client: Client) -> None:
    job = submit(client, graph("fail"))
    told = events(client, job)
    assert told[-1][1]["status"] == "failed"
    error = client.get(job["urls"]["self"]).json()["error"]
    assert (error["code"], "raised" in error["message"]) == ("node_execution_error", True)
    assert ("log", {"level": "error", "message": error["message"]}) in told
    missing = submit(client, graph("unusable"))
    assert ended(client, missing)["error"]["code"] == "model_unusable"


def test_another_key_sees_nothing(client: Client, other: Client) -> None:
    job = ended(client, submit(client, graph()))
    asset = f"/api/v2/assets/{job['outputs'][0]['id']}"
    links = [*job["urls"].values(), f"{job['urls']['self']}/workflow", asset, f"{asset}/content"]
    for link in links:
        ask = other.post if link.endswith("/cancel") else other.get
        answer = ask(link, follow_redirects=False)
        assert (answer.status_code, code(answer)) == (404, "not_found"), link


def test_refusals_have_its_own_codes(client: Client) -> None:
    refused: dict[str, Any] = {
        "invalid_workflow": {"1": {"class_type": "Nonesuch", "inputs": {}}},
        "workflow_format_ui": {"nodes": [{"type": "Nonesuch"}], "links": [], "last_node_id": 1},
        "invalid_request": {},
    }
    for wanted, workflow in refused.items():
        answer = client.post("/api/v2/jobs", json={"workflow": workflow})
        status = 400 if wanted == "invalid_request" else 422
        assert (answer.status_code, code(answer)) == (status, wanted)
    faulty = client.post("/api/v2/jobs", json={"workflow": refused["invalid_workflow"]})
    assert "1" in faulty.json()["error"]["details"]["node_errors"]
    stranger = client.get("/api/v2/jobs", headers={"Authorization": "Bearer none"})
    assert (stranger.status_code, code(stranger)) == (401, "unauthorized")
    for path in ("/api/v2", "/api/v2/nothing", "/api/v2/jobs/none"):
        assert code(client.get(path)) == "not_found"
    assert client.get("/api/v2/run/x").json()["code"] == "not_offered"


def test_fields_without_effect_are_said(client: Client) -> None:
    job = submit(client, graph(), priority=5, extra_data={"api_key_comfy_org": "s"}, prioriti=1)
    told = {remark["param"]: remark["code"] for remark in ended(client, job)["warnings"]}
    assert told["priority"] == "no_effect"
    assert told["prioriti"] == "unknown_field"
    assert "extra_data" not in told


def test_a_head_that_means_nothing_breaks_no_stream(client: Client) -> None:
    job = submit(client, graph("a slow cat", model="slow", steps=5))
    told = client.get(job["urls"]["events"], headers={"Content-Encoding": "javascript"})
    assert told.status_code == 200
    assert '"succeeded"' in told.text
