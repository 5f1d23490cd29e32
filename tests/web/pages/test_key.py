"""A gateway with keys asks for one, and the page keeps it in its tab."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.cards import AdapterCard, EndpointCard, Sizes
from gateway.catalog.catalog import Catalog
from gateway.settings import Settings
from tests.serving import listening
from tests.small_engine import TestEngine
from tests.web.pages.browsing import generate, open_page, wait_until


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gateway with a key: once it has seen one it never opens again."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def secret(data: Path) -> str:
    """A key without which the gateway answers nothing."""
    return KeyStore(data).create("browser")[1]


@pytest.fixture(scope="module")
def gateway(data: Path, secret: str) -> Iterator[str]:
    """The address of a gateway that asks for a key and paints plain pictures."""
    emoji = EndpointCard(id="emoji", sizes=Sizes(native=(64, 64), min=32))
    line = AdapterCard(endpoint="emoji", route="line", source="line.safetensors")
    catalog = Catalog({"emoji": emoji}, {("emoji", "line"): line})
    settings = Settings(endpoints=("emoji",), data=data)
    with listening(create_app(settings, TestEngine(), catalog)) as address:
        yield address


def give(page: Page, key: str) -> None:
    """Answer the dialog that asks for a key."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()


def test_a_key_is_asked_for_once_and_kept_in_the_tab(
    browser: Browser, gateway: str, secret: str
) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        give(page, "wrong")
        expect(page.locator("#key-reason")).to_have_text("Incorrect API key provided.")
        give(page, secret)
        generate(page, "a red apple")
        page.reload()
        generate(page, "a red apple")
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        other = page.context.new_page()
        other.goto(gateway)
        expect(other.get_by_role("dialog")).to_be_visible()


def test_a_forgotten_key_is_gone(browser: Browser, gateway: str, secret: str) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        give(page, secret)
        page.get_by_role("button", name="Forget key").click()
        assert page.evaluate("sessionStorage.length") == 0


def test_without_a_key_the_page_says_so(browser: Browser, gateway: str, secret: str) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        page.get_by_role("button", name="Not now").click()
        expect(page.get_by_role("alert")).to_contain_text("API key")


def test_the_operators_page_asks_as_well(browser: Browser, gateway: str, secret: str) -> None:
    with open_page(browser, f"{gateway}/status", refused=True) as page:
        give(page, secret)
        expect(page.get_by_role("heading", level=1)).to_have_text("Ready")


def test_copied_source_takes_the_key_from_the_environment(
    browser: Browser, gateway: str, secret: str
) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        give(page, secret)
        generate(page, "a red apple")
        page.get_by_role("button", name="Copy as…").click()
        for client in page.locator("#copy-dialog .segments span").all():
            client.click()
            code = page.locator("#snippet").text_content() or ""
            assert "GATEWAY_KEY" in code
            assert secret not in code


def test_a_limit_is_told_with_the_time_to_wait(browser: Browser, gateway: str, data: Path) -> None:
    keys = KeyStore(data)
    key, secret = keys.create("frugal", requests_per_minute=2)
    try:
        with open_page(browser, f"{gateway}/", refused=True) as page:
            give(page, secret)
            generate(page, "a red apple")
            page.get_by_role("button", name="Generate").click()
            said = re.compile(r"^Rate limit reached .*\. Try again in \d+ s\.$")
            expect(page.get_by_role("alert")).to_have_text(said)
    finally:
        keys.revoke(key.id)


def test_a_key_for_one_adapter_is_offered_that_alone(
    browser: Browser, gateway: str, data: Path
) -> None:
    keys = KeyStore(data)
    key, secret = keys.create("narrow", models=("emoji:line",))
    try:
        with open_page(browser, f"{gateway}/", refused=True) as page:
            give(page, secret)
            generate(page, "a red apple")
            expect(page.locator("#receipt")).to_contain_text("emoji:line")
            expect(page.locator("#adapters")).to_be_hidden()
    finally:
        keys.revoke(key.id)


def test_who_declined_is_asked_again_when_it_matters(
    browser: Browser, gateway: str, secret: str
) -> None:
    with open_page(browser, f"{gateway}/", refused=True) as page:
        page.get_by_role("button", name="Not now").click()
        page.get_by_label("What should the picture show?").fill("a red apple")
        page.get_by_role("button", name="Generate").click()
        give(page, secret)
        wait_until(page, "done")
