"""Long texts are read beside the engine's turns, and come out the same."""

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from gateway.catalog.cards import EndpointCard
from gateway.engine.loading.loading import LoadedPipeline
from gateway.engine.pipelines.reading import SHORT, Reading, reader, tokenizers_of
from gateway.job import Pixels
from tests.engine.conftest import built
from tests.engine.workbench import (
    CPU,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

LONG = "caf\u00e9 \U0001f600 red apple, " * (32_000 // 20)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "qwen_image", "sana"])
def test_a_long_prompt_draws_the_same(family: str) -> None:
    wanted = job(family, LONG, 1, 2, negative_prompt=LONG[::-1] if family == "sd" else None)
    expected = alone(built(family), wanted)
    bench = Workbench({family: built(family)})
    [sample] = bench.add(wanted)
    bench.run()
    bench.close()
    assert difference(picture(sample), expected) <= TOLERANCE


class Slow:
    """A tokenizer's call that waits until it is let go, and where it was made."""

    def __init__(self, tokenizer: Any) -> None:
        self.go = threading.Event()
        self.threads: list[str] = []
        inner = tokenizer._encode_plus

        def encode(*args: Any, **kwargs: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            if threading.current_thread().name == "reader":
                assert self.go.wait(20)
            return inner(*args, **kwargs)

        tokenizer._encode_plus = encode
        self.tokenizer = tokenizer


@pytest.fixture
def slow() -> Any:
    [tokenizer] = tokenizers_of(built("sd").components)
    slow = Slow(tokenizer)
    yield slow
    slow.go.set()
    del slow.tokenizer._encode_plus


def test_others_go_on_meanwhile(slow: Slow) -> None:
    bench = Workbench({"sd": built("sd"), "sdxl": built("sdxl")})
    [reading] = bench.add(job("sd", LONG, 1, 1))
    [other] = bench.add(job("sdxl", "short", 2, 2))
    bench.until(lambda: other.is_done)
    assert not reading.is_done
    assert set(slow.threads) == {"reader"}
    slow.go.set()
    bench.run()
    bench.close()
    assert picture(reading).shape[0] == 3


def test_a_short_prompt_is_read_at_once_where_the_tokenizer_is_free(slow: Slow) -> None:
    bench = Workbench({"sd": built("sd")})
    bench.add(job("sd", "a" * (SHORT // 2), 1, 1))
    bench.run()
    bench.close()
    assert set(slow.threads) == {"MainThread"}


def test_one_that_waits_for_its_text_can_be_cancelled(slow: Slow) -> None:
    bench = Workbench({"sd": built("sd")})
    [sample] = bench.add(job("sd", LONG, 1, 1))
    bench.turn()
    sample.is_cancelled = True
    bench.turn()
    assert [fault.code for fault in failures(bench.events)] == ["cancelled"]
    slow.go.set()
    bench.hub.take_commands(block=True)
    bench.close()
    assert len(bench.events) == 1


def test_what_a_tokenizer_raises_is_the_samples_own_fault() -> None:
    [tokenizer] = tokenizers_of(built("sd").components)
    tokenizer._encode_plus = _raising
    bench = Workbench({"sd": built("sd")})
    bench.add(job("sd", LONG, 1, 1))
    bench.run()
    bench.close()
    del tokenizer._encode_plus
    assert [fault.code for fault in failures(bench.events)] == ["generation_failed"]


def _raising(*_args: Any, **_kwargs: Any) -> torch.Tensor:
    raise ValueError("unreadable")


def test_large_pictures_are_made_ready_beside_the_turns() -> None:
    """And come out the same; the engine's thread only hears of the end."""
    side = 640
    drawn = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    pictures = (Pixels(side, side, 3, drawn.tobytes()),)
    wanted = job("sd", "x", 1, 2, images=pictures, strength=0.6)
    variant = LoadedPipeline(EndpointCard(id="sd"), built("sd"), CPU)
    expected = alone(variant.pipeline_for(wanted), wanted)
    variant.close()
    bench = Workbench({"sd": built("sd"), "sdxl": built("sdxl")})
    gate = threading.Event()
    reader().add(Reading(0, gate.wait, nullcontext()), lambda *_: None)
    [edited] = bench.add(wanted)
    [other] = bench.add(job("sdxl", "short", 2, 2))
    bench.until(lambda: other.is_done)
    assert edited.parked is None
    assert not edited.is_done
    gate.set()
    bench.run()
    bench.close()
    assert difference(picture(edited), expected) <= TOLERANCE
