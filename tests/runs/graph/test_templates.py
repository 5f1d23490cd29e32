"""Nodes that ComfyUI's own templates are made of, and what each comes to in a job."""

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gateway.images import outline
from gateway.images.outline import outlined
from gateway.runs.drawing.pictures import changed
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.plain import plain
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.graph.values import Edges, Loaded, Resize
from tests.runs.graph.drawing import Drawing
from tests.runs.graph.examples import Graph, catalog, image_to_image, node, text_to_image


def drafts(graph: Graph) -> Any:
    return compile_graph(plain(graph), catalog()).drafts


def refused(graph: Graph, id: str) -> Any:
    """Why a node is refused."""
    with pytest.raises(GraphRefused) as found:
        drafts(graph)
    return found.value.node_errors[id]["errors"][0]


def switching(setting: Any, **sides: Any) -> Graph:
    """A graph whose steps are chosen, and whose other side no gateway could execute."""
    graph = text_to_image(steps=["30", 0])
    graph["30"] = node("ComfySwitchNode", switch=setting, on_false=3, on_true=["31", 0], **sides)
    graph["31"] = node("ComfySwitchNode", switch=["32", 0], on_false=["33", 0], on_true=5)
    graph["32"] = node("PrimitiveBoolean", value=True)
    graph["33"] = node("TextGenerate", clip=["4", 1])
    return graph


@pytest.mark.parametrize(("setting", "steps"), [(False, 3), (["32", 0], 5), ("true", 5)])
def test_one_side_of_a_switch_is_all_there_is(setting: Any, steps: int) -> None:
    (draft,) = drafts(switching(setting))
    assert draft.num_inference_steps == steps


def test_switches_that_cannot_be_told_are_refused() -> None:
    graph = switching(["6", 0])
    with pytest.raises(GraphRefused) as found:
        drafts(graph)
    assert set(found.value.node_errors) == {"30"}
    round_and_round = text_to_image(steps=["30", 0])
    round_and_round["30"] = node("ComfySwitchNode", switch=True, on_true=["31", 0])
    round_and_round["31"] = node("ComfySwitchNode", switch=True, on_true=["30", 0])
    with pytest.raises(GraphRefused, match="circle"):
        drafts(round_and_round)


def test_every_switch_is_followed_once_however_many_hang_on_it() -> None:
    graph = text_to_image()
    for number in range(1800):
        graph[f"s{number}"] = node("ComfySwitchNode", switch=True, on_true=[f"s{number + 1}", 0])
    graph["s1800"] = node("PrimitiveInt", value=3)
    crowd = {f"x{number}": ["s0", 0] for number in range(6000)}
    graph["3"]["inputs"] |= crowd | {"steps": ["s0", 0]}
    began = time.thread_time()
    (draft,) = drafts(graph)
    assert time.thread_time() - began < 5, "it takes a fiftieth of that"
    assert draft.num_inference_steps == 3


def test_emptiness_may_be_as_large_as_a_picture_that_is_still_to_come() -> None:
    graph = image_to_image()
    graph["3"]["inputs"] |= {"latent_image": ["5", 0], "denoise": 1}
    graph["20"] = node("GetImageSize", image=["10", 0])
    graph["5"] = node("EmptyLatentImage", width=["20", 0], height=["20", 1], batch_size=2)
    (draft,) = drafts(graph)
    assert (draft.picture, draft.strength, len(draft.seeds)) == (None, None, 2)
    assert draft.canvas.origin == Loaded("example.png")
    graph["3"]["inputs"]["denoise"] = 0.5
    assert refused(graph, "3")["extra_info"]["input_name"] == "denoise"
    graph["3"]["inputs"]["denoise"] = 1
    graph["5"]["inputs"]["height"] = 512
    assert refused(graph, "5")["extra_info"]["input_name"] == "width"
    graph["5"]["inputs"] |= {"width": 512, "batch_size": ["20", 0]}
    assert "not there yet" in refused(graph, "5")["details"]


def test_a_picture_that_is_drawn_has_a_size() -> None:
    graph = text_to_image()
    graph["20"] = node("GetImageSize", image=["8", 0])
    graph["21"] = node("EmptyLatentImage", width=["20", 0], height=["20", 1], batch_size=1)
    graph["22"] = node("KSampler", **(graph["3"]["inputs"] | {"latent_image": ["21", 0]}))
    graph["8"]["inputs"]["samples"] = ["3", 0]
    graph["23"] = node("VAEDecode", samples=["22", 0], vae=["4", 2])
    graph["9"]["inputs"]["images"] = ["23", 0]
    assert [(draft.width, draft.height) for draft in drafts(graph)] == [(512, 512)] * 2


def test_sizes_are_chosen_and_calculated() -> None:
    graph = text_to_image()
    graph["20"] = node(
        "ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=0.25, multiple=16
    )
    graph["21"] = node(
        "ComfyMathExpression", expression="floor(a/32)*32", **{"values.a": ["20", 0]}
    )
    graph["5"]["inputs"] |= {"width": ["21", 1], "height": ["20", 1]}
    (draft,) = drafts(graph)
    assert (draft.width, draft.height) == (672, 384)
    for expression in ("a**9", "__import__('os')", "a/0", "(" * 400, "x", "1" * 900, "a.real"):
        graph["21"]["inputs"]["expression"] = expression
        assert refused(graph, "21")["extra_info"]["input_name"] == "expression"


def test_nodes_for_which_a_pipeline_has_nothing_say_so_and_hand_on() -> None:
    graph = text_to_image(model=["20", 0])
    graph["20"] = node("CFGNorm", model=["21", 0], strength=1)
    graph["21"] = node("DifferentialDiffusion", model=["4", 0])
    graph["22"] = node("T5TokenizerOptions", clip=["4", 1], min_padding=0, min_length=0)
    graph["6"]["inputs"]["clip"] = ["22", 0]
    plan = compile_graph(graph, catalog())
    assert plan.drafts == drafts(text_to_image())
    told = {note.param for note in plan.notes}
    assert {"20", "21", "22"} <= told


def test_pictures_are_resized_by_a_rule() -> None:
    graph = image_to_image()
    graph["12"]["inputs"]["pixels"] = ["20", 0]
    for rule, more, change in (
        ("scale total pixels", {"megapixels": 0.5}, Resize(method="area", megapixels=0.5)),
        ("scale longer dimension", {"longer_size": 100}, Resize(method="area", longer=100)),
        ("scale by multiplier", {"multiplier": 2}, Resize(method="area", factor=2)),
        ("scale width", {"width": 64}, Resize(method="area", width=64)),
    ):
        told = {f"resize_type.{name}": value for name, value in more.items()}
        given = {"input": ["10", 0], "resize_type": rule, "scale_method": "area"}
        graph["20"] = node("ResizeImageMaskNode", **(given | told))
        assert drafts(graph)[0].picture.changes == (change,)
        sheet = Drawing()
        sheet.node(20, "ResizeImageMaskNode", rule, *more.values(), "area")
        found = plain(sheet.saved())["20"]["inputs"]
        assert found.items() >= {**told, "scale_method": "area"}.items()
    longest = Resize(method="area", longer=100).target(400, 200)
    assert (longest, Resize(method="area", shorter=50).target(400, 200)) == ((100, 50), (100, 50))


def test_inpainting_conditioning_is_a_masked_picture() -> None:
    graph = image_to_image()
    graph["20"] = node(
        "InpaintModelConditioning", positive=["6", 0], negative=["7", 0], vae=["4", 2],
        pixels=["10", 0], mask=["21", 0], noise_mask=True,
    )  # fmt: skip
    graph["21"] = node("GrowMask", mask=["10", 1], expand=4, tapered_corners=True)
    graph["3"]["inputs"] |= {
        "positive": ["20", 0], "negative": ["20", 1], "latent_image": ["20", 2], "denoise": 1,
    }  # fmt: skip
    (draft,) = drafts(graph)
    assert (draft.mask.grow, draft.strength) == (4, 1.0)
    graph["21"]["inputs"]["expand"] = 100_000
    assert refused(graph, "21")["extra_info"]["input_name"] == "expand"


def test_pictures_are_batched_and_saved_in_a_format() -> None:
    graph = image_to_image()
    graph["12"]["inputs"]["pixels"] = ["20", 0]
    both = {"images.image0": ["10", 0], "images.image1": ["10", 0]}
    graph["20"] = node("BatchImagesNode", **both)
    graph["9"] = node("SaveImageAdvanced", images=["8", 0], filename_prefix="x", format="webp")
    graph["40"] = node("ImageCompare", image_a=["8", 0], image_b=["10", 0])
    plan = compile_graph(plain(graph), catalog())
    assert (len(plan.drafts[0].seeds), plan.outputs[0].file_type) == (2, "webp")


def test_samplers_that_diffusers_lacks_have_stand_ins() -> None:
    for sampler in ("er_sde", "res_multistep_ancestral", "heunpp2", "gradient_estimation"):
        plan = compile_graph(text_to_image(sampler_name=sampler), catalog())
        assert any(note.code == "scheduler_replaced" for note in plan.notes), sampler


def test_edges_are_thin_lines_where_brightness_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (64, 64), "black")
    ImageDraw.Draw(picture).rectangle((16, 16, 47, 47), fill="white")
    found = np.asarray(changed(picture, Edges(0.1, 0.2)))[..., 0] > 0
    assert found[32].nonzero()[0].tolist() in ([15, 47], [16, 48], [16, 47], [15, 48])
    assert found[:, 32].sum() == 2
    assert not found[:12].any()
    faint = Image.new("RGB", (64, 64), (0, 0, 0))
    ImageDraw.Draw(faint).rectangle((16, 16, 47, 47), fill=(30, 30, 30))
    assert not np.asarray(outlined(faint, 0.1, 0.2)).any()
    monkeypatch.setattr(outline, "MAX_PIXELS", 1000)
    large = outlined(picture, 0.1, 0.2)
    assert large.size == (64, 64)
    assert np.asarray(large).any()
    ramp = picture.copy()
    ImageDraw.Draw(ramp).rectangle((48, 30, 63, 33), fill=(40, 40, 40))
    lone, joined = (np.asarray(outlined(ramp, low, 0.3))[..., 0] for low in (0.29, 0.05))
    assert (joined > 0).sum() > (lone > 0).sum()
