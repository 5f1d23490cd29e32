"""Tiny pipelines, built once a session each."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.engine import tiny

built = functools.cache(tiny.build)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pipeline(request: pytest.FixtureRequest) -> Any:
    """The tiny pipeline of the family named by the parameter."""
    return built(request.param)
