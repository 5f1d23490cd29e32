"""Pictures that are uploaded: named as ComfyUI names them, each key's own, and counted."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.images.test_decode import RED, saved
from tests.web.comfyui.asking import done, graph, queued, served
from tests.web.openai.asking import Client, picture

Place = tuple[Client, dict[str, dict[str, str]]]
RED_PNG = saved(RED.resize((64, 64)), "PNG")
BLUE_PNG = saved(Image.new("RGB", (64, 64), "blue"), "PNG")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("data")) as place:
        yield place


def upload(
    client: Client, headers: dict[str, str], data: bytes, name: str = "a.png", **fields: Any
) -> Any:
    path = fields.pop("path", "/upload/image")
    files = {"image": (name, data, "image/png")}
    answer = client.post(path, files=files, data=fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def view(client: Client, headers: dict[str, str], **reference: str) -> Any:
    answer = client.get("/view", params=reference, headers=headers)
    return picture(answer.content) if answer.status_code == 200 else answer.status_code


def test_names_that_are_taken_are_numbered(place: Place) -> None:
    client, keys = place
    first = upload(client, keys["ann"], RED_PNG, "x.png", subfolder="mine", type="input")
    assert first == {"name": "x.png", "subfolder": "mine", "type": "input"}
    again = upload(client, keys["ann"], RED_PNG, "x.png", subfolder="mine")
    other = upload(client, keys["ann"], BLUE_PNG, "x.png", subfolder="mine")
    assert (again["name"], other["name"]) == ("x.png", "x (1).png")
    seen = view(client, keys["ann"], filename="x.png", subfolder="mine", type="input")
    assert seen.getpixel((0, 0)) == (200, 10, 10)
    assert view(client, keys["bob"], filename="x.png", subfolder="mine", type="input") == 404
    over = upload(client, keys["ann"], BLUE_PNG, "x.png", subfolder="mine", overwrite="true")
    assert over["name"] == "x.png"
    seen = view(client, keys["ann"], filename="x.png", subfolder="mine")
    assert seen.getpixel((0, 0)) == (0, 0, 255)


def test_no_way_leads_out_of_a_folder(place: Place) -> None:
    client, keys = place
    told = upload(client, keys["ann"], RED_PNG, "../../up.png", subfolder="../a//../b")
    assert told == {"name": "up.png", "subfolder": "a/b", "type": "input"}
    assert view(client, keys["ann"], filename="../../keys.json") == 404
    assert view(client, keys["ann"], filename="/etc/passwd", subfolder="..") == 404


def test_an_upload_is_redrawn_and_offered(place: Place) -> None:
    client, keys = place
    upload(client, keys["ann"], RED_PNG, "in.png", subfolder="deep/er")
    redraw = graph(latent_image=["12", 0], denoise=0.5)
    redraw["10"] = {"class_type": "LoadImage", "inputs": {"image": "deep/er/in.png [input]"}}
    redraw["12"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    told = done(client, keys["ann"], queued(client, keys["ann"], redraw))
    image = told["outputs"]["9"]["images"][0]
    assert view(client, keys["ann"], **image).getpixel((0, 0)) == (7, 0, 255)
    loader = client.get("/object_info/LoadImage", headers=keys["ann"]).json()["LoadImage"]
    assert "deep/er/in.png" in loader["input"]["required"]["image"][0]
    loader = client.get("/object_info/LoadImage", headers=keys["bob"]).json()["LoadImage"]
    assert loader["input"]["required"]["image"][0] == []


def test_a_mask_makes_what_is_painted_transparent(place: Place) -> None:
    client, keys = place
    upload(client, keys["ann"], RED_PNG, "whole.png")
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    reference = {"filename": "whole.png", "subfolder": "", "type": "input"}
    given = {"original_ref": json.dumps(reference), "path": "/upload/mask"}
    told = upload(client, keys["ann"], saved(mask, "PNG"), "clipspace.png", **given)
    seen = view(client, keys["ann"], filename=told["name"], type="input")
    assert seen.getpixel((0, 0)) == (200, 10, 10, 0)
    assert seen.getpixel((63, 0)) == (200, 10, 10, 255)
    for reference_text, status in (('{"filename": "none.png"}', 404), ("", 400), ("[1]", 400)):
        answer = client.post(
            "/upload/mask",
            files={"image": ("m.png", saved(mask, "PNG"), "image/png")},
            data={"original_ref": reference_text},
            headers=keys["ann"],
        )
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
