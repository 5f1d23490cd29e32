"""Every test that asks for a database runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
import structlog

from tests.runs import postgres


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
