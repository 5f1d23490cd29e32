"""How tests are given out, and what many share.

Every test that asks for a database runs on SQLite and on PostgreSQL.
"""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tests import beforehand
from tests.runs import postgres
from tests.scheduling import FromBothEnds, place

BEGUN = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    """Before any worker of xdist's, and once; where some tests are named, nothing."""
    is_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_all and not config.option.collectonly and not hasattr(config, "workerinput"):
        config.stash[BEGUN] = beforehand.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (begun := config.stash.get(BEGUN, None)) is not None:
        beforehand.end(begun)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FromBothEnds:
    return FromBothEnds(config, log)


@pytest.fixture(autouse=True, scope="session")
def _plain_tracebacks() -> None:
    """As the gateway logs them; printing a model as a local of each frame takes seconds."""
    *others, _renderer = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, plain])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """It waits for no disk: what it wrote outlives its own crash, and no test cuts the power."""
    with postgres.running("fsync=off") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """The setting of a database; None is SQLite in the data folder."""
    if request.param == "sqlite":
        return None
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.new_database()
