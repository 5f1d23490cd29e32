"""What the page offers to copy makes the same picture when it is run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tests.clients.environments import python_of, run_node
from tests.web.pages.browsing import decoded, generate, open_page, pixels, set_field

PROMPT = 'it\'s a "red" apple, 100 % $HOME \\ ü 🍎'
"""Everything that a shell or a string literal could take for something else."""


def source(page: Page, client: str) -> str:
    """The request of the picture looked at, as source."""
    page.get_by_role("button", name="Copy as…").click()
    page.locator("#copy-dialog").get_by_text(client, exact=True).click()
    code = page.locator("#snippet").text_content()
    page.get_by_role("button", name="Close").click()
    assert code
    return code


def run(command: list[str], folder: Path) -> None:
    """Run a program in a folder; its output is shown only if it fails."""
    online = os.environ | {"HF_HUB_OFFLINE": "0"}  # else its client asks nobody
    done = subprocess.run(
        command, cwd=folder, env=online, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_curl(page: Page, tmp_path: Path) -> None:
    set_field(page, "Leave out negative prompt", "leaves")
    generate(page, PROMPT, Steps="2")
    run(["bash", "-c", source(page, "curl")], tmp_path)
    assert np.array_equal(decoded((tmp_path / "picture.png").read_bytes()), pixels(page))


def test_python(page: Page, tmp_path: Path) -> None:
    generate(page, PROMPT, Steps="2")
    (tmp_path / "snippet.py").write_text(source(page, "OpenAI, Python"))
    run([sys.executable, "snippet.py"], tmp_path)
    assert np.array_equal(decoded((tmp_path / "picture-0.png").read_bytes()), pixels(page))


def test_node(page: Page, tmp_path: Path) -> None:
    generate(page, PROMPT, Steps="2")
    here = f"process.chdir({json.dumps(str(tmp_path))});\n"
    code = here + source(page, "OpenAI, Node") + "console.log(null);\n"
    (tmp_path / "snippet.mjs").write_text(code)
    run_node(tmp_path / "snippet.mjs")
    assert np.array_equal(decoded((tmp_path / "picture-0.png").read_bytes()), pixels(page))


@pytest.mark.parametrize(
    ("client", "environment"),
    [
        ("Friendli", "friendli-0.16"),
        ("ComfyDeploy", "comfydeploy-0.7.0"),
        ("Hugging Face", "hubs"),
    ],
)
def test_clients_of_other_dialects(
    page: Page, tmp_path: Path, client: str, environment: str
) -> None:
    generate(page, PROMPT, Steps="2")
    (tmp_path / "snippet.py").write_text(source(page, client))
    run([str(python_of(environment)), "snippet.py"], tmp_path)
    assert np.array_equal(decoded((tmp_path / "picture-0.png").read_bytes()), pixels(page))


def test_an_edit_as_curl(page: Page, tmp_path: Path) -> None:
    generate(page, "a red apple", Steps="2")
    page.get_by_role("button", name="Use as input").click()
    with page.expect_download() as download:
        page.get_by_text("Download", exact=True).click()
    shutil.copy(download.value.path(), tmp_path / "image.png")
    generate(page, "a green apple", Steps="3")
    run(["bash", "-c", source(page, "curl")], tmp_path)
    assert np.array_equal(decoded((tmp_path / "picture.png").read_bytes()), pixels(page))


def test_copying_where_a_page_has_no_clipboard(browser: Browser, gateway: str) -> None:
    with open_page(browser, f"{gateway}/") as page:
        # As on every page over plain http but localhost's.
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        generate(page, "a red apple", Steps="1")
        page.get_by_role("button", name="Copy as…").click()
        page.get_by_role("button", name="Copy", exact=True).click()
        page.get_by_role("button", name="Copied").wait_for()
        page.get_by_role("button", name="Close").click()
        prompt = page.get_by_label("What should the picture show?")
        prompt.fill("")
        prompt.press("Control+V")
        assert prompt.input_value().startswith(f"curl '{gateway}/v1/images/generations'")
