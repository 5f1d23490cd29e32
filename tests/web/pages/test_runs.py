"""Runs and batches are watched, and cancelled, on a page."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from gateway.app import create_app
from gateway.settings import Settings
from tests.serving import listening
from tests.small_engine import TestEngine, small_catalog
from tests.web.pages.browsing import open_page
from tests.web.pages.test_playground import faults

LONG = {"prompt": "a slow boat", "num_inference_steps": 2000}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that paints plain pictures, some of them for minutes."""
    settings = Settings(data=tmp_path_factory.mktemp("data"))
    with listening(create_app(settings, TestEngine(), small_catalog())) as address:
        yield address


def test_a_run_is_seen_to_its_end_and_another_is_cancelled(browser: Browser, gateway: str) -> None:
    def ask(**body: object) -> str:
        return str(httpx.post(f"{gateway}/api/run", json=body, timeout=60).json()["run_id"])

    with open_page(browser, f"{gateway}/runs") as page:
        expect(page.get_by_text("None yet.")).to_have_count(2)
        ask(model_id="tiny", inputs={"prompt": "a red apple"})
        done = page.locator("#runs tr", has_text="a red apple")
        expect(done).to_contain_text("success")
        expect(done.locator("img")).to_have_js_property("naturalWidth", 64)
        run_id = ask(model_id="slow", inputs=LONG)
        slow = page.locator("#runs tr", has_text="a slow boat")
        expect(slow).to_contain_text("running")
        assert faults(page) == []
        slow.get_by_role("button", name=f"Cancel the run {run_id}").click()
        expect(slow).to_contain_text("cancelled")
        expect(slow.get_by_role("button")).to_have_count(0)
        expect(page.locator("#live")).to_have_text(f"Cancelled the run {run_id}")


def test_a_batch_is_watched_and_cancelled(browser: Browser, gateway: str, tmp_path: Path) -> None:
    bodies = [{"model": "tiny", "prompt": "a cat"}, {"model": "slow", **LONG}]
    url = "/v1/images/generations"
    lines = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": url, "body": body})
        for number, body in enumerate(bodies)
    ]
    with httpx.Client(base_url=gateway, timeout=60) as client:
        files = {"file": ("lines.jsonl", "\n".join(lines).encode())}
        file = client.post("/v1/files", data={"purpose": "batch"}, files=files).json()
        asked = {"input_file_id": file["id"], "endpoint": url, "completion_window": "24h"}
        batch = client.post("/v1/batches", json=asked).json()
    with open_page(browser, f"{gateway}/runs") as page:
        row = page.locator("#batches tr", has_text=batch["id"])
        expect(row.locator(".number").first).to_have_text("1")
        expect(row).to_contain_text("in progress")
        row.get_by_role("button").click()
        expect(row.locator("td").nth(2)).to_have_text("cancelled")
