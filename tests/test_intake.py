"""Every server's names for one thing become one job, bounded by the endpoint's card."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from gateway.catalog.cards import AdapterCard, EndpointCard, Guidance, Sizes, Steps
from gateway.catalog.catalog import Catalog, Model
from gateway.errors import GatewayError, InvalidRequest, ModelNotFound, OutOfRange
from gateway.intake import Terms, fit_size, seeds, to_job
from gateway.job import AdapterUse, Job
from gateway.outside.parameters import MAX_SEED, fold, read_request, read_size
from gateway.settings import Settings

CARD = EndpointCard(
    id="tiny",
    steps=Steps(min=1, max=10, default=4),
    guidance=Guidance(default=0.0, min=0.0, max=8.0),
    sizes=Sizes(native=(64, 64), min=32, max=256, multiple_of=8),
)
CATALOG = Catalog(
    {"tiny": CARD},
    {
        ("tiny", route): AdapterCard(
            endpoint="tiny", route=route, source=f"{route}.safetensors", scale=0.8
        )
        for route in ("line", "style")
    },
)


def job_of(body: dict[str, Any], model: str = "tiny", **options: Any) -> Job:
    request = read_request({"prompt": "an apple", **body})
    return to_job(request, CATALOG.resolve(model), CATALOG, Settings(), Terms(**options))


def refusal_of(body: dict[str, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        job_of(body)
    return refused.value


def test_the_card_supplies_what_is_not_said() -> None:
    job = job_of({})
    assert (job.num_inference_steps, job.guidance_scale) == (4, 0.0)
    assert (job.width, job.height, job.output_size) == (64, 64, None)
    assert (len(job.seeds), job.adapters, job.negative_prompt) == (1, (), None)


@pytest.mark.parametrize("name", ["num_inference_steps", "steps", "step", "inference_steps"])
def test_steps_by_every_name(name: str) -> None:
    assert job_of({name: "3"}).num_inference_steps == 3


@pytest.mark.parametrize("name", ["guidance_scale", "cfg_scale", "cfg", "guidance"])
def test_guidance_by_every_name(name: str) -> None:
    assert job_of({name: 2.5}).guidance_scale == 2.5


@pytest.mark.parametrize(
    "name", ["n", "num_images", "num_outputs", "num_images_per_prompt", "batch_size", "samples"]
)
def test_n_by_every_name(name: str) -> None:
    assert len(job_of({name: 3}).seeds) == 3


def test_two_names_may_agree_and_must_not_contradict() -> None:
    assert fold({"steps": 3, "num_inference_steps": 3}) == {"num_inference_steps": 3}
    with pytest.raises(InvalidRequest, match="contradict"):
        fold({"steps": 3, "num_inference_steps": 4})


def test_null_and_unknown_fields_are_ignored() -> None:
    assert read_request({"prompt": "x", "seed": None, "n": None, "imageUrls": []}).n == 1


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("auto", None),
        ("", None),
        ("128x96", (128, 96)),
        ("128X96", (128, 96)),
        ("128*96", (128, 96)),
        ("128\u00d796", (128, 96)),
        (" 128 x 96 ", (128, 96)),
        ({"width": 128, "height": 96}, (128, 96)),
        ([128, 96], (128, 96)),
        ("landscape_4_3", (1024, 768)),
    ],
)
def test_a_size_in_any_form(value: Any, size: tuple[int, int] | None) -> None:
    assert read_size(value) == size


@pytest.mark.parametrize("value", ["big", "0x64", "64x", "99999x64", [64], [64, -1], {}, 64, True])
def test_what_is_no_size_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_size(value)
    assert refused.value.param == "size"


def test_edges_are_a_size_too() -> None:
    job = job_of({"width": "128", "height": 64})
    assert (job.width, job.height) == (128, 64)
    assert refusal_of({"width": 128}).param == "height"
    assert refusal_of({"width": "wide", "height": 64}).param == "width"


def test_a_size_is_rounded_bounded_or_resampled_as_the_card_says() -> None:
    assert fit_size((101, 65), CARD.sizes) == ((104, 64), None)
    assert refusal_of({"size": "512x512"}).param == "size"
    listed = Sizes(native=(64, 64), min=32, max=128, allowed=((64, 64), (128, 64)))
    assert fit_size((128, 64), listed) == ((128, 64), None)
    with pytest.raises(InvalidRequest, match="'64x64', '128x64'"):
        fit_size((64, 128), listed)
    resampled = Sizes(native=(64, 64), min=16, max=512, multiple_of=8, resample=True)
    assert fit_size((512, 512), resampled) == ((64, 64), (512, 512))
    assert fit_size((512, 256), resampled) == ((88, 48), (512, 256))
    assert fit_size(None, resampled) == ((64, 64), None)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"steps": 11}, "num_inference_steps", "integer_above_max_value"),
        ({"steps": 0}, "num_inference_steps", "integer_below_min_value"),
        ({"guidance_scale": 9}, "guidance_scale", "decimal_above_max_value"),
        ({"n": 11}, "n", "integer_above_max_value"),
        ({"seed": -2}, "seed", "integer_below_min_value"),
        ({"seed": 2**64}, "seed", "integer_above_max_value"),
        ({"seed": 2**70}, "seed", "integer_above_max_value"),
        ({"prompt": " "}, "prompt", "missing_required_parameter"),
        ({"prompt": "x" * 32_001}, "prompt", "string_above_max_length"),
        ({"negative_prompt": "x" * 32_001}, "negative_prompt", "string_above_max_length"),
        ({"loras": [{"name": "line", "scale": 5}]}, "loras[0].scale", "decimal_above_max_value"),
        ({"loras": [{"scale": 1}]}, "loras[0].name", "missing_required_parameter"),
        ({"loras": [3]}, "loras[0]", "invalid_type"),
        ({"loras": ["line", "/etc/passwd"]}, "loras[1].name", "model_not_found"),
    ],
)
def test_a_refusal_names_the_parameter(body: dict[str, Any], param: str, code: str) -> None:
    refused = refusal_of(body)
    assert (refused.param, refused.code) == (param, code)


def test_steps_are_lowered_where_the_dialect_wants_it() -> None:
    assert job_of({"steps": 20}, clamp_steps=True).num_inference_steps == 10
    with pytest.raises(OutOfRange):
        job_of({"steps": 0}, clamp_steps=True)


def test_seeds_count_up_and_wrap() -> None:
    assert job_of({"n": 3, "seed": 5}).seeds == (5, 6, 7)
    assert seeds(MAX_SEED, 2) == (MAX_SEED, 0)
    assert len({job_of({"seed": -1}).seeds for _ in range(8)}) > 1


@pytest.mark.parametrize(
    "loras",
    [
        "line",
        ["line"],
        {"name": "line"},
        [{"path": "line"}],
        [{"adapter": "tiny:line"}],
        [{"lora_name": "line", "lora_scale": 0.8}],
    ],
)
def test_loras_in_every_servers_shape(loras: Any) -> None:
    assert job_of({"loras": loras}).adapters == (AdapterUse("line", 0.8),)


def test_the_models_adapter_comes_first_and_a_lora_can_change_its_scale() -> None:
    named = job_of({"lora": [{"name": "line", "weight": 0.5}]}, "tiny:style").adapters
    assert named == (AdapterUse("style", 0.8), AdapterUse("line", 0.5))
    changed = job_of({"loras": [{"name": "style", "strength": 0.2}]}, "tiny:style").adapters
    assert changed == (AdapterUse("style", 0.2),)


def test_an_unknown_lora_is_answered_with_the_routes_there_are() -> None:
    refused = refusal_of({"loras": ["nope"]})
    assert isinstance(refused, ModelNotFound)
    assert "`line`, `style`" in refused.message


def test_extra_arguments_of_the_card_reach_the_call() -> None:
    card = EndpointCard(
        id="odd", arguments={"a": 1}, unset=("b",), arguments_at={2: {"timesteps": [999, 500]}}
    )
    catalog = Catalog({"odd": card}, {})
    request = read_request({"prompt": "x", "steps": 2, "true_cfg_scale": 3})
    job = to_job(request, Model(card), catalog, Settings())
    assert job.arguments == {
        "a": 1,
        "b": None,
        "timesteps": [999, 500],
        "true_cfg_scale": 3.0,
    }


def _takes(_endpoint: str, name: str | None, config: Mapping[str, Any]) -> bool:
    return name in (None, "DDIMScheduler") and not config


TRIED = msgspec.structs.replace(CATALOG, tried=_takes)


def scheduler_of(name: str) -> str | None:
    request = read_request({"prompt": "an apple", "scheduler": name})
    return to_job(request, TRIED.resolve("tiny"), TRIED, Settings()).scheduler


def test_a_scheduler_is_a_class_or_a_sampler_that_the_model_takes() -> None:
    assert scheduler_of("DDIMScheduler") == "DDIMScheduler"
    assert scheduler_of("ddim") == "DDIMScheduler"
    assert scheduler_of("DDIM ") == "DDIMScheduler"
    assert scheduler_of("") is None


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "SchedulerMixin", "sync", "heun"])
def test_any_other_scheduler_is_refused_and_those_that_run_are_named(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}'.*'euler'.*'DDIMScheduler'") as refused:
        scheduler_of(name)
    assert refused.value.param == "scheduler"
