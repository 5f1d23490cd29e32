"""The documentation's site: it is built whole, every link of it leads somewhere."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.serving import ENVIRONMENT, ROOT

BUILD = ROOT / "deploy/site/build.py"
NO_PAGES = {"models/emoji/recipe/README.md"}
"""For who trains the model, not for who serves it."""

LINKS = r'link rel="(?:stylesheet|icon|preload)"'
FETCHED = re.compile(rf'<(?:script|img|{LINKS})[^>]+(?:src|href)="(?:https?:)?//')


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as a module."""
    monkeypatch.syspath_prepend(BUILD.parent)
    return importlib.import_module("build")


def test_it_is_built_whole(tmp_path: Path) -> None:
    command = [sys.executable, str(BUILD), str(tmp_path / "site")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    assert [path for path, text in pages.items() if FETCHED.search(text)] == []
    assert "/v1/images/generations" in pages["reference/api/index.html"]
    assert "GATEWAY_PORT" in pages["reference/settings/index.html"]
    assert "batch_invariant" in pages["reference/cards/index.html"]


def test_every_readme_is_a_page(build: ModuleType) -> None:
    found = {str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/README.md")}
    beside_the_code = {path for path in found if "node_modules" not in path}
    assert beside_the_code - NO_PAGES <= set(build.paged())


def test_a_link_to_nothing_stops_it(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "deploy").mkdir()
    for place in ("README.md", "code.py", "deploy/README.md"):
        (tmp_path / place).write_text("# A page\n")
    (tmp_path / "README.md").write_text("[`code`](code.py) [it](deploy) [out](https://a.example)")
    text = build.gathered("README.md", tmp_path / "pages")
    assert text == "`code` [it](deploy/README.md) [out](https://a.example)"
    (tmp_path / "README.md").write_text("[there](nowhere.md)")
    with pytest.raises(build.BrokenLink, match="nowhere"):
        build.gathered("README.md", tmp_path / "pages")
