"""AUTOMATIC1111's dialect, as its clients send it, over an engine that paints plain pictures."""

import base64
import json
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from PIL import Image

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.images.encode import read_text
from gateway.settings import Settings
from tests.images.test_decode import RED, saved
from tests.small_engine import TestEngine
from tests.web.automatic1111.sent import LIBRECHAT, OPEN_WEBUI, SILLYTAVERN
from tests.web.openai.asking import Client, picture, two_endpoints

API = "/sdapi/v1"
PNG = base64.b64encode(saved(RED.resize((96, 64)), "PNG")).decode()


@pytest.fixture
def engine() -> TestEngine:
    return TestEngine()


@pytest.fixture
def client(engine: TestEngine, tmp_path: Path) -> Iterator[Client]:
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        yield client


def drawn(client: Client, route: str = "txt2img", **body: Any) -> Any:
    """An answer's pictures and its facts."""
    answer = client.post(f"{API}/{route}", json={"prompt": "a cat", **body})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) == {"images", "parameters", "info"}
    return [base64.b64decode(image) for image in told["images"]], json.loads(told["info"])


@pytest.mark.parametrize("body", [OPEN_WEBUI, SILLYTAVERN, LIBRECHAT])
def test_what_clients_send_is_drawn(
    client: Client, engine: TestEngine, body: dict[str, Any]
) -> None:
    (data,), info = drawn(client, **body)
    job = engine.jobs[-1]
    assert picture(data).size == (job.width, job.height) == (info["width"], info["height"])
    assert job.num_inference_steps == 10
    assert {one["code"] for one in info["warnings"]} == {"steps_lowered"}
    assert "10, the most" in info["extra_generation_params"]["num_inference_steps"]
    assert info["seed"] == job.seeds[0]
    assert f"Seed: {job.seeds[0]}" in info["infotexts"][0]


def test_a_batch_counts_up_its_seeds_and_says_what_it_is(client: Client) -> None:
    images, info = drawn(client, batch_size=2, n_iter=2, seed=7, negative_prompt="blur", steps=3)
    assert len(images) == 4
    assert info["all_seeds"] == [7, 8, 9, 10]
    text = read_text(images[2])
    assert text["parameters"] == info["infotexts"][2]
    assert text["parameters"].startswith("a cat\nNegative prompt: blur\nSteps: 3, ")
    assert "Seed: 9, Size: 64x64, Model: tiny" in text["parameters"]
    assert json.loads(text["gateway"])["seed"] == 9
    told = client.post(f"{API}/png-info", json={"image": base64.b64encode(images[2]).decode()})
    assert told.json()["info"] == text["parameters"]
    assert told.json()["parameters"]["Seed"] == "9"
    assert told.json()["parameters"]["Negative prompt"] == "blur"


def test_tags_in_a_prompt_name_adapters(client: Client, engine: TestEngine) -> None:
    _, info = drawn(client, prompt="a cat <lora:style:0.5>, <lora:Other_v2:1>red")
    job = engine.jobs[-1]
    assert job.prompt == "a cat , red"
    assert [(use.route, use.scale) for use in job.adapters] == [("style", 0.5)]
    assert "<lora:style:0.5>" in info["infotexts"][0]
    assert [one["code"] for one in info["warnings"]] == ["syntax_unread"]
    listed = client.get(f"{API}/loras").json()
    assert [(one["name"], one["alias"]) for one in listed] == [("style", "style")]


@pytest.mark.parametrize(
    ("sampler", "schedule", "cls", "config"),
    [
        ("Euler", None, "EulerDiscreteScheduler", {}),
        ("euler", "karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("DDIM", "SGM Uniform", "DDIMScheduler", {"timestep_spacing": "trailing"}),
        ("Euler Karras", "automatic", "EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("Automatic", "Automatic", None, {}),
        (None, None, None, {}),
    ],
)
def test_samplers_by_their_names(
    client: Client,
    engine: TestEngine,
    sampler: str | None,
    schedule: str | None,
    cls: str | None,
    config: dict[str, Any],
) -> None:
    _, info = drawn(client, sampler_name=sampler, scheduler=schedule)
    job = engine.jobs[-1]
    assert (job.scheduler, job.scheduler_config) == (cls, config)
    if cls:
        assert info["sampler_name"] == str(sampler).split()[0].capitalize().replace("Ddim", "DDIM")


def test_guidance_is_brought_into_what_the_model_takes(
    client: Client, engine: TestEngine
) -> None:
    _, info = drawn(client, cfg_scale=50)
    assert engine.jobs[-1].guidance_scale == 30
    assert [one["code"] for one in info["warnings"]] == ["guidance_changed"]


def test_a_picture_is_redrawn_in_the_frame_asked_for(
    client: Client, engine: TestEngine
) -> None:
    body: Any = {"init_images": [f"data:image/png;base64,{PNG}"], "denoising_strength": 0.4}
    _, info = drawn(client, "img2img", **body)
    job = engine.jobs[-1]
    assert (job.width, job.height, job.strength) == (96, 64, 0.4)
    assert info["denoising_strength"] == 0.4
    half = Image.new("RGB", (96, 64), "blue")
    half.paste(Image.new("RGB", (32, 64), "red"), (32, 0))
    out = BytesIO()
    half.save(out, "PNG")
    given = base64.b64encode(out.getvalue()).decode()
    corners = {}
    for mode in (0, 1, 2):
        size: Any = {"width": 64, "height": 64}
        drawn(client, "img2img", init_images=[given], resize_mode=mode, **size)
        (shown,) = engine.jobs[-1].images
        assert (shown.width, shown.height) == (64, 64)
        at = Image.frombytes("RGB", (64, 64), shown.data)
        corners[mode] = [at.getpixel(where) for where in ((32, 32), (2, 32), (32, 2), (17, 32))]
    red, blue = (255, 0, 0), (0, 0, 255)
    assert corners[0] == [red, blue, red, blue]
    assert corners[1] == [red, blue, red, red]
    assert corners[2] == [red, blue, red, blue]


@pytest.mark.parametrize(("inverted", "inside"), [(0, 255), (1, 0)])
def test_a_mask_is_white_where_to_redraw(
    client: Client, engine: TestEngine, inverted: int, inside: int
) -> None:
    mask = Image.new("L", (96, 64))
    mask.paste(255, (40, 20, 60, 40))
    out = BytesIO()
    mask.save(out, "PNG")
    body: Any = {"mask": base64.b64encode(out.getvalue()).decode(), "mask_blur": 4}
    drawn(client, "img2img", init_images=[PNG], inpainting_mask_invert=inverted, **body)
    found = engine.jobs[-1].mask
    assert found
    assert found.data[30 * found.width + 50] == inside
    assert found.data[0] == 255 - inside


def test_a_second_pass_is_a_larger_picture_and_said(client: Client, engine: TestEngine) -> None:
    (data,), info = drawn(client, enable_hr=True, hr_scale=1.5, hr_upscaler="Latent")
    assert picture(data).size == (96, 96)
    assert (engine.jobs[-1].width, info["width"]) == (64, 96)
    assert "not drawn again" in info["extra_generation_params"]["enable_hr"]


def test_a_checkpoint_is_one_keys_choice(tmp_path: Path, engine: TestEngine) -> None:
    keys = KeyStore(tmp_path)
    ann: Any
    bob: Any
    ann, bob = ({"auth": ("ann", keys.create(name)[1])} for name in ("ann", "bob"))
    settings = Settings(endpoints=("tiny",), data=tmp_path)

    def app() -> Client:
        return TestClient(create_app(settings, engine, two_endpoints()))

    with app() as client:
        assert client.get(f"{API}/options").status_code == 401
        titles = [one["title"] for one in client.get(f"{API}/sd-models", **ann).json()]
        assert titles == ["tiny", "tiny:style", "resampled", "keyed"]
        chosen = {"sd_model_checkpoint": "resampled.safetensors [0123456789]", "sd_vae": "None"}
        assert client.post(f"{API}/options", json=chosen, **ann).status_code == 200
        gone = client.post(f"{API}/options", json={"sd_model_checkpoint": "gone"}, **ann)
        assert gone.status_code == 404
        assert "gone" in gone.json()["detail"]
    with app() as client:  # another process, later
        for key, model in ((ann, "resampled"), (bob, "tiny")):
            assert client.get(f"{API}/options", **key).json()["sd_model_checkpoint"] == model
            assert client.post(f"{API}/txt2img", json={"prompt": "x"}, **key).status_code == 200
            assert engine.jobs[-1].endpoint == model
        override: Any = {"override_settings": {"sd_model_checkpoint": "tiny:style"}}
        client.post(f"{API}/txt2img", json={"prompt": "x", **override}, **ann)
        assert engine.jobs[-1].adapters
        assert client.get(f"{API}/options", **ann).json()["sd_model_checkpoint"] == "resampled"


def test_progress_and_interrupt_are_of_ones_own_requests(
    tmp_path: Path, engine: TestEngine
) -> None:
    keys = KeyStore(tmp_path)
    ann: Any
    bob: Any
    ann, bob = ({"auth": ("x", keys.create(name)[1])} for name in ("ann", "bob"))
    settings = Settings(endpoints=("tiny",), data=tmp_path)
    with TestClient(create_app(settings, engine, two_endpoints())) as client:
        answers: list[Any] = []
        engine.step_seconds = 2.0  # of twenty, so that what is asked for in between is between
        body = {"prompt": "a cat", "steps": 10, "batch_size": 2}

        def ask() -> None:
            answers.append(client.post(f"{API}/txt2img", json=body, **ann))

        thread = threading.Thread(target=ask)
        thread.start()
        seen = client.get(f"{API}/progress", **ann).json()
        while not 0 < seen["progress"] < 1:
            assert thread.is_alive()
            seen = client.get(f"{API}/progress", **ann).json()
        assert seen["state"]["sampling_steps"] == 10
        assert seen["state"]["job_count"] == 1
        others = client.get(f"{API}/progress", **bob).json()
        assert (others["progress"], others["state"]["job_count"]) == (0.0, 0)
        assert client.post(f"{API}/interrupt", **bob).status_code == 200
        assert client.get(f"{API}/progress", **ann).json()["state"]["interrupted"] is False
        assert client.post(f"{API}/interrupt", **ann).status_code == 200
        thread.join(timeout=20)
        (answer,) = answers
        assert (answer.status_code, answer.json()["images"]) == (200, [])
        assert engine.num_closed == 1
        assert client.get(f"{API}/progress", **ann).json()["progress"] == 0.0


@pytest.mark.parametrize(
    ("route", "body", "status", "says"),
    [
        ("txt2img", {"batch_size": 4, "n_iter": 4}, 400, "batch_size"),
        ("txt2img", {"batch_size": "many"}, 400, "batch_size"),
        ("txt2img", {"sampler_name": "Nobody's"}, 400, "Nobody's"),
        ("txt2img", {"width": 9999, "height": 64}, 400, "9999"),
        ("txt2img", {"override_settings": {"sd_model_checkpoint": "gone"}}, 404, "gone"),
        ("txt2img", {"override_settings": [1]}, 400, "override_settings"),
        ("txt2img", {"enable_hr": True, "hr_scale": 1e9}, 400, "hr_scale"),
        ("txt2img", {"enable_hr": True, "hr_resize_x": 4100}, 400, "hr_scale"),
        ("txt2img", {"cfg_scale": "much"}, 400, "cfg_scale"),
        ("txt2img", {"prompt": "<lora:none:1>" * 9999}, 400, "prompt"),
        ("img2img", {}, 400, "init_images"),
        ("img2img", {"init_images": ["!"]}, 400, "init_images"),
        ("img2img", {"init_images": [PNG], "mask": "!"}, 400, "mask"),
        ("img2img", {"init_images": [PNG], "width": 16384, "height": 16384, "resize_mode": 1},
         400, "16384"),
        ("png-info", {"image": "!"}, 400, "image"),
        ("png-info", {}, 400, "image"),
        ("extra-single-image", {}, 404, "extra-single-image"),
    ],
)
def test_refusals_are_in_its_own_words(
    client: Client, route: str, body: Any, status: int, says: str
) -> None:
    answer = client.post(f"{API}/{route}", json=body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert says in answer.json()["detail"]


def test_fields_that_change_nothing_are_named(client: Client) -> None:
    more: Any = {"restore_faces": True, "subseed_strength": 0, "restore_face": 1}
    _, info = drawn(client, alwayson_scripts={"ADetailer": {"args": [True]}}, **more)
    assert [(one["code"], one["param"]) for one in info["warnings"]] == [
        ("no_effect", "restore_faces"),
        ("unknown_field", "alwayson_scripts.ADetailer"),
        ("unknown_field", "restore_face"),
    ]


def test_a_controlnet_by_its_extensions_form(client: Client, engine: TestEngine) -> None:
    unit = {"image": PNG, "model": "canny [abc]", "weight": 0.5, "guidance_end": 0.8}
    drawn(client, alwayson_scripts={"ControlNet": {"args": [unit, {"enabled": False}]}})
    (control,) = engine.jobs[-1].controls
    assert (control.route, control.scale, control.end) == ("canny", 0.5, 0.8)


def test_what_clients_look_up(client: Client) -> None:
    assert client.get("/internal/ping").json() == {}
    samplers = client.get(f"{API}/samplers").json()
    assert {"Euler", "DDIM"} <= {one["name"] for one in samplers}
    assert {one["label"] for one in client.get(f"{API}/schedulers").json()} >= {"Karras"}
    assert client.get(f"{API}/embeddings").json() == {"loaded": {}, "skipped": {}}
    assert [one["name"] for one in client.get(f"{API}/upscalers").json()] == ["None", "Lanczos"]
    for name in ("sd-vae", "prompt-styles", "hypernetworks"):
        assert client.get(f"{API}/{name}").json() == []
    assert client.get(f"{API}/cmd-flags").json()["api"] is True
    assert "ram" in client.get(f"{API}/memory").json()
    assert client.post(f"{API}/refresh-checkpoints").status_code == 200
