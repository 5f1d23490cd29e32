"""Edits, variations and batches by the official clients, against a gateway on a socket."""

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai import OpenAI
from PIL import Image, ImageDraw

from tests.clients.environments import run_node, run_python
from tests.clients.pictures import largest_difference, opened, same
from tests.clients.test_curl import curl
from tests.serving import Server

PROGRAMS = Path(__file__).parent / "programs"
ASK: dict[str, Any] = {"model": "tiny", "prompt": "a red apple", "size": "64x64"}
SEED = {"seed": 7}


def drawn() -> bytes:
    """A picture whose left half is transparent, so that it is its own mask."""
    image = Image.new("RGBA", (64, 64), (60, 165, 75, 255))
    ImageDraw.Draw(image).rectangle((0, 0, 31, 63), fill=(0, 0, 0, 0))
    out = BytesIO()
    image.save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture to edit, as a file."""
    path: Path = tmp_path_factory.mktemp("picture") / "picture.png"
    path.write_bytes(drawn())
    return path


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as opened_client:
        yield opened_client


def pictures(answer: Any) -> list[Image.Image]:
    return [opened(item.b64_json) for item in answer.data]


def test_openai_in_python_edits(client: OpenAI, path: Path) -> None:
    one = pictures(client.images.edit(image=path, extra_body=SEED, **ASK))
    again = pictures(client.images.edit(image=[path.read_bytes()], extra_body=SEED, **ASK))
    drawn_anew = pictures(client.images.generate(extra_body=SEED, **ASK))
    assert one[0].size == (64, 64)
    assert same(one[0], again[0])
    assert not same(one[0], drawn_anew[0])


def test_openai_in_python_paints_inside_a_mask(client: OpenAI, path: Path) -> None:
    (one,) = pictures(client.images.edit(image=path, mask=path, extra_body=SEED, **ASK))
    (whole,) = pictures(client.images.edit(image=path, extra_body=SEED, **ASK))
    assert not same(one, whole)


def test_openai_in_python_varies(client: OpenAI, path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = client.images.create_variation(
            image=path, model="tiny", n=2, response_format="b64_json"
        )
    one, other = pictures(answer)
    assert one.size == other.size == (64, 64)
    assert not same(one, other)


def test_openai_in_python_streams_an_edit(client: OpenAI, path: Path) -> None:
    more = {"num_inference_steps": 4, **SEED}
    stream = client.images.edit(image=path, stream=True, partial_images=2, extra_body=more, **ASK)
    events = list(stream)
    assert [event.type for event in events] == [
        "image_edit.partial_image", "image_edit.partial_image", "image_edit.completed",
    ]  # fmt: skip
    whole = client.images.edit(image=path, extra_body=more, **ASK)
    assert same(opened(events[-1].b64_json), pictures(whole)[0])


def test_openai_in_python_is_told_what_no_picture_is(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.images.edit(image=("a.png", b"not a picture"), **ASK)
    assert refusal.value.param == "image"


def test_openai_in_python_batches(client: OpenAI) -> None:
    lines = [
        {"custom_id": f"line {number}", "method": "POST", "url": "/v1/images/generations",
         "body": {**ASK, "seed": number}}
        for number in range(3)
    ]  # fmt: skip
    text = b"\n".join(map(msgspec.json.encode, lines))
    file = client.files.create(file=("lines.jsonl", text), purpose="batch")
    assert client.files.retrieve(file.id) == file
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h"
    )
    deadline = time.monotonic() + 60
    while batch.status != "completed":
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts
    assert batch.request_counts.completed == 3
    assert batch.output_file_id
    entries = map(
        msgspec.json.decode, client.files.content(batch.output_file_id).read().splitlines()
    )
    answer = client.images.generate(extra_body={"seed": 1}, **ASK)
    assert answer.data
    live = answer.data[0].b64_json
    got = {entry["custom_id"]: entry["response"]["body"]["data"][0] for entry in entries}
    # Alone or in a batch's shared forwards: at most a rounding apart.
    apart = largest_difference(got["line 1"]["b64_json"], live)
    assert apart is not None
    assert apart <= 1
    assert batch.id in [one.id for one in client.batches.list()]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_openai_in_javascript(server: Server, path: Path) -> None:
    got: Any = run_node(PROGRAMS / "openai_edits.mjs", server.url, server.key, str(path))
    assert [opened(data).size for data in got["edited"]] == [(64, 64)] * 2
    assert not same(opened(got["edited"][0]), opened(got["masked"][0]))
    assert not same(opened(got["edited"][0]), opened(got["listed"][0]))
    assert opened(got["varied"][0]).size == (64, 64)
    *partial, last = got["events"]
    assert [event["type"] for event in partial] == ["image_edit.partial_image"] * 2
    assert last["type"] == "image_edit.completed"
    assert got["batch"]["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    (entry,) = got["output"]
    assert len(entry["response"]["body"]["data"]) == 2
    assert got["batch"]["id"] in got["batches"]
    assert got["deleted"]["deleted"] is True


def test_the_ai_sdk(server: Server, path: Path) -> None:
    got: Any = run_node(PROGRAMS / "ai_sdk_edits.mjs", server.url, server.key, str(path))
    for name in ("named", "masked", "compatible"):
        assert [opened(data).size for data in got[name]] == [(64, 64)]


def test_litellm(server: Server, path: Path) -> None:
    program = PROGRAMS / "litellm_edits.py"
    got: Any = run_python("wrappers", program, server.url, server.key, str(path))
    assert [opened(data).size for data in got["edited"]] == [(64, 64)]
    assert [opened(data).size for data in got["varied"]] == [(64, 64)]


@pytest.mark.parametrize("names", [("image",), ("image[]", "image[]")])
def test_open_webuis_form(server: Server, names: tuple[str, ...]) -> None:
    """One picture as `image`, several as `image[]`, each by a name of its own."""
    files = [(name, (f"{i}.png", drawn(), "image/png")) for i, name in enumerate(names)]
    fields = {"model": "tiny", "prompt": "a red apple", "n": "1", "size": "64x64",
              "response_format": "b64_json"}  # fmt: skip
    answer = httpx.post(
        f"{server.url}/v1/images/edits", data=fields, files=files, timeout=60,
        headers={"Authorization": f"Bearer {server.key}"},
    )  # fmt: skip
    if len(names) > 1:
        assert answer.status_code == 400  # this pipeline redraws one picture
        assert "one image" in answer.json()["error"]["message"]
        return
    (item,) = answer.json()["data"]
    assert opened(item["b64_json"]).size == (64, 64)


def test_curl_edits_and_saves_the_picture(server: Server, path: Path, tmp_path: Path) -> None:
    output = tmp_path / "edited.png"
    curl(
        server, "/v1/images/edits", "--form", f"image=@{path}", "--form", "prompt=a red apple",
        "--form", "model=tiny", "--header", "Accept: image/png", "--output", str(output),
    )  # fmt: skip
    assert opened(output.read_bytes()).format == "PNG"
