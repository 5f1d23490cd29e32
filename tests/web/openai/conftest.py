"""OpenAI's dialect over an engine that paints plain pictures."""

from collections.abc import Iterator

import pytest
from litestar.testing import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.small_engine import TestEngine
from tests.web.openai.asking import Client, two_endpoints


@pytest.fixture(scope="module")
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture(scope="module")
def client(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(
        endpoints=("tiny",),
        data=tmp_path_factory.mktemp("data"),
        max_body_mib=0.1,
        heartbeat_seconds=0.2,
        max_prompt_characters=1000,
    )
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client
