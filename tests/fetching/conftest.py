"""A hub for tests in this process, and an empty cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from gateway.fetching import repository
from tests.fetching.repositories import PLAIN, SOURCE
from tests.fetching.standin import Hub, serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one pipeline in many forms."""
    with serving({SOURCE: dict(PLAIN)}) as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        place = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # It keeps what has come in whole pieces of this size.
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)
        monkeypatch.setattr(repository, "PAUSE_SECONDS", 0.01)
        yield found
