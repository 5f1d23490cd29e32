"""A ControlNet is offered where the endpoint has one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from gateway.app import create_app
from gateway.settings import Settings
from tests.images.test_decode import RED, saved
from tests.serving import listening
from tests.small_engine import TestEngine
from tests.web.openai.asking import two_endpoints
from tests.web.pages.browsing import generate, open_page

ENGINE = TestEngine()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway whose endpoints have one ControlNet, two, and none."""
    settings = Settings(data=tmp_path_factory.mktemp("data"))
    with listening(create_app(settings, ENGINE, two_endpoints())) as address:
        yield address


def test_a_picture_is_followed_by_the_net_that_is_chosen(
    browser: Browser, gateway: str, tmp_path: Path
) -> None:
    (tmp_path / "lines.png").write_bytes(saved(RED.resize((64, 64)), "PNG"))
    with open_page(browser, f"{gateway}/") as page:
        page.locator("#endpoint").select_option("keyed")
        expect(page.locator("#control")).to_be_hidden()
        page.locator("#endpoint").select_option("tiny")
        page.locator("#control-file").set_input_files(tmp_path / "lines.png")
        expect(page.locator("#control-image")).to_be_visible()
        expect(page.locator("#control-net")).to_be_hidden()
        generate(page, "a red apple")
        (control,) = ENGINE.jobs[-1].controls
        assert (control.route, control.scale) == ("canny", 1.0)
        assert control.image.data[:3] == bytes((200, 10, 10))
        page.locator("#endpoint").select_option("resampled")
        page.locator("#control-net").select_option("depth")
        page.locator("#control-weight").fill("0.5")
        generate(page, "a red apple")
        (control,) = ENGINE.jobs[-1].controls
        assert (control.route, control.scale) == ("depth", 0.5)
        page.get_by_role("button", name="Copy as…").click()
        expect(page.locator("#snippet")).to_contain_text("CONTROL_IMAGE")
        page.get_by_role("button", name="Close").click()
        page.locator("#control-drop").click()
        generate(page, "a red apple")
        assert ENGINE.jobs[-1].controls == ()
