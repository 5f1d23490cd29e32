"""What is told to those who wait for weights."""

from gateway.engine.protocol import EngineStatus, LoadedEndpoint
from gateway.fetching.progress import followed
from gateway.job import AdapterUse, Job
from gateway.web.door.preparing import preparing
from tests.small_engine import TestEngine


class Loaded(TestEngine):
    """Says that it has loaded what it is told to say."""

    def __init__(self, *loaded: LoadedEndpoint) -> None:
        super().__init__()
        self.loaded = loaded

    def status(self) -> EngineStatus:
        return EngineStatus(ready=True, num_running=0, num_waiting=0, loaded=self.loaded)


def job(*routes: str) -> Job:
    uses = tuple(AdapterUse(route) for route in routes)
    return Job(
        id="1", endpoint="tiny", prompt="a cat", seeds=(1,), width=64, height=64,
        num_inference_steps=1, adapters=uses,
    )  # fmt: skip


def loaded(*routes: str) -> LoadedEndpoint:
    return LoadedEndpoint(id="tiny", pipeline="P", device="cpu", size_bytes=1, adapters=routes)


def test_what_is_in_memory_is_not_waited_for() -> None:
    assert preparing(Loaded(loaded("ink")), job("ink")) is None
    assert preparing(Loaded(loaded("ink")), job("ink", "oil")) == "loading tiny:oil"
    assert preparing(Loaded(), job("ink")) == "loading tiny"


def test_a_download_says_how_far_it_is() -> None:
    with followed("tiny", 2, 2**20, lambda _: None) as fetch:
        fetch.at("unet", 2**19)
        assert preparing(Loaded(), job()) == "downloading tiny, 512 KiB of 1 MiB"
        assert preparing(Loaded(loaded()), job()) is None
    assert preparing(Loaded(), job()) == "loading tiny"
