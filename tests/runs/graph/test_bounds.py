"""Small graphs that mean much are refused where it comes about, and soon."""

import time
from typing import Any

import pytest

from gateway.errors import MESSAGE_CHARACTERS
from gateway.runs.graph.bounds import MAX_CHANGES, Bounds
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.refusal import MAX_FAULTS, GraphRefused
from tests.resilience import corpus
from tests.runs.graph import examples
from tests.runs.graph.compiling import compiled, faults
from tests.runs.graph.examples import node

MODEL = "v1-5-pruned-emaonly.safetensors"
LONG = "a" * 32_001
TOO_MUCH = "value_bigger_than_max"


def test_what_means_too_much_is_refused_at_once() -> None:
    for name, graph in corpus.graphs(MODEL):
        began = time.process_time()
        with pytest.raises(GraphRefused) as raised:
            compiled(graph)
        refused = raised.value
        assert len(refused.message) <= MESSAGE_CHARACTERS, name
        assert len(refused.node_errors) <= MAX_FAULTS, name
        assert len(repr(refused.node_errors)) < 300_000, name
        assert time.process_time() - began < 1, name


def test_a_text_is_bounded_where_it_grows() -> None:
    graph = corpus.doubled_strings(MODEL)
    assert faults(graph) == {"s15": {(TOO_MUCH, "string_b")}}


@pytest.mark.parametrize(
    ("id", "name"), [("6", "text"), ("9", "filename_prefix"), ("4", "ckpt_name")]
)
def test_every_text_is_bounded(id: str, name: str) -> None:
    graph = examples.text_to_image()
    graph[id]["inputs"][name] = LONG
    assert (TOO_MUCH, name) in faults(graph)[id]


def test_the_longest_prompt_compiles() -> None:
    graph = examples.text_to_image()
    graph["6"]["inputs"]["text"] = "a" * 32_000
    assert len(compiled(graph).drafts[0].prompt) == 32_000


def test_the_bound_of_texts_is_a_setting() -> None:
    graph = examples.text_to_image()
    graph["6"]["inputs"]["text"] = "a" * 11
    with pytest.raises(GraphRefused):
        compile_graph(graph, examples.catalog(), Bounds(text_characters=10))


def test_texts_in_lists_are_bounded_too() -> None:
    graph = examples.text_to_image()
    images = {"__value__": ["a.png", LONG]}
    graph["20"] = node("ComfyUIDeployExternalImageBatch", images=images)
    graph["9"]["inputs"]["images"] = ["20", 0]
    assert faults(graph) == {"20": {(TOO_MUCH, "images")}}


def test_joined_prompts_are_bounded() -> None:
    graph = examples.text_to_image()
    graph["6"]["inputs"]["text"] = "a" * 20_000
    graph["20"] = node("CLIPTextEncode", text="b" * 20_000, clip=["4", 1])
    graph["21"] = node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["20", 0])
    graph["3"]["inputs"]["positive"] = ["21", 0]
    assert faults(graph) == {"21": {(TOO_MUCH, "conditioning_2")}}


def test_changes_are_counted_over_all_pictures_of_a_batch() -> None:
    graph = examples.text_to_image()
    graph["5"]["inputs"]["batch_size"] = 64
    last: Any = ["8", 0]
    for index in range(MAX_CHANGES // 64 + 1):
        graph[f"i{index}"] = node("ImageInvert", image=last)
        last = [f"i{index}", 0]
    graph["9"]["inputs"]["images"] = last
    assert faults(graph) == {f"i{MAX_CHANGES // 64}": {(TOO_MUCH, "image")}}


def test_changes_are_counted_over_all_outputs() -> None:
    graph = examples.text_to_image()
    last: Any = ["8", 0]
    for index in range(200):
        graph[f"i{index}"] = node("ImageInvert", image=last)
        last = [f"i{index}", 0]
    for index in range(6):
        graph[f"o{index}"] = node("SaveImage", images=last, filename_prefix="p")
    assert faults(graph) == {"o5": {(TOO_MUCH, "images")}}


@pytest.mark.parametrize(
    ("class_type", "inputs", "name"),
    [
        ("ImageScale", {"width": 16_384, "height": 16_384, "crop": "disabled"}, "width"),
        ("ImageScaleBy", {"scale_by": 8}, "scale_by"),
    ],
)
def test_no_picture_is_scaled_beyond_measure(
    class_type: str, inputs: dict[str, Any], name: str
) -> None:
    graph = examples.text_to_image()
    graph["5"]["inputs"] |= {"width": 1024, "height": 1024}
    scaled = node(class_type, image=["8", 0], upscale_method="area", **inputs)
    graph["20"] = scaled
    graph["9"]["inputs"]["images"] = ["20", 0]
    assert faults(graph) == {"20": {(TOO_MUCH, name)}}


def test_a_picture_of_unknown_size_is_bounded_by_the_size_asked_for() -> None:
    graph = examples.text_to_image()
    size = {"width": 16_384, "height": 16_384, "crop": "disabled"}
    graph["20"] = node("LoadImage", image="a.png")
    graph["21"] = node("ImageScale", image=["20", 0], upscale_method="area", **size)
    graph["9"]["inputs"]["images"] = ["21", 0]
    assert faults(graph) == {"21": {(TOO_MUCH, "width")}}


def test_pictures_are_counted_over_all_samplers() -> None:
    graph = examples.text_to_image()
    graph["5"]["inputs"]["batch_size"] = 64
    for index in range(4):
        graph[f"k{index}"] = node("KSampler", **graph["3"]["inputs"])
        graph[f"v{index}"] = node("VAEDecode", samples=[f"k{index}", 0], vae=["4", 2])
        graph[f"o{index}"] = node("PreviewImage", images=[f"v{index}", 0])
    assert len(faults(graph)) == 1


def test_bytes_of_pictures_are_counted_over_all_samplers() -> None:
    graph = examples.text_to_image()
    graph["5"]["inputs"] |= {"width": 1024, "height": 1024, "batch_size": 4}
    with pytest.raises(GraphRefused) as raised:
        compile_graph(graph, examples.catalog(), Bounds(picture_bytes=10 * 2**20))
    assert "bytes of a run's pictures" in raised.value.message
