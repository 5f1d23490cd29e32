"""ControlNets in a graph: what nodes say becomes the draft, on the endpoint of its sampler."""

import msgspec

from gateway.catalog.cards import ControlCard
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.graph.values import Control, ControlNet, Draft, Loaded, Picture
from tests.runs.graph import examples
from tests.runs.graph.compiling import faults
from tests.runs.graph.examples import Graph, node

CARD = ControlCard(endpoint="sd15", route="control_v11p_sd15_canny", source="x")
NAME = "control_v11p_sd15_canny.safetensors"


def drafts(graph: Graph) -> tuple[Draft, ...]:
    own = msgspec.structs.replace(examples.catalog(), controls={("sd15", CARD.route): CARD})
    return compile_graph(graph, own).drafts


def with_control(name: str = NAME, **more: object) -> Graph:
    graph = examples.text_to_image()
    graph["20"] = node("ControlNetLoader", control_net_name=name)
    graph["21"] = node("LoadImage", image="pose.png")
    graph["22"] = node(
        "ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], control_net=["20", 0],
        image=["21", 0], **{"strength": 0.8, "start_percent": 0.1, "end_percent": 0.9, **more},
    )
    graph["3"]["inputs"] |= {"positive": ["22", 0], "negative": ["22", 1]}
    return graph


def test_an_applied_net_is_the_drafts() -> None:
    [draft] = drafts(with_control())
    net = ControlNet("20", CARD.route)
    assert draft.controls == (Control(net, Picture(Loaded("pose.png")), 0.8, 0.1, 0.9),)
    assert draft.picture is None


def test_nets_are_applied_one_upon_the_other() -> None:
    graph = with_control()
    graph["23"] = node("ControlNetApply", conditioning=["22", 0], control_net=["20", 0],
                       image=["21", 0], strength=0.5)
    graph["3"]["inputs"]["positive"] = ["23", 0]
    assert [control.scale for control in drafts(graph)[0].controls] == [0.8, 0.5]


def test_a_net_of_several_kinds_is_told_what_it_is_shown() -> None:
    graph = with_control()
    for kind, mode in (("depth", 1), ("canny/lineart/anime_lineart/mlsd", 3), ("auto", None)):
        graph["24"] = node("SetUnionControlNetType", control_net=["20", 0], type=kind)
        graph["22"]["inputs"]["control_net"] = ["24", 0]
        assert drafts(graph)[0].controls[0].net.mode == mode


def test_a_net_may_be_loaded_beside_its_model() -> None:
    graph = with_control()
    graph["20"] = node("DiffControlNetLoader", model=["4", 0], control_net_name=NAME)
    assert drafts(graph) == drafts(with_control())


def test_without_strength_nothing_is_applied() -> None:
    assert drafts(with_control(strength=0))[0].controls == ()


def test_a_net_that_the_endpoint_has_not_is_named_at_its_loader() -> None:
    try:
        drafts(with_control("other.safetensors"))
    except GraphRefused as refused:
        [fault] = refused.node_errors["20"]["errors"]
        assert fault["type"] == "value_not_in_list"
        assert CARD.route in fault["details"]
    else:
        raise AssertionError("it compiled")
    assert faults(with_control()) == {"20": {("value_not_in_list", "control_net_name")}}
