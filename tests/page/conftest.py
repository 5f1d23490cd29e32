"""A gateway process on a socket and a real browser, each started once."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gateway.bundle import bundled
from tests.page.browsing import FLAGS, open_page
from tests.page.standing_in import save_stand_in

START_SECONDS = 120
ROOT = Path(__file__).parents[2]
HAS_WEIGHTS = all(
    any((bundled(folder) / "emoji").glob("*/*.safetensors")) for folder in ("models", "adapters")
)


@contextmanager
def serving(data: Path, models: list[str]) -> Iterator[str]:
    """Run `gateway serve` on a free port until the block ends; yields its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-c", "from gateway.cli.main import main; main()", "serve"]
    settings = ["--port", str(port), "--data", str(data), "--threads", "1", "--preload"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            command + settings + models, cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, data / "log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the gateway did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the gateway keeps its keys in."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def gateway(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that serves the bundled `emoji`, or a stand-in for it."""
    models = [] if HAS_WEIGHTS else save_stand_in(tmp_path_factory.mktemp("models"))
    with serving(data, models) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, the system's own."""
    if (chromium := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
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
