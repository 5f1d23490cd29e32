"""Weighted prompts: as compel reads them, in the forwards of everyone else."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from compel.convenience_wrappers import CompelForSD, CompelForSDXL

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.pipelines.call import known_arguments
from gateway.engine.pipelines.pixels import first_image
from gateway.engine.pipelines.weighting import MAX_PARTS, check_weighting
from gateway.job import AdapterUse, Finished, Job
from gateway.remarks import of_syntax
from tests.engine import tiny, tiny_loras
from tests.engine.adapters.test_embeddings import cards, loaded
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


def stock(
    family: str, wanted: Job, *parts: str, pipeline: Any = None
) -> torch.Tensor:
    """The same through compel's own wrappers, whose syntax has the number behind.

    Several parts are its conjunction, whose pooled text would be the syntax itself.
    """
    pipeline = pipeline or tiny.build(family)
    wrapper: Any = CompelForSD if family == "sd" else CompelForSDXL
    quoted = ", ".join(f'"{part}"' for part in parts)
    prompt = f"({quoted}).and()" if len(parts) > 1 else parts[0]
    with torch.inference_mode():
        read, first = (
            wrapper(pipeline)(text, negative_prompt=wanted.negative_prompt or "")
            for text in (prompt, parts[0])
        )
        given = {"prompt_embeds": read.embeds, "negative_prompt_embeds": read.negative_embeds}
        if family == "sdxl":
            given |= {"pooled_prompt_embeds": first.pooled_embeds,
                      "negative_pooled_prompt_embeds": first.negative_pooled_embeds}
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


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_parts_between_breaks_are_read_each_by_itself(family: str) -> None:
    jobs = [
        job(family, text, 1, 2, prompts="weighted", negative_prompt="dull")
        for text in ("a (red:1.4) cat BREAK\nblue sky", "BREAK a cat BREAK", "a BREAKFAST")
    ]
    bench = Workbench({family: built(family)})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    wanted = [("a (red)1.4 cat", "blue sky"), ("a cat",), ("a BREAKFAST",)]
    for sample, one, parts in zip(samples, jobs, wanted, strict=True):
        assert difference(picture(sample), stock(family, one, *parts)) <= TOLERANCE
    joined = stock(family, jobs[0], "a (red)1.4 cat blue sky")
    assert difference(picture(samples[0]), joined) > 10 * TOLERANCE


def test_as_many_parts_as_would_fill_the_memory_are_refused() -> None:
    text = "a BREAK " * (MAX_PARTS + 1)
    bench = Workbench({"sd": built("sd")})
    bench.add(job("sd", text, 1, 2, prompts="weighted"))
    bench.run()
    bench.close()
    (told,) = failures(bench.events)
    assert (told.code, told.param) == ("unsupported_value", "prompt")


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_words_of_embeddings_and_adapters_of_encoders_are_weighed(
    family: str, tmp_path: Path
) -> None:
    """A word of two vectors is spelt out for compel, which is given stock's own loading of both."""
    words, ink = cards(tmp_path, family), tiny_loras.save(family, tmp_path, "ink")
    asked: Any = {"prompts": "weighted", "negative_prompt": "(bad-hands:1.2)"}
    wanted = job(family, "a (ohwx:1.4) cat BREAK ohwx", 1, 2,
                 adapters=(AdapterUse("ink", 1.0),), **asked)  # fmt: skip
    catalog = Catalog(
        {family: EndpointCard(id=family)},
        {(family, "ink"): ink},
        embeddings={(card.endpoint, card.route): card for card in words},
    )
    bench = Workbench({family: built(family)}, (ink,), catalog=catalog)
    (sample,) = bench.add(wanted)
    beside = bench.add(job(family, "a cat", 2, 2))[0]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    pipeline = loaded(family, words)
    pipeline.load_lora_weights(str(tmp_path), weight_name=ink.place.name)
    negative = msgspec.structs.replace(wanted, negative_prompt="(bad-hands)1.2")
    parts = ("a (ohwx ohwx_1)1.4 cat", "ohwx ohwx_1")
    assert difference(picture(sample), stock(family, negative, *parts, pipeline=pipeline)) <= (
        TOLERANCE
    )
    alike = job(family, "a cat", 2, 2)
    assert difference(picture(beside), alone(built(family), alike)) <= TOLERANCE


def test_other_encoders_than_clip_are_refused_when_it_is_loaded() -> None:
    card = EndpointCard(id="flux", prompts="weighted")
    with pytest.raises(CardError, match="wanted text encoders that are all CLIP's"):
        check_weighting(card, built("flux"), known_arguments(built("flux")))


def test_of_what_is_read_nothing_is_said() -> None:
    assert of_syntax("prompt", "a (red:1.3) cat")
    assert not of_syntax("prompt", "a (red:1.3) cat", "weighted")
    assert of_syntax("prompt", "a cat BREAK a dog")
    assert not of_syntax("prompt", "a cat BREAK a dog", "weighted")
    assert not of_syntax("prompt", "a BREAKFAST for CATS AND DOGS")
    for prompts in ("plain", "weighted"):  # other pictures are composed, not other texts
        (told,) = of_syntax("prompt", "a cat AND a dog", prompts)
        assert "'AND' was read as words, not as a composition" in told.message
