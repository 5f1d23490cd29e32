"""Pictures and latents that are scaled, gathered and drawn over once more."""

from typing import Any

import pytest

from gateway.runs.graph.values import Gathered, Loaded, Picture, Rendered
from tests.runs.graph import examples
from tests.runs.graph.compiling import compiled, faults, only
from tests.runs.graph.examples import Graph, node


def hires(**upscale: Any) -> Graph:
    """The graph of a first pass whose latent is scaled and drawn over once more."""
    kind = "LatentUpscaleBy" if "scale_by" in upscale else "LatentUpscale"
    graph = examples.text_to_image()
    graph["20"] = node(kind, samples=["3", 0], **({"upscale_method": "bislerp"} | upscale))
    again = {"latent_image": ["20", 0], "denoise": 0.5, "steps": 14, "seed": 5}
    graph["21"] = node("KSampler", **graph["3"]["inputs"] | again)
    graph["8"]["inputs"]["samples"] = ["21", 0]
    return graph


@pytest.mark.parametrize(
    ("upscale", "size"),
    [
        ({"scale_by": 1.5}, (768, 768)),
        ({"width": 1152, "height": 768, "crop": "center"}, (1152, 768)),
        ({"width": 0, "height": 768, "crop": "disabled"}, (768, 768)),
    ],
)
def test_a_scaled_latent_is_redrawn_at_its_new_size(
    upscale: dict[str, Any], size: tuple[int, int]
) -> None:
    plan = compiled(hires(**upscale))
    first, second = plan.drafts
    assert (first.width, first.height, first.strength) == (512, 512, None)
    assert second.picture is not None
    assert (second.picture.origin, second.picture.size) == (Rendered(0), size)
    assert (second.strength, second.num_inference_steps, second.seeds) == (0.5, 14, (5,))
    assert (second.prompt, second.negative_prompt) == (first.prompt, first.negative_prompt)
    assert "rather than their latents" in plan.notes[0]
    (output,) = plan.outputs
    assert output.picture.origin == Rendered(1)


def test_scaled_beyond_the_card_is_a_fault_of_the_node_that_scales() -> None:
    assert faults(hires(scale_by=5)) == {"20": {("value_bigger_than_max", "width")}}


def test_a_scaled_empty_latent_is_an_empty_latent() -> None:
    graph = examples.text_to_image(latent_image=["20", 0])
    graph["20"] = node("LatentUpscaleBy", samples=["5", 0], upscale_method="area", scale_by=1.3)
    draft = only(graph)
    assert (draft.width, draft.height, draft.picture) == (664, 664, None)


def test_pictures_of_a_batch_have_a_seed_each() -> None:
    graph = examples.image_to_image()
    graph["11"] = node("LoadImage", image="other.png")
    graph["13"] = node("ImageBatch", image1=["10", 0], image2=["11", 0])
    graph["12"]["inputs"]["pixels"] = ["13", 0]
    draft = only(graph)
    assert draft.seeds == (156680208700286, 156680208700287)
    loaded = (Picture(Loaded("example.png")), Picture(Loaded("other.png")))
    assert draft.picture == Picture(Gathered(loaded), num_images=2)
