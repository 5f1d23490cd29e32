"""A gateway process on a socket and a real browser, each started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gateway.catalog.sources.shipped import bundled
from tests.programs import program
from tests.serving import serving
from tests.web.pages.browsing import FLAGS, open_page

SIZES = {"native": [64, 64], "min": 16, "max": 2048, "multiple_of": 8, "resample": True}
HAS_WEIGHTS = all(
    any(folder.glob("*.safetensors"))
    for folder in [bundled("models") / "emoji/unet", *bundled("adapters").glob("emoji/*")]
)


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What serves the bundled `emoji`, or a tiny random one where it has no weights yet."""
    if HAS_WEIGHTS:
        return ()
    from tests.engine import tiny, tiny_loras  # noqa: PLC0415  torch takes seconds

    folder = tmp_path_factory.mktemp("catalogue")
    tiny.save("sd", folder / "models", id="emoji", sizes=SIZES, guidance={"default": 1.0})
    for route in ("3d", "line"):
        tiny_loras.save("sd", folder / "adapters" / "emoji", route, text=False)
    return ("--models", str(folder / "models"), "--adapters", str(folder / "adapters"))


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the gateway keeps its keys in."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="package")
def gateway(data: Path, models: tuple[str, ...]) -> Iterator[str]:
    """The address of a gateway that asks for no key."""
    with serving(data, *models) as server:
        yield server.url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium, the system's own.

    Put down with this package: its loop, while it runs, is in the way of every other.
    """
    expect.set_options(timeout=60_000)  # a busy machine is no failure
    chromium = program("chromium", "google-chrome", package="chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, gateway: str) -> Iterator[Page]:
    """The playground at a desk's width."""
    with open_page(browser, f"{gateway}/", viewport={"width": 1280, "height": 900}) as opened:
        opened.locator("#endpoint option").first.wait_for(state="attached")
        yield opened
