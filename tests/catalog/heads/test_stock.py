"""What diffusers' own text says of pipelines, held against the pipelines themselves."""

import inspect

import diffusers
import pytest

from gateway.catalog.heads.stock import stock_of

MAKES = {
    "WanPipeline": "videos", "LTXPipeline": "videos", "LTX2Pipeline": "videos",
    "HunyuanVideoPipeline": "videos", "CogVideoXImageToVideoPipeline": "videos",
    "StableVideoDiffusionPipeline": "videos", "AnimateDiffSDXLPipeline": "videos",
    "Wan22Blocks": "videos", "LTXBlocks": "videos", "AudioLDM2Pipeline": "sounds",
    "StableDiffusionPipeline": None, "QwenImagePipeline": None, "Krea2AutoBlocks": None,
    "Kandinsky5T2IPipeline": None, "Cosmos2TextToImagePipeline": None,
    "StableDiffusionLDM3DPipeline": None, "NoPipeline": None,
}  # fmt: skip


@pytest.mark.parametrize("name", MAKES)
def test_what_a_pipeline_makes_is_told_by_what_it_gives_back(name: str) -> None:
    assert stock_of(name).makes == MAKES[name]


def test_defaults_are_those_of_the_call() -> None:
    for kind in (diffusers.StableDiffusionPipeline, diffusers.FluxPipeline):
        stock, told = stock_of(kind.__name__), inspect.signature(kind.__call__).parameters
        assert stock.num_inference_steps == told["num_inference_steps"].default
        assert stock.guidance_scale == told["guidance_scale"].default
