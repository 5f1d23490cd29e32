"""What requests fill in, and seeds."""

import itertools
from typing import Any

import pytest

from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.externals import definitions, substitute
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.graph.seeds import settle
from gateway.runs.graph.values import Draft, Gathered, Loaded, Picture
from tests.runs.graph import examples
from tests.runs.graph.examples import node


def drafted(graph: dict[str, Any]) -> Draft:
    (draft,) = compile_graph(graph, examples.catalog()).drafts
    return draft


def test_inputs_reach_their_nodes_as_old_sdks_send_them() -> None:
    inputs = {"prompt": "a dog", "seed": 42.0, "steps": "7", "model": "sd15", "other": 1}
    draft = drafted(substitute(examples.deployed(), inputs))
    assert (draft.prompt, draft.seeds, draft.num_inference_steps) == ("a dog", (42,), 7)


def test_absent_inputs_leave_the_graphs_own() -> None:
    draft = drafted(substitute(examples.deployed(), {}))
    assert (draft.prompt, draft.num_inference_steps) == ("a cat", 4)


def test_a_value_that_is_another_inputs_name_stays_a_value() -> None:
    graph = examples.deployed()
    graph["7"]["inputs"]["text"] = ["40", 0]
    graph["40"] = node("ComfyUIDeployExternalText", input_id="negative", default_value="")
    draft = drafted(substitute(graph, {"prompt": "negative", "negative": "blur", "seed": 1}))
    assert (draft.prompt, draft.negative_prompt) == ("negative", "blur")


def test_substitution_leaves_the_stored_graph_alone() -> None:
    graph = examples.deployed()
    substitute(graph, {"prompt": "changed"})
    assert graph == examples.deployed()


def test_whole_numbers_only() -> None:
    with pytest.raises(GraphRefused, match="whole number"):
        drafted(substitute(examples.deployed(), {"steps": 4.5}))


def test_pictures_come_by_url_and_else_by_the_linked_default() -> None:
    graph = examples.image_to_image()
    graph["12"]["inputs"]["pixels"] = ["40", 0]
    graph["40"] = node("ComfyUIDeployExternalImage", input_id="image", default_value=["10", 0])
    assert drafted(graph).picture == Picture(Loaded("example.png"))
    filled = substitute(graph, {"image": "https://pictures.example/a.png"})
    assert drafted(filled).picture == Picture(Loaded("https://pictures.example/a.png"))


def test_sliders_keep_their_bounds_and_enums_their_options() -> None:
    graph = examples.text_to_image(cfg=["40", 0], sampler_name=["41", 0])
    graph["40"] = node(
        "ComfyUIDeployExternalNumberSlider",
        input_id="cfg",
        default_value=2,
        min_value=1,
        max_value=9,
    )
    graph["41"] = node(
        "ComfyUIDeployExternalEnum",
        input_id="sampler",
        default_value="euler",
        options='["euler", "heun"]',
    )
    assert drafted(substitute(graph, {"cfg": 9})).guidance_scale == 9
    assert drafted(substitute(graph, {"sampler": "heun"})).scheduler == "HeunDiscreteScheduler"
    with pytest.raises(GraphRefused, match="bigger"):
        drafted(substitute(graph, {"cfg": 9.5}))
    with pytest.raises(GraphRefused, match="none of"):
        drafted(substitute(graph, {"sampler": "lms"}))


def test_loras_are_names_of_the_catalogue() -> None:
    graph = examples.lora_with_lcm()
    graph["10"]["inputs"]["lora_name"] = ["40", 0]
    graph["40"] = node(
        "ComfyUIDeployExternalLora", input_id="lora", default_lora_name="lcm", lora_url=""
    )
    assert drafted(graph).adapters[1].route == "lcm"
    assert drafted(substitute(graph, {"lora": "pixel-art"})).adapters[0].scale == 1.8
    with pytest.raises(GraphRefused, match="catalogue"):
        drafted(substitute(graph, {"lora": "https://weights.example/a.safetensors"}))


def test_definitions_say_what_a_workflow_offers() -> None:
    by_id = {found.input_id: found for found in definitions(examples.deployed())}
    assert set(by_id) == {"prompt", "seed", "steps", "model"}
    assert (by_id["prompt"].type, by_id["prompt"].display_name) == ("string", "Prompt")
    assert (by_id["seed"].type, by_id["seed"].max_value) == ("integer", 4294967295)
    assert by_id["steps"].default_value == 4


def test_a_literal_seed_holds() -> None:
    graph, seeds = settle(examples.text_to_image(seed=5), lambda: 99)
    assert (seeds, drafted(graph).seeds) == ({"3": 5}, (5,))


@pytest.mark.parametrize("seed", [-1, -1.0, None])
def test_an_absent_seed_is_drawn_and_written_down(seed: Any) -> None:
    graph = examples.text_to_image(seed=seed)
    if seed is None:
        del graph["3"]["inputs"]["seed"]
    settled, seeds = settle(graph, lambda: 99)
    assert (seeds, drafted(settled).seeds) == ({"3": 99}, (99,))


def test_a_linked_seed_is_settled_where_it_is_kept_and_within_its_bounds() -> None:
    settled, seeds = settle(examples.deployed(), lambda: 2**33)
    assert seeds == {"31": settled["31"]["inputs"]["default_value"]}
    assert 1 <= seeds["31"] <= 2**32 - 1
    assert drafted(settled).seeds == (seeds["31"],)


def test_every_run_of_a_batch_has_its_own_seed() -> None:
    graph = substitute(examples.deployed(), {"seed": 2**32 - 2})
    seeds = [settle(graph, itertools.count().__next__, offset=n)[1]["31"] for n in range(3)]
    assert seeds == [2**32 - 2, 2**32 - 1, 1]


def with_pictures(kind: str, **inputs: Any) -> dict[str, Any]:
    graph = examples.image_to_image()
    graph["12"]["inputs"]["pixels"] = ["40", 0]
    graph["40"] = node(kind, **inputs)
    return graph


@pytest.mark.parametrize(
    "given",
    [
        ["https://pictures.example/a.png", "img_2"],
        '["https://pictures.example/a.png", "img_2"]',
    ],
)
def test_a_batch_of_pictures_comes_as_a_list_or_its_text(given: Any) -> None:
    graph = with_pictures("ComfyUIDeployExternalImageBatch", input_id="pictures", images="[]")
    draft = drafted(substitute(graph, {"pictures": given}))
    sources = ("https://pictures.example/a.png", "img_2")
    members = tuple(Picture(Loaded(source)) for source in sources)
    assert draft.picture == Picture(Gathered(members), num_images=2)
    assert len(draft.seeds) == 2


@pytest.mark.parametrize("given", ["[]", "[broken", '["https://a.example/all.zip"]', "[1]"])
def test_a_batch_of_no_pictures_says_what_is_wrong(given: str) -> None:
    graph = with_pictures("ComfyUIDeployExternalImageBatch", input_id="pictures", images=given)
    with pytest.raises(GraphRefused) as raised:
        drafted(graph)
    assert list(raised.value.node_errors) == ["40"]
    assert "images" in raised.value.message


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ComfyUIDeployExternalAudio", "sound"),
        ("ComfyUIDeployExternalVideo", "frames"),
        ("ComfyUIDeployExternalVid", "frames"),
        ("ComfyUIDeployExternalEXR", "OpenEXR"),
        ("ComfyUIDeployExternalFaceModel", "face"),
        ("ComfyDeployWebscoketImageInput", "no picture was given"),
    ],
)
def test_inputs_that_make_no_picture_say_why(kind: str, reason: str) -> None:
    with pytest.raises(GraphRefused, match=reason) as raised:
        drafted(with_pictures(kind, input_id="x"))
    assert list(raised.value.node_errors) == ["40"]


def test_a_live_picture_comes_with_the_request() -> None:
    graph = with_pictures("ComfyDeployWebscoketImageInput", input_id="live", client_id="x")
    draft = drafted(substitute(graph, {"live": "img_7"}))
    assert draft.picture == Picture(Loaded("img_7"))


def test_a_file_is_what_it_is_called() -> None:
    graph = examples.image_to_image()
    graph["10"]["inputs"]["image"] = ["40", 0]
    graph["40"] = node("ComfyUIDeployExternalFile", input_id="photo", file_url="img_1")
    assert drafted(graph).picture == Picture(Loaded("img_1"))
    assert drafted(substitute(graph, {"photo": "img_2"})).picture == Picture(Loaded("img_2"))


def test_a_colour_is_text() -> None:
    graph = examples.text_to_image()
    graph["6"]["inputs"]["text"] = ["40", 0]
    graph["40"] = node("ComfyUIDeployExternalColor", input_id="colour", default_value="#ff0000")
    assert drafted(substitute(graph, {"colour": "#00ff00"})).prompt == "#00ff00"
