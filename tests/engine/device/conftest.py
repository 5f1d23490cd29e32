"""A hub on the device that a file of tests says."""

from collections.abc import Iterator

import pytest

from tests.engine.conftest import built
from tests.engine.slow import SlowDevice
from tests.engine.workbench import Workbench


@pytest.fixture
def bench(device: SlowDevice) -> Iterator[Workbench]:
    bench = Workbench({"sd": built("sd")}, timeline=device)
    device.take(bench)
    yield bench
    bench.close()
