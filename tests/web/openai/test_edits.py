"""Edits and variations, in every shape that clients send them."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Iterator
from io import BytesIO
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from gateway.app import create_app
from gateway.catalog.cards import EndpointCard, Sizes
from gateway.catalog.catalog import Catalog
from gateway.settings import Settings
from tests.images.test_decode import RED, bomb, saved
from tests.runs.test_cancelling import busy
from tests.small_engine import TestEngine
from tests.web.openai.asking import picture, refused

EDITS = "/v1/images/edits"
PNG = saved(RED.resize((96, 64)), "PNG")
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
Client = TestClient[Litestar]


def catalog() -> Catalog:
    sizes = Sizes(native=(64, 64), min=32, max=256, multiple_of=8)
    cards = [
        EndpointCard(id="tiny", sizes=sizes),
        EndpointCard(id="many", sizes=sizes, edit_pipeline="Flux2KleinPipeline"),
        EndpointCard(id="blind", sizes=sizes, edits=False),
    ]
    return Catalog({card.id: card for card in cards}, {})


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(
        endpoints=("tiny",),
        data=tmp_path_factory.mktemp("data"),
        max_body_mib=1,
        url_allow=("127.0.0.2",),
    )
    with TestClient(create_app(settings, engine, catalog())) as client:
        yield client


def edit(client: Client, files: Any, **fields: str) -> Any:
    return client.post(EDITS, data={"prompt": "a dog", **fields}, files=files)


@pytest.mark.parametrize("name", ["image", "image[]", "images", "images[]", "image[0]"])
def test_one_image_under_any_name(client: Client, engine: TestEngine, name: str) -> None:
    answer = edit(client, {name: ("upload", PNG, "application/octet-stream")}, n="2", seed="5")
    assert answer.status_code == 200, answer.text
    assert [item["seed"] for item in answer.json()["data"]] == [5, 6]
    job = engine.jobs[-1]
    assert (job.width, job.height) == (96, 64)
    assert (job.images[0].width, job.images[0].channels) == (96, 3)


def test_a_form_that_is_sent_again_claims_the_same(client: Client, engine: TestEngine) -> None:
    claims = []
    for n in ("1", "1", "2"):
        assert edit(client, {"image": PNG}, n=n).status_code == 200
        claims.append(engine.jobs[-1].claim)
    first, again, other = claims
    assert first == again != other
    assert first


def test_several_images_where_the_endpoint_takes_them(client: Client, engine: TestEngine) -> None:
    files = [("image[]", ("a.png", PNG)), ("image[]", ("b.jpg", saved(RED, "JPEG")))]
    assert edit(client, files, model="many", size="64x64").status_code == 200
    assert len(engine.jobs[-1].images) == 2
    refused(edit(client, files), 400, "unsupported_value", "image")


def test_mask_and_strength_reach_the_job(client: Client, engine: TestEngine) -> None:
    mask = Image.new("RGBA", (96, 64), (0, 0, 0, 255))
    mask.putpixel((0, 0), (0, 0, 0, 0))
    answer = edit(
        client,
        {"image": PNG, "mask": saved(mask, "PNG")},
        strength="0.4",
        steps="3",
        loras="[]",
    )
    assert answer.status_code == 200, answer.text
    job = engine.jobs[-1]
    assert (job.strength, job.num_inference_steps) == (0.4, 3)
    assert job.mask is not None
    assert job.mask.data[:2] == b"\xff\x00"


def test_json_bodies_of_openai_and_friendli(client: Client, engine: TestEngine) -> None:
    for field in (
        {"images": [{"image_url": URL}]},
        {"image": {"image": URL}},
        {"image": [{"image": URL.partition(",")[2]}]},
        {"image": URL},
    ):
        answer = client.post(EDITS, json={"prompt": "a dog", **field})
        assert answer.status_code == 200, answer.text
        assert engine.jobs[-1].images[0].height == 64


def test_friendlis_edits(client: Client) -> None:
    body = {"model": "tiny", "prompt": "a dog", "image": {"image": URL}, "num_inference_steps": 20}
    answer = client.post("/dedicated/v1/images/edits", json=body)
    assert answer.json()["data"][0]["response_format"] == "url"
    assert answer.headers["x-num-inference-steps"] == "10"
    contained = client.post("/container/v1/images/edits", json=body)
    assert picture(base64.b64decode(contained.json()["image"])).size == (96, 64)


def test_streaming_names_its_events_after_edits(client: Client) -> None:
    answer = edit(client, {"image": PNG}, stream="true", partial_images="1")
    assert "event: image_edit.completed" in answer.text


def test_variations_need_no_prompt(client: Client, engine: TestEngine) -> None:
    answer = client.post("/v1/images/variations", files={"image": PNG}, data={"n": "1"})
    assert answer.status_code == 200, answer.text
    assert engine.jobs[-1].prompt == ""
    assert engine.jobs[-1].strength is not None


def test_size_beyond_the_card_is_brought_into_it(client: Client, engine: TestEngine) -> None:
    large = saved(RED.resize((1000, 500)), "PNG")
    assert edit(client, {"image": large}).status_code == 200
    assert (engine.jobs[-1].width, engine.jobs[-1].height) == (256, 128)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_image"),
        (PNG[:30], "invalid_image"),
        (b"<svg/>", "invalid_image"),
        (bomb(60_000, 60_000), "image_too_large"),
    ],
)
def test_hostile_images_are_refused(client: Client, data: bytes, code: str) -> None:
    refused(edit(client, {"image": ("cat.png", data, "image/png")}), 400, code, "image")


def test_what_is_missing_or_too_much(client: Client) -> None:
    refused(edit(client, {"other": PNG}), 400, "missing_required_parameter", "image")
    no_prompt = client.post(EDITS, files={"image": PNG})
    refused(no_prompt, 400, "missing_required_parameter", "prompt")
    many = [("image[]", ("x.png", saved(RED, "PNG")))] * 17
    refused(edit(client, many, model="many"), 400, "array_above_max_length", "image")
    refused(
        edit(client, {"image": PNG}, strength="1.5"), 400, "decimal_above_max_value", "strength"
    )
    huge = edit(client, {"image": b"x" * 2_000_000})
    refused(huge, 413, "request_too_large", None)


def test_an_endpoint_that_cannot_edit_names_those_that_can(client: Client) -> None:
    message = refused(
        edit(client, {"image": PNG}, model="blind"), 400, "unsupported_value", "model"
    )
    assert "`tiny`, `many`" in message


def test_private_addresses_are_not_fetched(client: Client) -> None:
    for url in ("http://127.0.0.1:1/x.png", "http://169.254.169.254/latest"):
        answer = client.post(EDITS, json={"prompt": "x", "images": [{"image_url": url}]})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_url"


def test_loras_of_a_form_that_do_not_line_up_are_refused(client: Client) -> None:
    fields = {"loras[][path]": ["a", "b"], "loras[][scale]": "0.5"}
    answer = client.post(EDITS, data={"prompt": "x", **fields}, files={"image": PNG})
    refused(answer, 400, "invalid_value", "loras")


def test_an_image_by_the_id_of_an_uploaded_file(client: Client, engine: TestEngine) -> None:
    upload = {"file": ("a.png", PNG)}
    file = client.post("/v1/files", files=upload, data={"purpose": "vision"}).json()
    named = [{"file_id": file["id"]}]
    answer = client.post(EDITS, json={"prompt": "a dog", "images": named, "mask": named[0]})
    assert answer.status_code == 200, answer.text
    assert (engine.jobs[-1].images[0].width, engine.jobs[-1].images[0].height) == (96, 64)
    assert engine.jobs[-1].mask
    unknown = client.post(EDITS, json={"prompt": "a dog", "images": [{"file_id": "file-none"}]})
    refused(unknown, 404, None, "images[0]")


def test_texts_of_a_form_may_be_typed_blobs(client: Client, engine: TestEngine) -> None:
    files: dict[str, Any] = {
        "image": PNG, "prompt": ("blob", b"a blob's prompt", "text/plain"),
    }  # fmt: skip
    assert client.post(EDITS, files=files).status_code == 200
    assert engine.jobs[-1].prompt == "a blob's prompt"


@pytest.mark.parametrize("part", [b'name="prompt"', b'name="prompt"; filename="b"'])
def test_a_form_that_is_not_utf8_is_refused(client: Client, part: bytes) -> None:
    end = b"\r\n"
    kind = b"Content-Type: text/plain" + end if b"filename" in part else b""
    head = b"--x" + end + b"Content-Disposition: form-data; "
    text = head + part + end + kind + end + b"\xff\xfe" + end
    image = head + b'name="image"; filename="i"' + end + end + PNG + end + b"--x--" + end
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post(EDITS, content=text + image, headers=headers)
    assert answer.status_code == 400, answer.text
    assert "UTF-8" in answer.json()["error"]["message"]


def test_numbered_images_keep_their_order(client: Client, engine: TestEngine) -> None:
    files = [("image[1]", saved(RED.resize((32, 64)), "PNG")), ("image[0]", PNG)]
    assert edit(client, files, model="many").status_code == 200
    assert [image.width for image in engine.jobs[-1].images] == [96, 32]


def test_a_text_part_may_name_a_picture_by_url(client: Client) -> None:
    answer = client.post(EDITS, data={"prompt": "x"}, files={"image": (None, "http://127.0.0.1/x")})
    message = refused(answer, 400, "invalid_url", "image")
    assert "not a public address" in message


def test_a_url_at_fault_is_named(client: Client) -> None:
    body = {"prompt": "x", "images": [{"image_url": "HTTPS://127.0.0.1/x"}]}
    refused(client.post(EDITS, json=body), 400, "invalid_url", "images[0]")


def test_a_null_prompt_of_a_variation_is_none(client: Client) -> None:
    body = {"image": URL, "prompt": None, "strength": None}
    assert client.post("/v1/images/variations", json=body).status_code == 200


def test_a_file_too_large_for_a_picture_is_not_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.door.bodies.uploads.MAX_IMAGE_BYTES", 10)
    form = {"purpose": "vision"}
    kept = client.post("/v1/files", files={"file": ("x.png", PNG)}, data=form).json()
    body = {"prompt": "x", "images": [{"file_id": kept["id"]}]}
    refused(client.post(EDITS, json=body), 400, "image_too_large", "images[0]")


def test_pictures_are_bounded_by_their_sum(
    client: Client, engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_jobs, out = len(engine.jobs), BytesIO()
    Image.new("L", (6000, 6000)).save(out, "png")
    large = {"image_url": base64.b64encode(out.getvalue()).decode()}
    several = {"model": "many", "prompt": "x", "images": [large] * 8}
    message = refused(client.post(EDITS, json=several), 400, "image_too_large", "image[7]")
    assert "1024 MiB" in message
    monkeypatch.setattr("gateway.web.door.bodies.uploads.MAX_ALL_BYTES", len(out.getvalue()) * 2)
    refused(client.post(EDITS, json=several), 400, "image_too_large", "images[2]")
    assert len(engine.jobs) == num_jobs


async def test_who_leaves_while_pictures_are_fetched_or_decoded_is_not_waited_for(
    client: Client,
) -> None:
    there = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.2", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await left_at(client, f"http://127.0.0.2:{port}/a.png", there.wait())
    with busy(client.app.state.runs.performer.equipment.darkroom._threads, 2):
        await left_at(client, URL, asyncio.sleep(0.2))


async def left_at(client: Client, source: str, there: Awaitable[Any]) -> None:
    """Ask for an edit and hang up once it is there; it is over then."""
    body = json.dumps({"prompt": "x", "images": [{"image_url": source}]}).encode()
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await there
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        assert message.get("status", 499) == 499

    scope: Any = {
        "type": "http", "method": "POST", "path": EDITS, "raw_path": EDITS.encode(),
        "scheme": "http", "query_string": b"", "root_path": "", "http_version": "1.1",
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    async with asyncio.timeout(20):
        await client.app(scope, receive, send)


def test_a_field_left_empty_is_one_left_out(client: Client, engine: TestEngine) -> None:
    answer = edit(client, {"image": PNG}, n="", seed="", negative_prompt="", size="")
    assert answer.status_code == 200, answer.text
    assert len(engine.jobs[-1].seeds) == 1
