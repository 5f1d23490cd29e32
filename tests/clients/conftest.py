"""One gateway for all clients: tiny random weights, a key, an alias and an adapter."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server, new_key, serving

CARDS = {
    "tiny": {"steps": {"min": 1, "max": 10, "default": 2}, "native": [64, 64]},
    "slow": {"steps": {"min": 1, "max": 2000, "default": 2}, "native": [128, 128]},
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The arguments that serve two tiny pipelines, one of them with an adapter."""
    from tests.engine import tiny, tiny_loras  # noqa: PLC0415  torch takes seconds

    folder = tmp_path_factory.mktemp("catalogue")
    for id, card in CARDS.items():
        sizes = {"native": card["native"], "min": 16, "max": 256, "multiple_of": 16}
        tiny.save("sdxl", folder / "models", id=id, steps=card["steps"], sizes=sizes)
    tiny_loras.save("sdxl", folder / "adapters" / "tiny", "ink", text=False)
    return (
        *CARDS,
        *("--models", str(folder / "models"), "--adapters", str(folder / "adapters")),
        *("--aliases", "dall-e-2=tiny,dall-e-3=tiny:ink"),
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: tuple[str, ...]) -> Iterator[Server]:
    """A running gateway that asks for a key."""
    data: Path = tmp_path_factory.mktemp("data")
    with serving(data, *models, key=new_key(data)) as running:
        yield running
