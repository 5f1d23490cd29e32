"""Pictures made from pictures: an input, a painted mask, a variation."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.web.pages.browsing import generate, lock_seed, pixels, set_field, wait_until

KEEP_PARTS = """() => {
  const append = FormData.prototype.append;
  window.parts = {};
  FormData.prototype.append = function (name, value, ...rest) {
    window.parts[name] = value;
    return append.call(this, name, value, ...rest);
  };
}"""
"""Keeps what the page sends: the browser tells nobody else the bytes of a multipart body."""

READ_MASK = """async () => {
  const bytes = new Uint8Array(await window.parts.mask.arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}"""


def open_mask(page: Page) -> None:
    """Open the mask dialog and wait until it listens."""
    page.get_by_role("button", name="Paint a mask").click()
    expect(page.locator("#mask-canvas")).to_be_focused()


def paint_upper_left(page: Page) -> None:
    """Paint over the upper left quarter of the picture in the mask dialog."""
    box = page.locator("#mask-canvas").bounding_box()
    assert box
    page.get_by_label("Brush").fill("40")
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Use mask").click()


def test_only_what_was_painted_over_is_redrawn(page: Page) -> None:
    lock_seed(page, 7)
    generate(page, "a red apple on a white background")
    before = pixels(page)
    open_mask(page)
    paint_upper_left(page)
    set_field(page, "How much is redrawn", "1")
    generate(page, "a rocket on a purple background")
    change = np.abs(pixels(page) - before).mean(axis=2)
    half = change.shape[0] // 2
    assert change[:half, :half].mean() > 1.5 * change[half:, half:].mean()


def test_a_mask_painted_by_keyboard_is_sent_with_holes(page: Page) -> None:
    generate(page, "a red apple")
    open_mask(page)
    for key in ["Shift+ArrowLeft", "Space", "ArrowUp", "Space"]:
        page.keyboard.press(key)
    page.get_by_role("button", name="Use mask").press("Enter")
    page.evaluate(KEEP_PARTS)
    generate(page, "a red apple")
    mask = base64.b64decode(page.evaluate(READ_MASK))
    alpha = np.asarray(Image.open(io.BytesIO(mask)).convert("RGBA"))[..., 3]
    height, width = alpha.shape
    assert alpha[height // 2, int(width * 0.42)] == 0
    assert alpha[0, 0] == alpha[-1, -1] == 255


def test_vary_makes_another_like_it(page: Page) -> None:
    generate(page, "a blue circle on a white background")
    first = pixels(page)
    page.get_by_role("button", name="Vary").click()
    expect(page.locator("#tiles button")).to_have_count(2)
    wait_until(page, "done")
    second = pixels(page)
    assert second.shape == first.shape
    assert 0 < np.abs(second - first).mean() < 90


def test_an_edit_can_be_edited_again(page: Page) -> None:
    generate(page, "a red apple")
    for prompt in ("a green apple", "a blue apple"):
        page.get_by_role("button", name="Use as input").click()
        generate(page, prompt)
    expect(page.locator("#tiles button[data-state=done]")).to_have_count(3)


def test_a_file_that_is_no_picture_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    page.locator("#file").set_input_files(path)
    expect(page.get_by_role("alert")).to_have_text(
        "This file is not a picture the browser can read."
    )


def test_an_endpoint_that_takes_no_pictures_is_sent_none(page: Page) -> None:
    def blind(route: Route) -> None:
        answer = route.fetch()
        models = answer.json()
        for model in models["data"]:
            model["edits"] = False
        route.fulfill(response=answer, json=models)

    page.route("**/v1/models", blind)
    page.reload()
    page.locator("#endpoint option").first.wait_for(state="attached")
    generate(page, "a red apple", Steps="1")
    expect(page.get_by_role("button", name="Again")).to_be_visible()
    expect(page.get_by_role("button", name="Use as input")).to_be_hidden()
    expect(page.locator("#shown").get_by_role("button", name="Paint a mask")).to_be_hidden()
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    page.locator("#file").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": data.getvalue()}
    )
    expect(page.get_by_role("alert")).to_contain_text("takes no picture")
    generate(page, "a green apple", Steps="1")
