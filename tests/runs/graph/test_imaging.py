"""Pictures and latents that are scaled, gathered and drawn over once more."""

from typing import Any

import pytest

from gateway.runs.graph.values import Gathered, Loaded, Mask, Picture, Rendered
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
    assert "rather than their latents" in plan.notes[0].message
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


@pytest.mark.parametrize("kind", ["RepeatLatentBatch", "ImageBatch"])
def test_chains_cannot_make_endless_batches(kind: str) -> None:
    graph = examples.image_to_image()
    source = ["12", 0] if kind == "RepeatLatentBatch" else ["10", 0]
    for index in range(100, 140):
        given = (
            {"samples": source, "amount": 64}
            if kind == "RepeatLatentBatch"
            else {"image1": source, "image2": source}
        )
        graph[str(index)] = node(kind, **given)
        source = [str(index), 0]
    if kind == "RepeatLatentBatch":
        graph["3"]["inputs"]["latent_image"] = source
    else:
        graph["12"]["inputs"]["pixels"] = source
    at_fault = {"101"} if kind == "RepeatLatentBatch" else {"106"}
    assert set(faults(graph)) == at_fault


def test_a_batch_of_thousands_is_refused() -> None:
    graph = examples.text_to_image()
    graph["5"]["inputs"]["batch_size"] = 4096
    assert faults(graph) == {"5": {("value_bigger_than_max", "batch_size")}}


def edit_by_reference(name: str) -> Graph:
    """The graph of an edit, which encodes a picture and refers to it."""
    graph = examples.flux()
    graph["12"]["inputs"]["unet_name"] = name
    graph["40"] = node("LoadImage", image="room.png")
    graph["41"] = node("FluxKontextImageScale", image=["40", 0])
    graph["42"] = node("VAEEncode", pixels=["41", 0], vae=["10", 0])
    graph["43"] = node("LoadImage", image="chair.png")
    graph["44"] = node("VAEEncode", pixels=["43", 0], vae=["10", 0])
    graph["45"] = node("ReferenceLatent", conditioning=["6", 0], latent=["42", 0])
    graph["46"] = node("ReferenceLatent", conditioning=["45", 0], latent=["44", 0])
    graph["26"]["inputs"]["conditioning"] = ["46", 0]
    graph["13"]["inputs"]["latent_image"] = ["42", 0]
    return graph


def test_references_go_to_the_edit_pipeline() -> None:
    draft = only(edit_by_reference("flux1-dev-kontext_fp8_scaled.safetensors"))
    assert draft.picture is not None
    assert draft.picture.origin == Loaded("room.png")
    assert draft.references == (Picture(Loaded("chair.png")),)
    assert (draft.canvas, draft.strength) == (draft.picture, None)
    assert draft.seeds == (219670278747233,)


def test_references_need_an_edit_pipeline() -> None:
    graph = edit_by_reference("flux1-schnell.safetensors")
    assert set(faults(graph)) == {"13"}


def test_a_prompt_with_pictures_refers_to_them() -> None:
    graph = examples.flux()
    graph["12"]["inputs"]["unet_name"] = "kontext"
    graph["40"] = node("LoadImage", image="room.png")
    graph["6"] = node(
        "TextEncodeQwenImageEditPlus", clip=["11", 0], prompt="paint it", image1=["40", 0]
    )
    draft = only(graph)
    assert (draft.prompt, draft.picture) == ("paint it", Picture(Loaded("room.png")))
    assert (draft.width, draft.height) == (1024, 768)


def test_tiles_are_the_pipelines_own_affair() -> None:
    graph = examples.image_to_image()
    graph["12"]["class_type"], graph["8"]["class_type"] = "VAEEncodeTiled", "VAEDecodeTiled"
    graph["8"]["inputs"] |= {"tile_size": 512, "overlap": 64}
    assert only(graph) == only(examples.image_to_image())


def test_outpainting_repaints_what_is_padded() -> None:
    graph = examples.inpaint()
    graph["20"] = node(
        "ImagePadForOutpaint", image=["10", 0], left=0, top=0, right=64, bottom=0, feathering=8
    )
    graph["12"]["inputs"] |= {"pixels": ["20", 0], "mask": ["20", 1]}
    draft = only(graph)
    assert draft.picture is not None
    assert draft.mask == Mask(draft.picture, "alpha", 6)


def test_a_part_of_a_drawn_picture_has_a_known_size() -> None:
    graph = hires(scale_by=1)
    graph["22"] = node("VAEDecode", samples=["3", 0], vae=["4", 2])
    graph["23"] = node("ImageCrop", image=["22", 0], x=384, y=0, width=256, height=256)
    graph["20"] = node("VAEEncode", pixels=["23", 0], vae=["4", 2])
    assert faults(graph) == {"20": {("value_smaller_than_min", "width")}}
    graph["23"]["inputs"]["x"] = 256
    second = compiled(graph).drafts[1]
    assert second.picture is not None
    assert second.picture.size == (256, 256)


def test_flux_2_and_joined_texts() -> None:
    graph = examples.flux()
    graph["5"] = node("EmptyFlux2LatentImage", width=1024, height=768, batch_size=1)
    graph["17"] = node("Flux2Scheduler", steps=4, width=1024, height=768)
    graph["40"] = node("StringConcatenate", string_a="a lake", string_b="at dawn", delimiter=", ")
    graph["6"]["inputs"]["text"] = ["40", 0]
    draft = only(graph)
    assert (draft.prompt, draft.num_inference_steps, draft.scheduler) == (
        "a lake, at dawn",
        4,
        None,
    )


def test_a_sampler_that_diffusers_lacks_is_stood_in_for_and_it_is_said() -> None:
    plan = compiled(examples.text_to_image(sampler_name="res_multistep"))
    assert plan.drafts[0].scheduler == "DPMSolverMultistepScheduler"
    told = [note.message for note in plan.notes]
    assert told == ["KSampler (3): dpmpp_2m stands in for res_multistep"]
