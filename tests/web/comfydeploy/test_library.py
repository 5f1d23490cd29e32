"""Workflows, deployments, models and files over HTTP."""

import base64
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.images.decode import decode
from tests.runs.graph.examples import node
from tests.web.comfydeploy.app import Client, served
from tests.web.comfydeploy.test_router import deployed_graph, ended, tiny_graph

BOB = {"Authorization": "Bearer bob"}


def photo(colour: tuple[int, ...] = (9, 8, 7), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(out, "png")
    return out.getvalue()


def stored(client: Client, graph: Any, **fields: Any) -> dict[str, Any]:
    """A workflow of a graph."""
    answer = client.post("/api/v1/workflows", json={"workflow_json": graph, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_workflow_runs_by_its_id_its_version_and_its_deployment(tmp_path: Path) -> None:
    with served(tmp_path) as (client, engine):
        first = stored(client, tiny_graph(seed=1), workflow_name="cats")
        latest = stored(client, tiny_graph(seed=2), workflow_id=first["workflow_id"])
        assert (first["workflow_version"], latest["workflow_version"]) == (1, 2)
        deployment = client.post(
            "/api/deployment",
            json={
                "workflow_version_id": first["workflow_version_id"],
                "workflow_id": first["workflow_id"],
                "machine_id": "local",
                "environment": "staging",
            },
        ).json()
        for body in (
            {"workflow_id": first["workflow_id"], "workflow_api_json": {}},
            {"workflow_version_id": first["workflow_version_id"]},
            {"deployment_id": deployment["id"]},
        ):
            assert client.post("/api/run/sync", json=body).status_code == 200
        assert [job.seeds for job in engine.jobs] == [(2,), (1,), (1,)]
        outputs = client.get(f"/api/v1/workflows/{first['workflow_id']}/outputs").json()
        assert outputs["total"] == 3
        assert all(len(row["fileURLs"]) == 1 for row in outputs["outputs"])
        path = f"/api/v1/workflows/{first['workflow_id']}/outputs"
        assert client.get(path, params={"runOrigin": "api"}).json()["total"] == 3
        assert client.get(path, params={"runOrigin": "manual"}).json()["total"] == 0
        assert client.get("/api/v1/workflows/%25/outputs").json()["total"] == 0
        workflow = client.get(f"/api/v1/workflows/{first['workflow_id']}").json()
        assert [version["version"] for version in workflow["versions"]] == [2, 1]
        version = client.get(f"/api/workflow-version/{first['workflow_version_id']}").json()
        assert version["workflow_api"]["3"]["inputs"]["seed"] == 1


def test_a_deployment_keeps_its_id_when_its_environment_gets_a_new_version(
    tmp_path: Path,
) -> None:
    with served(tmp_path) as (client, engine):
        made = [stored(client, tiny_graph(seed=1))]
        made.append(stored(client, tiny_graph(seed=2), workflow_id=made[0]["workflow_id"]))
        ids = []
        for version in made:
            body = {
                "workflow_version_id": version["workflow_version_id"],
                "workflow_id": made[0]["workflow_id"],
            }
            ids.append(client.post("/api/deployment", json=body).json()["id"])
        assert ids[0] == ids[1]
        client.post("/api/run/sync", json={"deployment_id": ids[0]})
        assert engine.jobs[0].seeds == (2,)


def test_deployments_list_the_stored_and_the_catalogue(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        made = stored(client, deployed_graph())
        body = {name: made[name] for name in ("workflow_version_id", "workflow_id")}
        deployment = client.post("/api/deployment", json=body | {"environment": "staging"}).json()
        assert [i["input_id"] for i in deployment["input_types"]] == [
            "prompt", "seed", "steps", "model",
        ]  # fmt: skip
        assert deployment["output_types"] == [
            {"class_type": "ComfyDeployOutputImage", "output_id": "result"}
        ]
        everything = [item["id"] for item in client.get("/api/deployments").json()]
        assert everything == [deployment["id"], "tiny", "tiny:style", "slow", "editor"]
        staging = client.get("/api/deployments", params={"environment": "staging"}).json()
        assert [item["id"] for item in staging] == [deployment["id"]]
        inputs = client.get(f"/api/deployment/{deployment['id']}/inputs").json()
        assert inputs[0]["default_value"] == "a cat"
        offers = client.get("/api/deployment", params={"environment": "staging"}).json()
        assert offers[0]["deployment_id"] == deployment["id"]
        assert client.get("/api/deployments", headers=BOB).json()[0]["id"] == "tiny"


def test_models_tell_their_cards_ranges(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        models = {model["id"]: model for model in client.get("/api/models").json()}
        assert set(models) == {"tiny", "tiny:style", "slow", "editor"}
        steps = next(i for i in models["tiny"]["inputs"] if i["input_id"] == "num_inference_steps")
        assert (steps["default_value"], steps["min_value"], steps["max_value"]) == (4, 1, 10)
        required = [i["input_id"] for i in models["tiny"]["inputs"] if i["required"]]
        assert required == ["prompt"]
        assert client.get("/api/deployment/tiny:style/inputs").json()[0]["input_id"] == "prompt"


def test_workflows_are_listed_in_pages(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        for name in ("one", "two", "three"):
            stored(client, tiny_graph(), workflow_name=name)
        shown = client.get("/api/v1/workflows", params={"page": 2, "pageSize": 2}).json()
        assert [row["name"] for row in shown] == ["one"]
        found = client.get("/api/v1/workflows", params={"search": "TW"}).json()
        assert [row["name"] for row in found] == ["two"]
        assert client.get("/api/v1/workflows", headers=BOB).json() == []
        assert client.get(f"/api/v1/workflows/{found[0]['id']}", headers=BOB).status_code == 404


def test_a_workflow_that_cannot_run_is_not_stored(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        answer = client.post("/api/v1/workflows", json={"workflow_json": tiny_graph(steps=99)})
        assert answer.status_code == 400
        assert answer.json()["node_errors"]["3"]
        assert client.get("/api/v1/workflows").json() == []


def edit_graph(source: str) -> dict[str, Any]:
    graph = tiny_graph(latent_image=["12", 0], denoise=0.5)
    graph["10"] = node("ComfyUIDeployExternalImage", input_id="picture", default_value_url=source)
    graph["12"] = node("VAEEncode", pixels=["10", 0], vae=["4", 2])
    del graph["5"]
    return graph


@pytest.mark.parametrize("by", ["file_id", "file_name", "file_url"])
def test_an_uploaded_picture_is_an_input(tmp_path: Path, by: str) -> None:
    with served(tmp_path) as (client, engine):
        part = {"file": ("mine.png", photo(), "application/octet-stream")}
        uploaded = client.post("/api/file/upload", files=part).json()
        assert uploaded["file_id"].startswith("img_")
        assert client.get(uploaded["file_url"]).content == photo()
        body = {"workflow_api": edit_graph(""), "inputs": {"picture": uploaded[by]}}
        assert client.post("/api/run/sync", json=body).status_code == 200
        assert engine.jobs[0].images[0].data[:3] == bytes((9, 8, 7))
        assert engine.jobs[0].strength == 0.5


def test_upload_urls_keep_their_promise(tmp_path: Path) -> None:
    with served(tmp_path) as (client, engine):
        query = {"type": "image/png", "file_size": str(len(photo()))}
        place = client.get("/api/upload-url", params=query).json()
        anonymous = {"Authorization": ""}
        assert (
            client.put(place["upload_url"], content=photo(), headers=anonymous).status_code == 200
        )
        assert client.get(place["download_url"], headers=anonymous).content == photo()
        assert client.put(place["download_url"], content=b"other").status_code == 403
        assert client.get(place["upload_url"]).status_code == 403
        body = {"model_id": "tiny", "inputs": {"prompt": "a", "image": place["file_id"]}}
        assert client.post("/api/run/sync", json=body).status_code == 200
        assert engine.jobs[0].images[0].data[:3] == bytes((9, 8, 7))
        assert engine.jobs[0].strength == 0.8
        body["inputs"] = {"prompt": "a", "image": place["file_id"]}
        run_id = client.post("/api/run", json=body, headers=BOB).json()["run_id"]
        run = client.get(f"/api/run/{run_id}", headers=BOB).json()
        while run["status"] not in ("failed", "success"):
            run = client.get(f"/api/run/{run_id}", headers=BOB).json()
        assert run["status"] == "failed"


def test_an_upload_url_takes_once_what_was_announced(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        query = {"type": "image/png", "file_size": "10"}
        place = client.get("/api/upload-url", params=query).json()
        put = partial(client.put, place["upload_url"], headers={"Authorization": ""})
        assert put(content=b"x" * 11).status_code == 413
        assert put(content=iter([b"x" * 11])).status_code == 413
        assert put(content=b"x" * 9).status_code == 400
        assert put(content=iter([b"x" * 9])).status_code == 400
        assert client.get(place["download_url"]).status_code == 404
        assert put(content=iter([b"x" * 5, b"y" * 5])).status_code == 200
        assert put(content=b"z" * 10).status_code == 409
        assert client.get(place["download_url"]).content == b"xxxxxyyyyy"


def test_what_a_key_keeps_is_bounded_in_every_way_in(tmp_path: Path) -> None:
    with served(tmp_path, kept_gib=1 / 2**14) as (client, _):  # 64 KiB
        picture = inline((1, 2, 3), 141)
        data = base64.b64decode(picture.partition(",")[2])
        body = {"model_id": "tiny", "inputs": {"prompt": "a", "image": picture}}
        asks: list[Callable[[], Any]] = [
            lambda: client.post("/api/file/upload", files={"file": ("a.png", data)}),
            lambda: client.get("/api/upload-url", params={"type": "a/b", "file_size": "60000"}),
            lambda: client.post("/api/run", json=body),
        ]
        assert asks[0]().status_code == 200
        for ask in asks:
            refused = ask()
            assert refused.status_code == 413
            assert refused.json()["code"] == "storage_quota_exceeded"
            assert "retry-after" not in refused.headers
        bob = client.post("/api/file/upload", files={"file": ("a.png", data)}, headers=BOB)
        assert bob.status_code == 200


def test_what_is_uploaded_is_served_as_what_it_is(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        page = b"<html><script>alert(1)</script></html>"
        part = {"file": ("page.png", page, "image/png")}
        url = client.post("/api/file/upload", files=part).json()["file_url"]
        answer = client.get(url)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == "attachment"
        assert client.get(url.replace("sig=", "sig=0")).status_code == 403
        assert client.get(url.partition("?")[0]).status_code == 403


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "nothing.png",
    ],
)
def test_pictures_that_cannot_be_had_fail_the_run_with_the_reason(
    tmp_path: Path, source: str
) -> None:
    with served(tmp_path) as (client, engine):
        answer = client.post("/api/run", json={"workflow_api": edit_graph(source)}).json()
        run = ended(client, answer["run_id"])
        assert run["status"] == "failed"
        (output,) = run["outputs"]
        assert output["data"]["error"] == [run["live_status"]]
        assert engine.jobs == []


def test_a_mask_is_what_is_transparent(tmp_path: Path) -> None:
    graph = tiny_graph(latent_image=["12", 0])
    graph["10"] = node("LoadImage", image="hole.png")
    graph["12"] = node(
        "VAEEncodeForInpaint", pixels=["10", 0], vae=["4", 2], mask=["10", 1], grow_mask_by=0
    )
    with served(tmp_path) as (client, engine):
        part = {"file": ("hole.png", photo((1, 2, 3, 0), "RGBA"), "image/png")}
        client.post("/api/file/upload", files=part)
        assert client.post("/api/run/sync", json={"workflow_api": graph}).status_code == 200
        (job,) = engine.jobs
        assert job.mask is not None
        assert (job.mask.channels, set(job.mask.data)) == (1, {255})
        assert job.images[0].channels == 3


@pytest.mark.parametrize(
    "name", ["websocket/any", "session", "assets", "search/model", "machine/1"]
)
def test_what_makes_no_sense_here_says_so(tmp_path: Path, name: str) -> None:
    with served(tmp_path) as (client, _):
        answer = client.get(f"/api/{name}")
        assert answer.status_code == 501
        assert answer.json()["detail"].endswith(".")


def test_a_saved_picture_is_what_was_drawn(tmp_path: Path) -> None:
    body = {
        "model_id": "tiny",
        "inputs": {"prompt": "a", "seed": 3, "output_format": "webp", "n": 2},
    }
    with served(tmp_path) as (client, _):
        (output,) = client.post("/api/run/sync", json=body).json()
        images = output["data"]["images"]
        assert [image["filename"] for image in images] == [
            "ComfyUI_00001_.webp", "ComfyUI_00002_.webp",
        ]  # fmt: skip
        assert [image["seed"] for image in images] == [3, 4]
        assert decode(client.get(images[0]["url"]).content, "picture").size == (64, 64)


def test_inline_pictures_are_kept_as_files(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 99).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "png")
    inline = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    body = {"model_id": "tiny", "inputs": {"prompt": "a", "image": inline}}
    with served(tmp_path) as (client, engine):
        run = ended(client, client.post("/api/run", json=body).json()["run_id"])
        assert run["status"] == "success"
        assert run["workflow_inputs"]["image"].startswith("img_")
        assert engine.jobs[0].images[0].data == noise.tobytes()


def inline(colour: tuple[int, int, int], size: int = 64) -> str:
    """A picture of one colour, made long enough to be kept as a file."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "png", compress_level=0)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_batch_of_pictures_is_redrawn_one_by_one(tmp_path: Path, as_text: bool) -> None:
    graph = edit_graph("")
    graph["10"] = node("ComfyUIDeployExternalImageBatch", input_id="pictures")
    sources = [inline((1, 2, 3)), inline((4, 5, 6), 96)]
    inputs = {"pictures": json.dumps(sources) if as_text else sources}
    with served(tmp_path) as (client, engine):
        body = {"workflow_api": graph, "inputs": inputs}
        run = ended(client, client.post("/api/run", json=body).json()["run_id"])
        assert run["status"] == "success", run
        assert "base64" not in json.dumps(run)
        assert len(run["outputs"][0]["data"]["images"]) == 2
        starts = sorted(job.images[0].data[:3] for job in engine.jobs)
        assert starts == [bytes((1, 2, 3)), bytes((4, 5, 6))]
        assert {(job.width, job.height) for job in engine.jobs} == {(64, 64)}


def test_several_pictures_go_to_pipelines_that_take_several(tmp_path: Path) -> None:
    inputs = {"prompt": "a", "image": [inline((1, 2, 3)), inline((4, 5, 6))]}
    with served(tmp_path) as (client, engine):
        body = {"model_id": "editor", "inputs": inputs}
        assert client.post("/api/run/sync", json=body).status_code == 200
        (job,) = engine.jobs
        assert [image.data[:3] for image in job.images] == [bytes((1, 2, 3)), bytes((4, 5, 6))]
        assert job.strength is None
        refused = client.post("/api/run/sync", json=body | {"model_id": "tiny"})
        assert refused.status_code == 400
        assert "one image at a time" in refused.json()["detail"]


def test_a_picture_beyond_the_models_sizes_is_scaled_into_them(tmp_path: Path) -> None:
    inputs = {"prompt": "a", "image": inline((1, 2, 3), 512)}
    with served(tmp_path) as (client, engine):
        body = {"model_id": "tiny", "inputs": inputs}
        assert client.post("/api/run/sync", json=body).status_code == 200
        assert (engine.jobs[0].width, engine.jobs[0].height) == (256, 256)
