"""The playground as a person meets it, in a real browser against a live gateway."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.web.pages.browsing import (
    choose_adapter,
    generate,
    lock_seed,
    open_page,
    pixels,
    set_field,
    wait_until,
)


def test_a_picture_sharpens_step_by_step(page: Page) -> None:
    generate(page, "a red apple", Steps="6")
    seen = page.evaluate("seen")
    assert len(seen["pictures"]) == 4, "three partial pictures and the finished one"
    assert seen["steps"] == sorted(seen["steps"])
    assert len(seen["steps"]) >= 3
    expect(page.locator("#shown-progress")).to_be_hidden()
    expect(page.locator("#receipt")).to_contain_text("scheduler")


def test_what_was_not_done_as_asked_stands_under_the_picture(page: Page) -> None:
    generate(page, "a (red:1.3) apple")
    expect(page.locator("#receipt")).to_contain_text("'(red:1.3)' was read as words")


def test_an_adapter_changes_the_picture_and_again_repeats_it(page: Page) -> None:
    lock_seed(page, 7)
    generate(page, "a red apple")
    plain = pixels(page)
    choose_adapter(page, "line")
    generate(page, "a red apple")
    drawn = pixels(page)
    page.get_by_role("button", name="a red apple, seed 7").last.click()
    page.get_by_role("button", name="Again").click()
    wait_until(page, "done")
    assert np.abs(plain - drawn).mean() > 1
    assert np.array_equal(pixels(page), plain)


def test_adapters_are_stacked_each_with_its_scale(page: Page) -> None:
    lock_seed(page, 7)
    choose_adapter(page, "3d", 0.5)
    choose_adapter(page, "line")
    generate(page, "a red apple")
    expect(page.locator("#receipt")).to_contain_text("3d × 0.5, line × 1")
    stacked = pixels(page)
    page.get_by_label("3d", exact=True).uncheck()
    generate(page, "a red apple")
    expect(page.locator("#receipt")).to_contain_text("line × 1")
    assert np.abs(stacked - pixels(page)).mean() > 0.5
    page.get_by_role("button", name="a red apple, seed 7").last.click()
    page.get_by_role("button", name="Use as input").click()
    expect(page.get_by_label("3d", exact=True)).to_be_checked()
    expect(page.get_by_label("Scale of 3d")).to_have_value("0.5")


def test_a_picture_that_is_dropped_in_is_drawn_again_from_its_receipt(
    page: Page, browser: Browser, gateway: str, tmp_path: Path
) -> None:
    choose_adapter(page, "3d", 0.5)
    generate(page, "a red apple ü", Steps="3")
    first = pixels(page)
    with page.expect_download() as download:
        page.get_by_text("Download", exact=True).click()
    download.value.save_as(tmp_path / "apple.png")
    with open_page(browser, f"{gateway}/") as other:
        other.locator("#file").set_input_files(tmp_path / "apple.png")
        expect(other.locator("#carried-text")).to_contain_text("a red apple ü")
        other.get_by_role("button", name="Draw it again").click()
        expect(other.locator("#tiles button")).to_have_count(1)
        wait_until(other, "done")
        assert np.array_equal(pixels(other), first)
        expect(other.get_by_role("button", name="Locked")).to_be_visible()


def test_every_picture_of_a_request_has_its_own_seed(page: Page) -> None:
    generate(page, "a blue circle", Pictures="3")
    tiles = page.locator("#tiles button")
    expect(tiles).to_have_count(3)
    names = {tile.get_attribute("aria-label") for tile in tiles.all()}
    assert len(names) == 3


def test_cancel_stops_the_work(page: Page, gateway: str) -> None:
    set_field(page, "Steps", "10")
    set_field(page, "Pictures", "10")
    page.get_by_label("What should the picture show?").fill("a slow boat")
    page.get_by_role("button", name="Generate").click()
    page.get_by_role("button", name="Cancel").click()
    wait_until(page, "cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    expect(page.get_by_role("alert")).to_be_hidden()
    for _ in range(50):
        if not (engine := httpx.get(f"{gateway}/status.json").json()["engine"])["num_running"]:
            break
        page.wait_for_timeout(100)
    assert engine["num_running"] == engine["num_waiting"] == 0


def test_a_refusal_is_a_sentence_beside_the_field_at_fault(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        page.locator("#size").select_option("custom")
        page.get_by_label("Width × height in pixels").fill("99999x99999")
        page.get_by_label("What should the picture show?").fill("a red apple")
        with page.expect_response("**/v1/images/generations") as refused:
            page.get_by_role("button", name="Generate").click()
        said = json.loads(refused.value.body())["error"]["message"]
        expect(page.get_by_role("alert")).to_have_text(said)
        expect(page.locator("[aria-invalid=true]")).to_have_attribute("name", "size")


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.get_by_label("What should the picture show?").focus()
    page.keyboard.type("a green leaf")
    page.keyboard.press("Enter")
    wait_until(page, "done")
    page.keyboard.type(" on a white background")
    page.keyboard.press("Enter")
    expect(page.locator("#tiles button")).to_have_count(2)
    wait_until(page, "done")
    page.locator("#tiles button").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#shown-prompt")).to_have_text("a green leaf")
    expect(page.locator("#tiles button").last).to_be_focused()


def test_a_phone_in_the_dark(browser: Browser, gateway: str) -> None:
    phone: dict[str, Any] = {
        "viewport": {"width": 360, "height": 740},
        "color_scheme": "dark",
        "has_touch": True,
    }
    with open_page(browser, f"{gateway}/", **phone) as page:
        generate(page, "a yellow star")
        width = page.evaluate("document.documentElement.scrollWidth")
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert width <= 360
        assert colour == "rgb(21, 20, 18)"
        page.get_by_text("Settings", exact=True).click()
        expect(page.get_by_label("Steps", exact=True)).to_be_visible()


def test_every_control_has_a_name(page: Page) -> None:
    generate(page, "a red apple")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, canvas[tabindex]')]
           .filter((one) => one.checkVisibility() && !one.textContent.trim())
           .filter((one) => !one.labels?.length && !one.ariaLabel)
           .filter((one) => !one.getAttribute('aria-labelledby'))
           .map((one) => one.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_cannot_see_or_point_finds_everything(
    browser: Browser, gateway: str, scheme: Any
) -> None:
    with open_page(browser, f"{gateway}/", color_scheme=scheme) as page:
        choose_adapter(page, "3d")
        generate(page, "a red apple")
        page.get_by_role("button", name="Use as input").click()
        assert faults(page) == []
        page.get_by_role("button", name="Copy as…").click()
        assert faults(page) == []
        page.get_by_role("button", name="Close").click()
        page.get_by_role("group", name="What to do").get_by_text("Paint a mask").click()
        expect(page.locator("#mask-canvas")).to_be_focused()
        assert faults(page) == []
        page.goto(f"{gateway}/status")
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")
        assert faults(page) == []


def faults(page: Page) -> list[str]:
    """What axe finds that stands in somebody's way."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]
