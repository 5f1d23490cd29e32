"""An application for each file of tests, and two who ask it."""

from typing import Any

import pytest
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from tests.web.comfyapi.app import Client, served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with served(tmp_path_factory.mktemp("data")) as client:
        yield client


@pytest.fixture(scope="module")
def other(client: Client) -> Client:
    """Somebody else."""
    _, secret = KeyStore(client.app.state.runs.settings.data).create("bob")
    found = TestClient(client.app)
    found.headers["Authorization"] = f"Bearer {secret}"
    return found
