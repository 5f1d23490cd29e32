"""Public kinds of graphs compile to the jobs a person would write by hand."""

from typing import Any

import msgspec
import pytest

from gateway.job import AdapterUse
from gateway.runs.graph.compile import COMPILERS, compile_graph
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.graph.table import TABLE
from gateway.runs.graph.values import (
    Draft,
    Loaded,
    Mask,
    Output,
    Picture,
    Rendered,
    Resize,
)
from tests.runs.graph import examples
from tests.runs.graph.compiling import compiled, faults, only
from tests.runs.graph.examples import node


def test_every_definition_compiles() -> None:
    assert set(COMPILERS) == set(TABLE)


def test_text_to_image() -> None:
    plan = compiled(examples.text_to_image())
    assert plan.drafts == (
        Draft(
            node_id="3",
            class_type="KSampler",
            endpoint="sd15",
            prompt="a lighthouse in fog",
            negative_prompt="text, watermark",
            guidance_scale=8.0,
            num_inference_steps=20,
            seeds=(156680208700286,),
            width=512,
            height=512,
            scheduler="EulerDiscreteScheduler",
            scheduler_config={"timestep_spacing": "linspace"},
        ),
    )
    assert plan.outputs == (
        Output(node_id="9", class_type="SaveImage", picture=Picture(Rendered(0), size=(512, 512))),
    )


def test_choices_are_taken_in_any_case() -> None:
    graph = examples.text_to_image(sampler_name=" Euler", scheduler=["20", 0])
    graph["20"] = node("ComfyUIDeployExternalText", default_value="KARRAS ")
    assert only(graph).scheduler_config == {"use_karras_sigmas": True}


def test_image_to_image_runs_as_many_steps_as_comfyui() -> None:
    draft = only(examples.image_to_image())
    assert draft.picture == Picture(Loaded("example.png"))
    assert draft.strength == 0.75
    assert draft.num_inference_steps == 20
    assert draft.scheduler == "DPMSolverMultistepScheduler"
    assert (draft.width, draft.height, draft.mask) == (0, 0, None)


def test_inpaint() -> None:
    draft = only(examples.inpaint())
    picture = Picture(Loaded("yosemite.png"))
    assert draft.picture == picture
    assert draft.mask == Mask(picture, "alpha", 6)
    assert (draft.strength, draft.num_inference_steps) == (1.0, 20)
    assert draft.scheduler_config == {"solver_type": "bh2", "timestep_spacing": "linspace"}


def test_stacked_loras_with_lcm() -> None:
    draft = only(examples.lora_with_lcm())
    assert draft.endpoint == "sd15"
    assert draft.adapters == (AdapterUse("pixel-art", 0.8), AdapterUse("lcm", 1.0))
    assert (draft.scheduler, draft.scheduler_config) == ("LCMScheduler", {})
    assert (draft.num_inference_steps, draft.guidance_scale) == (4, 1.5)
    assert draft.negative_prompt == "text, watermark"


def test_a_fused_lora_chooses_its_endpoint_and_leaves_the_cards_scheduler() -> None:
    draft = only(examples.lightning_lora())
    assert (draft.endpoint, draft.adapters) == ("sdxl-lightning", ())
    assert (draft.scheduler, draft.scheduler_config) == (None, {})
    assert (draft.guidance_scale, draft.negative_prompt) == (1.0, None)
    assert draft.seeds == (156680208700286, 156680208700287)


def test_sdxl_turbo() -> None:
    draft = only(examples.turbo())
    assert draft.endpoint == "sdxl-turbo"
    assert (draft.num_inference_steps, draft.guidance_scale, draft.seeds) == (1, 0.0, (0,))
    assert draft.scheduler == "EulerAncestralDiscreteScheduler"
    assert draft.scheduler_config == {"timestep_spacing": "trailing"}


def test_flux() -> None:
    draft = only(examples.flux())
    assert (draft.endpoint, draft.guidance_scale) == ("flux-schnell", 3.5)
    assert (draft.scheduler, draft.scheduler_config) == (None, {})
    assert (draft.width, draft.height) == (1024, 768)
    assert draft.negative_prompt is None


def test_flux_sampling_shift_is_the_schedulers_config() -> None:
    graph = examples.flux()
    graph["30"] = node(
        "ModelSamplingFlux", model=["12", 0], max_shift=1.2, base_shift=0.4, width=1, height=1
    )
    graph["30"]["inputs"] |= {"width": 1024, "height": 1024}
    graph["22"]["inputs"]["model"] = ["30", 0]
    assert only(graph).scheduler_config == {"max_shift": 1.2, "base_shift": 0.4}


def test_a_second_pass_redraws_the_first_ones_pictures() -> None:
    graph = examples.text_to_image()
    graph["20"] = node("ImageScaleBy", image=["8", 0], upscale_method="bicubic", scale_by=1.5)
    graph["21"] = node("VAEEncode", pixels=["20", 0], vae=["4", 2])
    graph["22"] = node("KSampler", **graph["3"]["inputs"] | {"latent_image": ["21", 0]})
    graph["22"]["inputs"]["denoise"] = 0.5
    graph["8b"] = node("VAEDecode", samples=["22", 0], vae=["4", 2])
    graph["9"]["inputs"]["images"] = ["8b", 0]
    first, second = compiled(graph).drafts
    assert first.node_id == "3"
    change = Resize(method="bicubic", factor=1.5)
    assert second.picture == Picture(Rendered(0), (change,), size=(768, 768))
    assert (second.strength, second.num_inference_steps) == (0.5, 20)


def test_no_noise_is_refused_with_the_reason() -> None:
    graph = examples.flux()
    graph["25"] = node("DisableNoise")
    assert faults(graph) == {"25": {("value_not_in_list", "noise")}}


def test_late_start_is_image_to_image() -> None:
    graph = examples.image_to_image()
    given = graph["3"]["inputs"]
    for name in ("seed", "denoise"):
        del given[name]
    given |= {
        "add_noise": "enable",
        "noise_seed": 7,
        "start_at_step": 5,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
    }
    graph["3"]["class_type"] = "KSamplerAdvanced"
    draft = only(graph)
    assert (draft.strength, draft.num_inference_steps, draft.seeds) == (0.75, 15, (7,))


def test_clip_layers_become_clip_skip() -> None:
    graph = examples.text_to_image()
    graph["10"] = node("CLIPSetLastLayer", clip=["4", 1], stop_at_clip_layer=-2)
    graph["6"]["inputs"]["clip"] = ["10", 0]
    assert only(graph).arguments == {"clip_skip": 1}
    graph["4"]["inputs"]["ckpt_name"] = "sd_xl_base_1.0.safetensors"
    graph["3"]["inputs"] |= {"cfg": 1, "steps": 4}
    graph["5"]["inputs"] |= {"width": 1024, "height": 1024}
    assert only(graph).arguments == {}


def test_two_prompts_of_sdxl() -> None:
    graph = examples.lightning_lora()
    graph["6"] = node(
        "CLIPTextEncodeSDXL",
        clip=["4", 1],
        width=1024,
        height=768,
        crop_w=0,
        crop_h=8,
        target_width=1024,
        target_height=768,
        text_g="a big cat",
        text_l="a cat",
    )
    draft = only(graph)
    assert draft.prompt == "a cat"
    assert draft.arguments == {
        "prompt_2": "a big cat",
        "original_size": [768, 1024],
        "crops_coords_top_left": [8, 0],
        "target_size": [768, 1024],
    }


def test_every_fault_is_listed_with_its_node() -> None:
    graph = examples.text_to_image(
        steps=60, cfg="much", sampler_name="magic", scheduler="karras", seed=-2
    )
    graph["4"]["inputs"]["ckpt_name"] = "unknown.ckpt"
    graph["5"]["inputs"]["width"] = 100_000
    del graph["6"]["inputs"]["text"]
    graph["7"]["inputs"]["clip"] = ["4", 0]
    graph["8"]["inputs"]["samples"] = ["99", 0]
    graph["9"]["inputs"]["images"] = ["8", 3]
    assert faults(graph) == {
        "9": {("bad_linked_input", "images")},
        "8": {("bad_linked_input", "samples")},
        "4": {("value_not_in_list", "ckpt_name")},
    }
    graph["9"]["inputs"]["images"] = ["8", 0]
    graph["8"]["inputs"]["samples"] = ["3", 0]
    assert faults(graph) == {
        "3": {
            ("invalid_input_type", "cfg"),
            ("value_not_in_list", "sampler_name"),
            ("value_smaller_than_min", "seed"),
        },
        "4": {("value_not_in_list", "ckpt_name")},
        "5": {("value_bigger_than_max", "width")},
        "6": {("required_input_missing", "text")},
        "7": {("return_type_mismatch", "clip")},
    }


def test_unknown_nodes_are_all_listed() -> None:
    graph = examples.text_to_image()
    graph["20"] = node("StyleModelLoader", style_model_name="x")
    graph["21"] = node("IPAdapter")
    graph["22"] = {"inputs": {}}
    assert faults(graph) == {id: {("invalid_prompt", "")} for id in ("20", "21", "22")}


def test_node_errors_have_comfyuis_shape() -> None:
    with pytest.raises(GraphRefused) as raised:
        compiled(examples.text_to_image(steps=0))
    assert raised.value.error["type"] == "prompt_outputs_failed_validation"
    assert raised.value.node_errors["3"] == {
        "errors": [
            {
                "type": "value_smaller_than_min",
                "message": "Value 0 smaller than min of 1",
                "details": "steps",
                "extra_info": {"input_name": "steps", "received_value": 0},
            }
        ],
        "dependent_outputs": ["9"],
        "class_type": "KSampler",
    }


def test_the_cards_range_is_a_fault_of_the_node_that_says_it() -> None:
    graph = examples.flux()
    graph["17"]["inputs"]["steps"] = 11
    assert faults(graph) == {"17": {("value_bigger_than_max", "steps")}}
    graph = examples.flux()
    graph["5"]["inputs"]["width"] = 4096
    assert faults(graph) == {"5": {("value_bigger_than_max", "width")}}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"end_at_step": 10}, "end_at_step"),
        ({"return_with_leftover_noise": "enable"}, "return_with_leftover_noise"),
        ({"add_noise": "disable"}, "add_noise"),
        ({"start_at_step": 20}, "start_at_step"),
    ],
)
def test_half_finished_sampling_is_refused(change: dict[str, Any], fault: str) -> None:
    graph = examples.text_to_image()
    given = graph["3"]["inputs"]
    del given["seed"], given["denoise"]
    given |= {
        "add_noise": "enable",
        "noise_seed": 7,
        "start_at_step": 0,
        "end_at_step": 20,
        "return_with_leftover_noise": "disable",
    }
    graph["3"] = node("KSamplerAdvanced", **given)
    assert only(graph).strength is None
    graph["3"] = node("KSamplerAdvanced", **given | change)
    assert faults(graph) == {"3": {("value_not_in_list", fault)}}


def test_partial_denoise_of_nothing_is_refused() -> None:
    assert faults(examples.text_to_image(denoise=0.5)) == {"3": {("value_not_in_list", "denoise")}}


def test_a_sampler_that_a_model_does_not_take_is_stood_in_for() -> None:
    graph = examples.flux()
    graph["16"]["inputs"]["sampler_name"] = "heun"
    assert only(graph).scheduler == "FlowMatchHeunDiscreteScheduler"
    graph["16"]["inputs"]["sampler_name"] = "dpm_2"
    plan = compiled(graph)
    assert plan.drafts[0].scheduler == "FlowMatchHeunDiscreteScheduler"
    told = [note.message for note in plan.notes]
    assert told == ["SamplerCustomAdvanced (13): heun stands in for dpm_2"]


def test_a_spacing_that_a_model_does_not_take_is_stood_in_for() -> None:
    plan = compiled(examples.text_to_image(sampler_name="euler", scheduler="beta"))
    assert plan.drafts[0].scheduler_config == {}
    told = [note.message for note in plan.notes]
    assert told == ["KSampler (3): its own spacing stands in for beta"]


def test_a_sampler_that_nothing_is_near_to_is_refused_before_any_work() -> None:
    catalog = msgspec.structs.replace(
        examples.catalog(), tried=lambda _endpoint, name, _config: name is None
    )
    with pytest.raises(GraphRefused, match=r"dpmpp_2m.* is none of .*euler"):
        compile_graph(examples.text_to_image(sampler_name="dpmpp_2m"), catalog)
    plan = compile_graph(examples.text_to_image(sampler_name="euler"), catalog)
    assert plan.drafts[0].scheduler is None
    told = [note.message for note in plan.notes]
    assert told == ["KSampler (3): its own scheduler stands in for euler"]


def test_unknown_lora_names_those_that_exist() -> None:
    graph = examples.lora_with_lcm()
    graph["12"]["inputs"]["lora_name"] = "nothing.safetensors"
    with pytest.raises(GraphRefused, match=r"lcm_lora_weights.*pixel-art"):
        compiled(graph)


@pytest.mark.parametrize(
    "graph",
    [
        None,
        [],
        {},
        {"nodes": [], "links": []},
        {"1": node("EmptyLatentImage", width=512, height=512, batch_size=1)},
    ],
)
def test_what_is_no_graph_is_refused(graph: Any) -> None:
    assert faults(graph) == {}


def test_circles_are_refused() -> None:
    graph = examples.text_to_image(latent_image=["12", 0])
    graph["12"] = node("VAEEncode", pixels=["8", 0], vae=["4", 2])
    with pytest.raises(GraphRefused) as raised:
        compiled(graph)
    assert raised.value.error["type"] == "dependency_cycle"


def test_a_chain_of_many_nodes_needs_no_deep_stack() -> None:
    graph = examples.text_to_image()
    for index in range(1500):
        source = ["6", 0] if index == 0 else [f"x{index - 1}", 0]
        graph[f"x{index}"] = node("FluxGuidance", conditioning=source, guidance=index / 100)
    graph["3"]["inputs"]["positive"] = ["x400", 0]
    graph["3"]["inputs"]["negative"] = ["x1499", 0]
    assert only(graph).guidance_scale == 4.0


def test_nodes_off_the_path_are_not_checked() -> None:
    graph = examples.text_to_image()
    graph["50"] = node("KSampler")
    assert len(compiled(graph).drafts) == 1


def test_two_outputs_of_one_sampler_are_one_job() -> None:
    graph = examples.text_to_image()
    graph["10"] = node("PreviewImage", images=["8", 0])
    plan = compiled(graph)
    assert len(plan.drafts) == 1
    assert [output.temporary for output in plan.outputs] == [False, True]
