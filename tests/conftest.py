"""Every test that asks for a database runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.runs import postgres


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
