"""Prompts that are joined."""

import pytest

from tests.runs.graph import examples
from tests.runs.graph.compiling import compiled, faults, only
from tests.runs.graph.examples import Graph, node


def joined(kind: str, first: str, second: str) -> Graph:
    graph = examples.text_to_image(positive=["20", 0])
    side = "conditioning_to", "conditioning_from"
    names = side if kind == "ConditioningConcat" else ("conditioning_1", "conditioning_2")
    graph["20"] = node(kind, **dict(zip(names, (["6", 0], ["21", 0]), strict=True)))
    graph["6"]["inputs"]["text"] = first
    graph["21"] = node("CLIPTextEncode", text=second, clip=["4", 1])
    return graph


@pytest.mark.parametrize("kind", ["ConditioningCombine", "ConditioningConcat"])
def test_joined_prompts_are_one_prompt_and_it_is_said(kind: str) -> None:
    plan = compiled(joined(kind, "a lighthouse", "in fog"))
    assert plan.drafts[0].prompt == "a lighthouse, in fog"
    told = [note.message for note in plan.notes]
    assert told == [f"{kind} (20): its prompts are joined by a comma into one"]
    assert compiled(joined(kind, "a lighthouse", "")).notes == ()
    assert only(joined(kind, "", "in fog")).prompt == "in fog"


def test_prompts_that_differ_in_more_than_words_are_not_joined() -> None:
    graph = joined("ConditioningCombine", "a lighthouse", "in fog")
    graph["22"] = node("FluxGuidance", conditioning=["21", 0], guidance=3)
    graph["20"]["inputs"]["conditioning_2"] = ["22", 0]
    assert faults(graph) == {"20": {("value_not_in_list", "conditioning_2")}}


def test_three_prompts_of_sd3() -> None:
    graph = examples.text_to_image()
    graph["6"] = node(
        "CLIPTextEncodeSD3",
        clip=["4", 1],
        clip_l="a fox",
        clip_g="in snow",
        t5xxl="a fox that stands in snow",
        empty_padding="none",
    )
    draft = only(graph)
    assert draft.prompt == "a fox"
    assert draft.arguments == {"prompt_2": "in snow", "prompt_3": "a fox that stands in snow"}
