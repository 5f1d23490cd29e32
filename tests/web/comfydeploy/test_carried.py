"""Pictures in a request itself: what no run could use is refused before anything is stored."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.runs.graph import examples
from tests.runs.graph.examples import node
from tests.web.comfydeploy.app import served
from tests.web.comfydeploy.test_library import edit_graph, inline

EXTERNAL = "ComfyUIDeployExternal"


def png(size: tuple[int, int], kind: str = "RGB", colour: Any = (1, 2, 3)) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new(kind, size, colour).save(out, "png")
    return out.getvalue()


def bomb(padding: int = 0) -> bytes:
    """A PNG of ten thousand million pixels, in a hundred bytes and so many more."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tEXt", bytes(padding)), (b"IDAT", b""), (b"IEND", b"")]
    written = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + written


NOISE = base64.b64decode(inline((1, 2, 3)).partition(",")[2])
UNUSABLE = {
    "too many pixels, short": bomb(),
    "too many pixels, long": bomb(4000),
    "cut short": NOISE[: len(NOISE) // 2],
    "cut short and short": png((64, 64))[:-30],
    "no picture": bytes(3000),
    "another format": b"BM" + bytes(3000),
    "nothing": b"",
}


def ways(data: bytes) -> dict[str, dict[str, Any]]:
    """Bodies that carry a picture, by where it stands in them."""
    plain = base64.b64encode(data).decode()
    url = f"data:image/png;base64,{plain}"

    def model(id: str = "tiny", **inputs: Any) -> dict[str, Any]:
        return {"model_id": id, "inputs": {"prompt": "a", **inputs}}

    def filled(kind: str, value: Any) -> dict[str, Any]:
        graph = edit_graph("")
        graph["10"] = node(EXTERNAL + kind, input_id="given")
        return {"workflow_api": graph, "inputs": {"given": value}}

    default = edit_graph("")
    default["10"] = node(f"{EXTERNAL}Image", input_id="given", default_value_url=url)
    masked = edit_graph("a.png")
    masked["13"] = masked["12"]
    masked["11"] = node("LoadImageMask", image=url, channel="red")
    masked["12"] = node("SetLatentNoiseMask", samples=["13", 0], mask=["11", 0])
    masked["3"]["inputs"]["latent_image"] = ["12", 0]
    good = inline((9, 9, 9))
    return {
        "a model's picture": model(image=url),
        "an object": model(image={"url": url}),
        "a list": model("editor", image=[good, url]),
        "a mask": model(image=good, mask=url),
        "a graph's own": {"workflow_api": edit_graph(url)},
        "a graph's own as text": {"workflow_api": json.dumps(edit_graph(url))},
        "a default": {"workflow_api": default},
        "an input": filled("Image", url),
        "an input with alpha": filled("ImageAlpha", {"url": url}),
        "a batch of pictures": filled("ImageBatch", [good, url]),
        "a batch as text": filled("ImageBatch", json.dumps([{"url": url}])),
        "one of many runs": model() | {"batch_input_params": {"image": [good, url]}},
        **({} if len(data) < 1000 else {"bare base64": model(image=plain)}),
        "a graph's mask": {"workflow_api": masked},
    }


@pytest.mark.parametrize("fault", UNUSABLE)
def test_what_cannot_be_used_is_refused_at_once(tmp_path: Path, fault: str) -> None:
    with served(tmp_path) as (client, engine):
        kept = set(tmp_path.rglob("*"))
        for way, body in ways(UNUSABLE[fault]).items():
            answer = client.post("/api/run", json=body)
            assert answer.status_code == 400, (way, answer.text)
        assert set(tmp_path.rglob("*")) == kept
        assert engine.jobs == []


def test_what_can_be_used_is_drawn_from_in_every_way(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        client.post("/api/file/upload", files={"file": ("a.png", NOISE)})
        for way, body in ways(NOISE).items():
            answer = client.post("/api/run/sync", json=body)
            assert answer.status_code == 200, (way, answer.text)


def test_pictures_are_refused_by_their_sum(tmp_path: Path) -> None:
    """Each of them would do: 8 MP are 96 MB while they are decoded."""
    pictures = [base64.b64encode(png((4000, 2000), "L", shade)).decode() for shade in range(10)]
    with served(tmp_path, run_picture_mib=128) as (client, _):

        def ask(*given: str, **more: Any) -> Any:
            inputs = {"prompt": "a", "image": list(given)}
            return client.post("/api/run", json={"model_id": "editor", "inputs": inputs, **more})

        assert ask(*pictures[:2]).status_code == 200
        assert ask(*pictures).status_code == 400
        assert ask(batch_input_params={"image": [[each] for each in pictures]}).status_code == 400
        assert ask(base64.b64encode(png((6000, 3000), "L", 1)).decode()).status_code == 400


def test_a_graphs_picture_beyond_its_models_sizes_is_refused_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as (client, _):
        answer = client.post("/api/run", json={"workflow_api": edit_graph(inline((1, 2, 3), 512))})
        assert answer.status_code == 400
        (fault,) = answer.json()["node_errors"]["12"]["errors"]
        assert fault["type"] == "value_bigger_than_max"


def test_a_workflow_with_a_broken_picture_is_not_stored(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(UNUSABLE["cut short and short"]).decode()
    with served(tmp_path) as (client, _):
        answer = client.post("/api/workflow", json={"name": "a", "workflow_api": edit_graph(url)})
        assert answer.status_code == 400
        assert client.get("/api/v1/workflows").json() == []


def test_text_that_looks_like_a_picture_is_text_where_text_is_wanted(tmp_path: Path) -> None:
    graph = examples.text_to_image(steps=4, cfg=1)
    graph["4"]["inputs"]["ckpt_name"] = "tiny.safetensors"
    graph["5"]["inputs"] |= {"width": 64, "height": 64}
    graph["6"]["inputs"]["text"] = "data:image/png;base64,AAAA"
    with served(tmp_path) as (client, engine):
        assert client.post("/api/run/sync", json={"workflow_api": graph}).status_code == 200
        assert engine.jobs[0].prompt == "data:image/png;base64,AAAA"
