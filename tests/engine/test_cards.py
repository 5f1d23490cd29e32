"""What bundled cards say of schedulers and arguments, on tiny pipelines of their families."""

from typing import Any

import diffusers
import pytest
import transformers

from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.shipped import bundled
from gateway.engine.pipelines.modular import as_stock
from gateway.engine.pipelines.schedulers import card_scheduler
from gateway.job import StepDone
from tests.engine import blocks, tiny
from tests.engine.blocks import qwen3_vl_config
from tests.engine.workbench import (
    ARGUMENTS,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

FAMILIES = {
    "ernie-image-turbo": "ernie_image",
    "flux-schnell": "flux",
    "flux2-dev-turbo": "flux2_klein",
    "flux2-klein": "flux2_klein",
    "flux2-klein-9b": "flux2_klein",
    "flux3-klein": "flux3",
    "hyper-sd15": "sd",
    "hyper-sdxl": "sdxl",
    "krea2-turbo": "krea2",
    "lcm-sd15": "sd",
    "qwen-image-lightning": "qwen_image",
    "sana-sprint": "sana_sprint",
    "sd-turbo": "sd",
    "sd35-large-turbo": "sd3",
    "sdxl-dmd2": "sdxl",
    "sdxl-lightning": "sdxl",
    "sdxl-turbo": "sdxl",
    "tcd-sd15": "sd",
    "tcd-sdxl": "sdxl",
    "z-image-turbo": "z_image",
}
"""Of which family the tiny pipeline is that stands for each card's."""

LEVELS = {"sigmas", "timesteps"}


def krea2() -> Any:
    """Krea 2, distilled."""
    return diffusers.Krea2Pipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=tiny.qwen_image().vae, text_encoder=transformers.Qwen3VLModel(qwen3_vl_config()),
        tokenizer=tiny.tokenizer(512), text_encoder_select_layers=(1, 2), is_distilled=True,
        transformer=diffusers.Krea2Transformer2DModel(
            in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=32, timestep_embed_dim=16,
            text_hidden_dim=16, num_text_layers=2, text_num_attention_heads=2,
            text_num_key_value_heads=2, text_intermediate_size=32, num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1, axes_dims_rope=(4, 2, 2),
        ),
    )  # fmt: skip


def ernie_image() -> Any:
    """ERNIE-Image, without what enhances prompts."""
    config = transformers.MistralConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=300, pad_token_id=2,
    )  # fmt: skip
    return diffusers.ErnieImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=4.0),
        vae=tiny.flux2_klein().vae, text_encoder=transformers.MistralModel(config),
        tokenizer=tiny.tokenizer(512),
        transformer=diffusers.ErnieImageTransformer2DModel(
            hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32,
            in_channels=4, out_channels=4, text_in_dim=16, rope_axes_dim=(8, 4, 4),
        ),
    )  # fmt: skip


def build(family: str) -> Any:
    if family in blocks.ALONE:
        return as_stock(blocks.build(family))
    own = {"krea2": krea2, "ernie_image": ernie_image}
    return tiny.built(own[family]) if family in own else tiny.build(family)


def test_every_bundled_card_is_tried_or_says_that_it_is_not() -> None:
    cards = load_catalog((bundled("models"),), ()).endpoints
    untried = {id for id, card in cards.items() if "not tried" in card.description}
    assert untried == {"fibo2-edit-turbo"}
    assert cards.keys() == {"emoji", *FAMILIES, *untried}


@pytest.mark.parametrize(("id", "family"), FAMILIES.items())
def test_its_scheduler_and_arguments_are_taken(id: str, family: str) -> None:
    card = load_catalog((bundled("models"),), ()).endpoints[id]
    pipeline = build(family)
    if card.scheduler:
        pipeline.scheduler = card_scheduler(card, pipeline.scheduler)
    steps = card.steps.default
    given = ARGUMENTS.get(family, blocks.GIVEN.get(family, {})) | card.call_arguments(steps)
    jobs = [
        job(family, "a cat", seed, steps, arguments=given, guidance_scale=card.guidance.default)
        for seed in (1, 2)
    ]
    wanted = [alone(pipeline, one) for one in jobs]
    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(wanted[0], wanted[1]) > 0.01
    assert sum(isinstance(event, StepDone) for event in bench.events) == 2 * steps
    plain = job(family, "a cat", 1, steps, arguments=ARGUMENTS.get(family, {}))
    if card.arguments.keys() & LEVELS:
        assert difference(alone(pipeline, plain), wanted[0]) > 0.001
