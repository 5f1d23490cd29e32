"""Two fronts on one PostgreSQL and one bucket, each a process with a folder of its own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.fronts.holdings import opened_keys
from gateway.settings import Settings
from tests.fronts.bucket import bucket
from tests.runs import postgres
from tests.runs.server import Process

DRAW = "/v1/images/generations"


@dataclass(frozen=True)
class House:
    """Its fronts, and the settings of who changes its keys."""

    fronts: list[Process]
    settings: Settings

    def new_key(self, **limits: Any) -> tuple[str, str]:
        """The id and the secret of a key that `gateway keys create` would make."""
        with opened_keys(self.settings) as keys:
            key, secret = keys.create("someone", **limits)
        return key.id, secret

    def revoke(self, key_id: str) -> None:
        """What `gateway keys revoke` does."""
        with opened_keys(self.settings) as keys:
            assert keys.revoke(key_id)


@contextmanager
def housed(folder: Path, server: postgres.Server, num: int = 2) -> Iterator[House]:
    """Fronts that answer, until the block ends."""
    with ExitStack() as held:
        kept = held.enter_context(bucket())
        database = server.new_database()
        settings = Settings(data=folder / "nowhere", database=database)
        with opened_keys(settings) as keys:
            keys.create("first")  # without one anybody is answered, whose key is not known yet too
        environment = {**kept.environment, "GATEWAY_STORE": kept.url}
        fronts = [
            Process(folder / str(index) / "data", database, environment=environment)
            for index in range(num)
        ]
        for front in fronts:
            front.data.mkdir(parents=True)
            held.callback(front.kill)
            front.start()
        for front in fronts:
            front.wait_for()
        yield House(fronts, settings)


@contextmanager
def clients(house: House, secret: str) -> Iterator[list[httpx.Client]]:
    """A client of each front, with one key."""
    headers = {"Authorization": f"Bearer {secret}"}
    with ExitStack() as held:
        yield [
            held.enter_context(httpx.Client(base_url=front.url, headers=headers, timeout=60))
            for front in house.fronts
        ]
