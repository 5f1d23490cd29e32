"""How tests are given out, and what many share.

Every test that asks for a database runs on SQLite and on PostgreSQL.
"""

import subprocess
from collections.abc import Iterator

import pytest
import structlog

from tests import beforehand
from tests.runs import postgres

BEGUN = pytest.StashKey[subprocess.Popen[bytes]]()
LONG = "tests/web/test_"
"""Files that would else come last, when one worker waits for the end of the other's."""


def pytest_configure(config: pytest.Config) -> None:
    """Before any worker of xdist's, and once; where some tests are named, nothing."""
    is_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_all and not config.option.collectonly and not hasattr(config, "workerinput"):
        config.stash[BEGUN] = beforehand.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (begun := config.stash.get(BEGUN, None)) is not None:
        beforehand.end(begun)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True, scope="session")
def _plain_tracebacks() -> None:
    """As the gateway logs them; printing a model as a local of each frame takes seconds."""
    *others, _renderer = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, plain])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """The setting of a database; None is SQLite in the data folder."""
    if request.param == "sqlite":
        return None
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.new_database()
