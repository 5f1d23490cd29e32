"""Assets of the Comfy API v2 over HTTP: kept once, found by their bytes, drawn from, deleted."""

from typing import Any

import pytest

from tests.images.test_decode import RED, saved
from tests.runs.graph import examples
from tests.web.comfyapi.app import Client, Job, ended, graph, submit

PNG = saved(RED.resize((64, 64)), "PNG")
NONE = "blake3:" + "0" * 64
# By the reference implementation, of the bytes b"abc".
ABC = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def upload(client: Client, data: bytes, name: str = "a.png", **fields: str) -> Any:
    form = {"content_type": "image/png", "file_path": name} | fields
    return client.post("/api/v2/assets", data=form, files={"file": (name, data)})


def reference(asset_id: str, **more: str) -> dict[str, Any]:
    return {"__type": "core/ASSET", "info": {"id": asset_id} | more}


def redrawing(image: Any) -> examples.Graph:
    """A graph that redraws a picture."""
    found = examples.image_to_image()
    found["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    found["3"]["inputs"] |= {"steps": 2, "cfg": 1, "sampler_name": "euler"}
    found["10"]["inputs"]["image"] = image
    return found


def code(answer: Any) -> str:
    found: str = answer.json()["error"]["code"]
    return found


def test_the_same_bytes_by_the_same_name_are_one_asset(client: Client) -> None:
    first = upload(client, b"abc", "abc.txt", expected_hash=ABC.upper().replace("BLAKE3", "blake3"))
    assert first.status_code == 201
    asset = first.json()
    assert (asset["hash"], asset["size_bytes"], asset["created_new"]) == (ABC, 3, True)
    assert (asset["file_path"], asset["content_type"]) == ("abc.txt", "image/png")
    again = upload(client, b"abc", "abc.txt")
    assert (again.status_code, again.json()["id"]) == (200, asset["id"])
    assert again.json()["created_new"] is False
    told = client.get(f"/api/v2/assets/{asset['id']}").json()
    assert told["hash"] == ABC
    assert client.get(told["url"], headers={"Authorization": ""}).content == b"abc"


def test_bytes_are_found_by_their_hash_and_sent_no_second_time(
    client: Client, other: Client
) -> None:
    kept = upload(client, b"some bytes", "one.png").json()
    place = f"/api/v2/assets/by-hash/{kept['hash']}"
    assert client.head(place).status_code == 200
    assert client.head(place.replace(":", "%3A")).status_code == 200
    assert client.head(f"/api/v2/assets/by-hash/{NONE}").status_code == 404
    assert other.head(place).status_code == 404
    body = {"hash": kept["hash"], "file_path": "two.png"}
    minted = client.post("/api/v2/assets/from-hash", json=body)
    assert (minted.status_code, minted.json()["created_new"]) == (200, False)
    assert (minted.json()["file_path"], minted.json()["hash"]) == ("two.png", kept["hash"])
    same = client.post("/api/v2/assets/from-hash", json=body | {"file_path": "one.png"})
    assert same.json()["id"] == kept["id"]
    for hash in (NONE, "blake3:xyz", "md5"):
        answer = client.post("/api/v2/assets/from-hash", json={"hash": hash})
        assert (answer.status_code, code(answer)) == (404, "blob_not_found")
    assert other.post("/api/v2/assets/from-hash", json=body).status_code == 404
    client.delete(f"/api/v2/assets/{kept['id']}")
    content = client.get(f"/api/v2/assets/{minted.json()['id']}/content")
    assert content.content == b"some bytes", "one of two names is gone, the other is not"


def test_bytes_that_are_not_what_was_announced_are_not_kept(client: Client) -> None:
    answer = upload(client, b"spoilt", expected_hash=NONE)
    assert (answer.status_code, code(answer)) == (409, "hash_mismatch")
    answer = client.post("/api/v2/assets", files={"other": ("a.png", b"x")})
    assert (answer.status_code, code(answer)) == (400, "invalid_request")
    assert upload(client, b"x", "n" * 1025).status_code == 400
    hash = upload(client, b"spoilt").json()
    assert hash["created_new"] is True


@pytest.mark.parametrize(
    ("asked", "span", "status"),
    [
        ("bytes=0-2", b"012", 206),
        ("bytes=7-", b"789", 206),
        ("bytes=-3", b"789", 206),
        ("bytes=-30", b"0123456789", 206),
        ("bytes=4-99", b"456789", 206),
        ("bytes=5-5", b"5", 206),
        ("bytes=0-1,3-4", b"0123456789", 200),
        ("bytes=3-2", b"0123456789", 200),
        ("bytes=-", b"0123456789", 200),
        ("lines=1-2", b"0123456789", 200),
        ("bytes=10-", None, 416),
        ("bytes=-0", None, 416),
    ],
)
def test_a_span_of_an_asset_is_answered_alone(
    client: Client, asked: str, span: bytes | None, status: int
) -> None:
    asset = upload(client, b"0123456789", "digits").json()
    content = f"/api/v2/assets/{asset['id']}/content"
    answer = client.get(content, headers={"Range": asked})
    assert answer.status_code == status
    if span is None:
        assert answer.headers["content-range"] == "bytes */10"
        return
    assert answer.content == span
    assert int(answer.headers["content-length"]) == len(span)
    if status == 206:
        start = b"0123456789".index(span)
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(span) - 1}/10"


def test_a_workflow_draws_from_assets(client: Client, other: Client) -> None:
    asset = upload(client, PNG).json()
    hints = {"hash": NONE, "file_path": "elsewhere.png"}  # the id goes before them
    job = ended(client, submit(client, redrawing(reference(asset["id"], **hints))))
    assert job["status"] == "succeeded"
    drawn = job["outputs"][0]["id"]
    assert ended(client, submit(client, redrawing(reference(drawn))))["status"] == "succeeded"
    wrong = [reference("none"), reference(""), {"__type": "core/ASSET"}, {"__type": "core/ASSET",
             "info": {"id": 7}}, {"__type": "core/ASSET", "info": {"hash": asset["hash"]}}]
    for image in wrong:
        answer = client.post("/api/v2/jobs", json={"workflow": redrawing(image)})
        assert (answer.status_code, code(answer)) == (422, "missing_asset")
    for owned in (asset["id"], drawn):
        workflow = redrawing(reference(owned))
        answer = other.post("/api/v2/jobs", json={"workflow": workflow})
        assert (answer.status_code, code(answer)) == (422, "missing_asset")


def test_an_asset_goes_when_nothing_is_drawn_from_it_any_more(
    client: Client, other: Client
) -> None:
    asset = upload(client, PNG, "going.png").json()
    place = f"/api/v2/assets/{asset['id']}"
    workflow = redrawing(reference(asset["id"]))
    workflow["4"]["inputs"]["ckpt_name"] = "slow.safetensors"
    workflow["3"]["inputs"]["steps"] = 2000
    workflow["6"]["inputs"]["text"] = "a slow cat"
    job: Job = submit(client, workflow)
    assert code(client.delete(place)) == "asset_in_use"
    client.post(job["urls"]["cancel"])
    assert other.delete(place).status_code == 404
    assert client.delete(place).status_code == 204
    for answer in (client.get(place), client.get(f"{place}/content"), client.delete(place)):
        assert (answer.status_code, code(answer)) == (404, "not_found")
    assert client.get(asset["url"]).status_code == 404
    assert client.head(f"/api/v2/assets/by-hash/{asset['hash']}").status_code in (200, 404)
    drawn = ended(client, submit(client, graph()))["outputs"][0]["id"]
    refused = client.delete(f"/api/v2/assets/{drawn}")
    assert (refused.status_code, code(refused)) == (403, "forbidden")
