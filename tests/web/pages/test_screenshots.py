"""The README's pictures of the pages; `SCREENSHOTS=tests/web/pages/screenshots` takes them anew."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from tests.web.pages.browsing import choose_adapter, generate, lock_seed, open_page, set_field

MAX_BYTES = 200 * 1024
DESK: ViewportSize = {"width": 1280, "height": 860}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    return Path(os.environ.get("SCREENSHOTS", tmp_path))


def take(page: Page, path: Path) -> None:
    """Save what a person would see, and look whether there is anything on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    with Image.open(path) as taken:
        assert np.asarray(taken.convert("L")).std() > 10
        taken.convert("RGB").save(path, optimize=True)
        if path.stat().st_size > MAX_BYTES:
            taken.convert("RGB").quantize(256).save(path, optimize=True)
    assert path.stat().st_size <= MAX_BYTES


def test_playground(browser: Browser, gateway: str, folder: Path) -> None:
    with open_page(browser, f"{gateway}/", viewport=DESK) as page:
        lock_seed(page, 7)
        choose_adapter(page, "3d")
        generate(page, "a cat with sunglasses", Steps="8", Pictures="3")
        page.get_by_label("3d", exact=True).uncheck()
        generate(page, "a rocket on a purple background", Steps="8", Pictures="3")
        page.locator("#tiles button[data-state=done]").nth(5).wait_for()
        take(page, folder / "playground.png")


def test_playground_on_a_phone_in_the_dark(browser: Browser, gateway: str, folder: Path) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}
    with open_page(browser, f"{gateway}/", **phone) as page:
        page.get_by_text("Settings", exact=True).click()
        lock_seed(page, 7)
        set_field(page, "Steps", "8")
        page.get_by_text("Settings", exact=True).click()
        generate(page, "a slice of pizza on a sky blue background")
        take(page, folder / "playground-phone.png")


def test_status(browser: Browser, gateway: str, folder: Path) -> None:
    with open_page(browser, f"{gateway}/", viewport=DESK) as page:
        for steps in ("2", "10", "6"):
            set_field(page, "Steps", steps)
            set_field(page, "Pictures", "4")
            page.get_by_label("What should the picture show?").fill("a red apple")
            page.get_by_role("button", name="Generate").click()
        status = page.context.new_page()
        status.set_viewport_size(DESK)
        status.goto(f"{gateway}/status")
        page.locator("#tiles button[data-state=done]").nth(11).wait_for(timeout=60_000)
        status.wait_for_timeout(3000)
        take(status, folder / "status.png")
