"""A hub for tests in this process, and an empty cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching.standin import Hub, point_at, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with nothing on it yet."""
    with serving({}) as found:
        point_at(found, tmp_path / "cache" / "hub", monkeypatch)
        yield found
