"""What the browser tests share: a browser that tells of every fault, and pictures as pixels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
]

REFUSED = "Failed to load resource"

WATCH = """
window.seen = { pictures: [], steps: [] };
addEventListener('DOMContentLoaded', () => {
  const look = () => {
    const image = document.getElementById('shown-image');
    const bar = document.getElementById('shown-progress');
    if (image?.src && seen.pictures.at(-1) !== image.src) seen.pictures.push(image.src);
    if (bar?.value && seen.steps.at(-1) !== bar.value) seen.steps.push(bar.value);
  };
  const options = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document.body, options);
});
"""
"""Keeps every picture and step the viewer ever showed: some last only milliseconds."""


@contextmanager
def open_page(
    browser: Browser, url: str, *, refused: bool = False, **context: Any
) -> Iterator[Page]:
    """Open a page in a fresh profile; on leaving, refuse what should never have happened.

    `refused` says that the gateway will refuse a request, which the browser notes as well.

    Raises:
        AssertionError: the console held an error, or something was asked of another origin.
    """
    profile = browser.new_context(**context)
    page = profile.new_page()
    faults: list[str] = []
    origins: set[str] = set()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: origins.add(_origin(asked.url)))
    page.add_init_script(WATCH)
    page.goto(url)
    yield page
    profile.close()
    assert origins == {_origin(url)}
    assert [fault for fault in faults if not (refused and REFUSED in fault)] == []


def generate(page: Page, prompt: str, **settings: str) -> None:
    """Ask for pictures and wait for the one that is looked at."""
    for name, value in settings.items():
        set_field(page, name, value)
    page.get_by_label("What should the picture show?").fill(prompt)
    tiles = page.locator("#tiles button")
    num_before = tiles.count()
    page.get_by_role("button", name="Generate").click()
    expect(tiles).not_to_have_count(num_before)
    wait_until(page, "done")


def wait_until(page: Page, state: str) -> None:
    """Wait until the picture looked at has come to its end, which is to be `state`."""
    ended = page.locator(
        "#shown:is([data-state=done], [data-state=failed], [data-state=cancelled])"
    )
    ended.wait_for(timeout=60_000)
    assert ended.get_attribute("data-state") == state, page.locator("#receipt").inner_text()


def set_field(page: Page, name: str, value: str) -> None:
    """Set a setting by its label, whatever kind of control it is."""
    field = page.locator("#composer, #settings").get_by_label(name, exact=True)
    if field.evaluate("field => field.tagName") == "SELECT":
        field.select_option(value)
    else:
        field.fill(value)


def choose_adapter(page: Page, route: str, scale: float | None = None) -> None:
    """Add an adapter by its route, at a scale."""
    page.locator("#adapters").get_by_label(route, exact=True).check()
    if scale is not None:
        page.get_by_label(f"Scale of {route}").fill(str(scale))


def lock_seed(page: Page, seed: int) -> None:
    """Set a seed and keep it."""
    set_field(page, "Seed", str(seed))
    page.get_by_role("button", name="Lock", exact=True).click()


def pixels(page: Page) -> np.ndarray:
    """Download the picture looked at: `[height, width, 3]`, uint8 as int."""
    with page.expect_download() as download:
        page.get_by_text("Download", exact=True).click()
    return decoded(download.value.path().read_bytes())


def decoded(data: bytes) -> np.ndarray:
    """An encoded picture as `[height, width, 3]`, int."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def _origin(url: str) -> str:
    parts = urlsplit(url.removeprefix("blob:"))
    return f"{parts.scheme}://{parts.netloc}"
