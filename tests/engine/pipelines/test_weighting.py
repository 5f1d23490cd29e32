"""Weighted prompts: as compel reads them, in the forwards of everyone else."""

from typing import Any

import pytest
import torch
from compel.convenience_wrappers import CompelForSD, CompelForSDXL

from gateway.catalog.cards import CardError, EndpointCard
from gateway.engine.pipelines.call import known_arguments
from gateway.engine.pipelines.pixels import first_image
from gateway.engine.pipelines.weighting import check_weighting
from gateway.job import Finished, Job
from gateway.remarks import of_syntax
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import (
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

LONG = "a long walk by the sea, with many words to say, and one more day, " * 3


def stock(family: str, wanted: Job, prompt: str) -> torch.Tensor:
    """The same through compel's own wrappers, whose syntax has the number behind."""
    pipeline: Any = tiny.build(family)
    wrapper: Any = CompelForSD if family == "sd" else CompelForSDXL
    with torch.inference_mode():
        read = wrapper(pipeline)(prompt, negative_prompt=wanted.negative_prompt or "")
        given = {"prompt_embeds": read.embeds, "negative_prompt_embeds": read.negative_embeds}
        if family == "sdxl":
            given |= {"pooled_prompt_embeds": read.pooled_embeds,
                      "negative_pooled_prompt_embeds": read.negative_pooled_embeds}
        return first_image(pipeline(
            **given, height=32, width=32, num_inference_steps=wanted.num_inference_steps,
            generator=torch.Generator().manual_seed(wanted.seeds[0]), output_type="pt",
        ))


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_weights_and_long_prompts_draw_what_compel_reads(family: str) -> None:
    asked = {"prompts": "weighted", "negative_prompt": "(blur:1.5)"}
    jobs = [
        job(family, "a (red:1.4) cat", 1, 2, **asked),
        job(family, f"{LONG}(blue:0.5)", 2, 2, **asked),
        job(family, "a cat", 3, 2, prompts="weighted", negative_prompt="dull"),
    ]
    spelt = [("a (red)1.4 cat", "(blur)1.5"), (f"{LONG}(blue)0.5", "(blur)1.5"), ("a cat", "dull")]
    bench = Workbench({family: built(family)})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    for sample, one, (prompt, negative) in zip(samples, jobs, spelt, strict=True):
        wanted = job(family, prompt, one.seeds[0], 2, negative_prompt=negative)
        assert difference(picture(sample), stock(family, wanted, prompt)) <= TOLERANCE
    plain = job(family, "a cat", 3, 2, negative_prompt="dull")
    assert difference(picture(samples[2]), alone(built(family), plain)) <= TOLERANCE
    finished = [event for event in bench.events if isinstance(event, Finished)]
    assert [event.remarks for event in finished] == [()] * 3


def test_other_encoders_than_clip_are_refused_when_it_is_loaded() -> None:
    card = EndpointCard(id="flux", prompts="weighted")
    with pytest.raises(CardError, match="wanted text encoders that are all CLIP's"):
        check_weighting(card, built("flux"), known_arguments(built("flux")))


def test_of_what_is_read_nothing_is_said() -> None:
    assert of_syntax("prompt", "a (red:1.3) cat")
    assert not of_syntax("prompt", "a (red:1.3) cat", "weighted")
