"""What the editor saves, turned into what ComfyUI's server would be sent."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runs.graph.bounds import MAX_NODES
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.plain import plain
from gateway.runs.graph.refusal import GraphRefused
from tests.runs.graph import examples
from tests.runs.graph.drawing import Drawing, drawn
from tests.runs.graph.examples import Graph, catalog, text_to_image

DRAWN = {
    "text": text_to_image(),
    "picture": examples.image_to_image(),
    "inpaint": examples.inpaint(),
    "lcm": examples.lora_with_lcm(),
}


def meant(graph: Graph) -> Any:
    """What a graph draws, whatever it is written as."""
    return compile_graph(plain(graph), catalog()).drafts


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_means_what_its_graph_means(name: str) -> None:
    assert meant(drawn(DRAWN[name]).saved()) == meant(DRAWN[name])


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda graph: {"prompt": graph},
        lambda graph: {"prompt": json.dumps(graph)},
        lambda graph: {"output": graph, "workflow": {"nodes": [], "links": []}},
        lambda graph: {"workflow": drawn(graph).saved()},
        lambda graph: {"prompt": {"prompt": graph}, "client_id": "c"},
        lambda graph: {**graph, "77": {"class_type": "Note", "inputs": {"text": "look"}}},
    ],
)
def test_a_graph_is_taken_out_of_what_it_comes_in(wrapped: Any) -> None:
    assert meant(wrapped(text_to_image())) == meant(text_to_image())


def test_a_node_may_be_called_as_a_wrapper_is() -> None:
    graph = text_to_image()
    graph["prompt"] = graph.pop("6")
    graph["3"]["inputs"]["positive"] = ["prompt", 0]
    assert meant(graph) == meant(text_to_image())


def test_reroutes_and_primitives_are_followed() -> None:
    sheet = drawn(text_to_image())
    sampler = next(node for node in sheet.nodes if node["id"] == 3)
    model = next(entry for entry in sampler["inputs"] if entry["name"] == "model")
    for id in (50, 51):
        route = sheet.node(id, "Reroute")
        sheet.link(4 if id == 50 else 50, 0, route, "", "*")
    sheet.links[model["link"] - 1][1] = 51
    sheet.node(52, "PrimitiveNode", 5, "fixed")
    sheet.link(52, 0, sampler, "steps", "INT")
    sheet.node(53, "MarkdownNote", "# how it works")
    (draft,) = meant(sheet.saved())
    assert draft.num_inference_steps == 5
    assert draft.endpoint == meant(text_to_image())[0].endpoint


def test_bypassed_nodes_hand_on_and_muted_ones_are_gone() -> None:
    sheet = drawn(examples.lora_with_lcm())
    lora = next(node for node in sheet.nodes if node["id"] == 10)
    before = meant(sheet.saved())[0].adapters
    lora["mode"] = 4
    assert len(meant(sheet.saved())[0].adapters) == len(before) - 1
    save = next(node for node in sheet.nodes if node["type"] == "SaveImage")
    sheet.link(save["inputs"][0]["link"], 0, sheet.node(90, "SaveImage", "x", mode=2), "images", "")
    assert len(compile_graph(plain(sheet.saved()), catalog()).outputs) == 1
    lora["mode"] = 2
    with pytest.raises(GraphRefused) as refused:
        meant(sheet.saved())
    assert refused.value.node_errors["11"]["errors"][0]["type"] == "required_input_missing"


def prompting(**more: Any) -> dict[str, Any]:
    """A subgraph that encodes a text, which comes from outside, by an encoder from outside."""
    inner = Drawing()
    encode = inner.node(1, "CLIPTextEncode", "within")
    encode["inputs"] = [
        {"name": "clip", "type": "CLIP", "link": 1},
        {"name": "text", "type": "STRING", "link": 2, "widget": {"name": "text"}},
    ]
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
        {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 1},
        {"id": 3, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0},
    ]
    return {
        "id": "prompting", "nodes": inner.nodes, "links": links,
        "inputs": [{"name": "clip", "type": "CLIP"}, {"name": "text", "type": "STRING"}],
        "outputs": [{"linkIds": [3]}],
    } | more  # fmt: skip


def test_subgraphs_are_unfolded_and_filled() -> None:
    sheet = drawn(text_to_image())
    sheet.nodes = [node for node in sheet.nodes if node["id"] != 6]
    instance = sheet.node(6, "prompting", "without")
    sheet.link(4, 1, instance, "clip", "CLIP")
    text = {"name": "text", "type": "STRING", "link": None, "widget": {"name": "text"}}
    instance["inputs"].append(text)
    definitions = {"subgraphs": [prompting()]}
    found = plain(sheet.saved(definitions=definitions))
    assert found["6:1"]["inputs"] == {"text": "without", "clip": ["4", 1]}
    assert meant(sheet.saved(definitions=definitions))[0].prompt == "without"
    instance["inputs"].pop()
    assert meant(sheet.saved(definitions=definitions))[0].prompt == "without"
    instance["widgets_values"] = []
    assert meant(sheet.saved(definitions=definitions))[0].prompt == "within"


def test_groups_are_unfolded_and_filled() -> None:
    sheet = drawn(text_to_image())
    sheet.nodes = [node for node in sheet.nodes if node["id"] not in (3, 8)]
    taken = [("model", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"),
             ("latent_image", "LATENT")]  # fmt: skip
    sampler = Drawing().node(0, "KSampler", 1, "fixed", 20, 8, "euler", "normal", 1)
    sampler["inputs"] = [{"name": name, "type": kind, "link": None} for name, kind in taken]
    sampler["outputs"] = [{"name": "LATENT", "type": "LATENT"}]
    decode = Drawing().node(1, "VAEDecode")
    decode["inputs"] = [{"name": name, "type": name, "link": None} for name in ("samples", "vae")]
    decode["outputs"] = [{"name": "IMAGE", "type": "IMAGE"}]
    group = {"nodes": [sampler, decode], "links": [[0, 0, 1, 0, 9, "LATENT"]], "external": []}
    instance = sheet.node(3, "workflow>both", 7, "fixed", 3, 1, "euler", "normal", 1)
    for (name, kind), (source, slot) in zip(
        [*taken, ("vae", "VAE")], [(4, 0), (6, 0), (7, 0), (5, 0), (4, 2)], strict=True
    ):
        sheet.link(source, slot, instance, name, kind)
    for node in sheet.nodes:
        if node["type"] == "SaveImage":
            node["inputs"] = []
            sheet.link(3, 0, node, "images", "IMAGE")
    found = plain(sheet.saved(extra={"groupNodes": {"both": group}}))
    assert found["9"]["inputs"]["images"] == ["3:1", 0]
    assert found["3:0"]["inputs"]["positive"] == ["6", 0]
    (draft,) = meant(sheet.saved(extra={"groupNodes": {"both": group}}))
    assert (draft.seeds, draft.num_inference_steps) == ((7,), 3)
    del group["links"]
    with pytest.raises(GraphRefused, match="group node"):
        plain(sheet.saved(extra={"groupNodes": {"both": group}}))


def test_seeds_that_javascript_rounded_are_seeds() -> None:
    for written, seed in ((1.2e18, 1200000000000000000), (2.0**64, 2**64 - 1)):
        assert meant(text_to_image(seed=written))[0].seeds == (seed,)
    assert meant(text_to_image(seed="18446744073709552000"))[0].seeds == (2**64 - 1,)
    with pytest.raises(GraphRefused):
        meant(text_to_image(seed=2.0**65))


def test_what_runs_in_a_circle_or_never_ends_is_refused() -> None:
    sheet = drawn(text_to_image())
    sampler = next(node for node in sheet.nodes if node["id"] == 3)
    for id, source in ((50, 51), (51, 50)):
        sheet.link(source, 0, sheet.node(id, "Reroute"), "", "*")
    sampler["inputs"] = []
    sheet.link(50, 0, sampler, "model", "MODEL")
    with pytest.raises(GraphRefused, match="circle"):
        plain(sheet.saved())
    for kinds in (("a", "a"), ("b", "b")):
        inner = [{"id": number, "type": kind} for number, kind in enumerate(kinds)]
        definitions = {"subgraphs": [
            {"id": "a", "nodes": inner, "links": []},
            {"id": "b", "nodes": [{"id": 1, "type": "a"}] * 3, "links": []},
        ]}  # fmt: skip
        with pytest.raises(GraphRefused, match=str(MAX_NODES)):
            plain({"nodes": inner, "links": [], "definitions": definitions})


def test_every_link_is_followed_once_however_many_hang_on_it() -> None:
    sheet = Drawing()
    sheet.node(0, "EmptyLatentImage", 64, 64, 1)
    for id in range(1, 1500):
        sheet.link(id - 1, 0, sheet.node(id, "Reroute"), "", "*")
    crowd = sheet.node(1500, "KSampler")
    for number in range(6000):
        sheet.link(1499, 0, crowd, f"x{number}", "LATENT")
    began = time.thread_time()
    found = plain(sheet.saved())
    assert time.thread_time() - began < 5, "it takes a hundredth of that"
    assert found["1500"]["inputs"]["x5999"] == ["0", 0]


def test_unknown_nodes_are_told_one_by_one() -> None:
    sheet = drawn(text_to_image())
    sheet.node(70, "NoSuchNode", 1)
    sheet.node(71, "NorThisOne", 1)
    with pytest.raises(GraphRefused) as refused:
        meant(sheet.saved())
    assert set(refused.value.node_errors) == {"70", "71"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=6)
    | st.dictionaries(
        st.sampled_from(["id", "type", "inputs", "outputs", "links", "link", "name", "mode",
                         "widget", "widgets_values", "nodes", "external", "index", "linkIds"]),
        inner, max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4), JSON, JSON)
def test_whatever_is_drawn_is_refused_at_worst(
    nodes: list[Any], links: list[Any], definition: Any, group: Any
) -> None:
    kinds = ["KSampler", "a", "workflow>g", "Reroute"]
    known = [{"id": n, "type": kind, "inputs": nodes, "outputs": links, "widgets_values": nodes}
             for n, kind in enumerate(kinds)]  # fmt: skip
    graph = {
        "nodes": [*nodes, *known],
        "links": [*links, [1, 0, 0, 1, 0, "A"], [2, -10, -1, 1, 0, "A"]],
        "definitions": {"subgraphs": [definition, {"id": "a", "nodes": nodes, "links": links}]},
        "extra": {"groupNodes": {"g": group}},
    }
    try:
        plain(graph)
    except GraphRefused:
        return
