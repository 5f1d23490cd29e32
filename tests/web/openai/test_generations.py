"""OpenAI's dialect, as its clients see it; the engine paints plain pictures."""

import base64
import time
from typing import Any

import msgspec
import pytest

from tests.small_engine import TestEngine
from tests.web.openai.asking import PATH, Client, picture, post, refused


def test_unspecified_format_answers_url_and_data_of_one_picture(client: Client) -> None:
    answer = post(client, seed=7)
    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body["created"], int)
    assert body["usage"]["total_tokens"] >= 0
    assert body["size"] == "64x64"
    item = body["data"][0]
    assert item["seed"] == 7
    assert client.get(item["url"]).content == base64.b64decode(item["b64_json"])
    assert item["url"].split("?")[0].endswith(".png")


@pytest.mark.parametrize(
    "path", ["/v1/images/generations/", "/images/generations", PATH + "?api-version=2024-02-01"]
)
def test_every_form_of_the_path_answers(client: Client, path: str) -> None:
    answer = client.post(path, json={"prompt": "a cat"}, follow_redirects=False)
    assert answer.status_code == 200


def test_explicit_formats_answer_that_one_only(client: Client) -> None:
    by_url = post(client, response_format="url").json()["data"][0]
    assert "b64_json" not in by_url
    assert by_url["url"].startswith("http://")
    data = post(client, response_format="b64_json").json()["data"][0]
    assert "url" not in data
    assert data["response_format"] == "png"


@pytest.mark.parametrize(
    ("asked", "format"),
    [
        ({"response_format": "jpg"}, "JPEG"),
        ({"response_format": "png"}, "PNG"),
        ({"response_format": "b64_json", "output_format": "webp"}, "WEBP"),
        (
            {"response_format": "b64_json", "output_format": "jpeg", "output_compression": 20},
            "JPEG",
        ),
    ],
)
def test_encodings(client: Client, asked: dict[str, Any], format: str) -> None:
    item = post(client, **asked).json()["data"][0]
    assert picture(base64.b64decode(item["b64_json"])).format == format


def test_raw_is_rows_of_rgb_with_its_shape(client: Client) -> None:
    item = post(client, response_format="raw", seed=0x0203).json()["data"][0]
    assert (item["width"], item["height"], item["channels"]) == (64, 64, 3)
    assert base64.b64decode(item["b64_json"]) == bytes((3, 2, 0)) * 64 * 64


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_accept_answers_the_bytes_themselves(client: Client, kind: str) -> None:
    answer = client.post(PATH, json={"prompt": "a cat"}, headers={"Accept": f"image/{kind}"})
    assert answer.headers["content-type"] == f"image/{kind}"
    assert picture(answer.content).size == (64, 64)
    assert int(answer.headers["x-seed"]) >= 0


def test_n_pictures_count_seeds_up(client: Client) -> None:
    items = post(client, n="3", seed="5").json()["data"]
    assert [item["seed"] for item in items] == [5, 6, 7]


def test_random_seeds_differ_between_requests(client: Client) -> None:
    seeds = {post(client, seed=value).json()["data"][0]["seed"] for value in (None, -1, None)}
    assert len(seeds) == 3


def test_parameters_of_other_servers_reach_the_job(client: Client, engine: TestEngine) -> None:
    post(
        client,
        steps=3,
        cfg_scale=2.5,
        negative_prompt="dogs",
        size="96*128",
        model="dall-e-3",
        lora={"path": "style", "weight": 0.5},
        prompt_enhancement=True,
        user=None,
    )
    job = engine.jobs[-1]
    assert (job.endpoint, job.num_inference_steps, job.guidance_scale) == ("tiny", 3, 2.5)
    assert (job.width, job.height, job.negative_prompt) == (96, 128, "dogs")
    assert [(use.route, use.scale) for use in job.adapters] == [("style", 0.5)]


def test_adapter_in_the_model_id(client: Client, engine: TestEngine) -> None:
    item = post(client, model="tiny:style").json()["data"][0]
    assert [use.route for use in engine.jobs[-1].adapters] == ["style"]
    assert item["receipt"]["adapters"] == [{"route": "style", "scale": 1.0}]


def test_any_size_where_the_card_resamples(client: Client) -> None:
    answer = post(client, model="resampled", size="1024x512", response_format="b64_json")
    body = answer.json()
    assert (body["size"], body["rendered_size"]) == ("1024x512", "88x48")
    assert answer.headers["x-rendered-size"] == "88x48"
    assert picture(base64.b64decode(body["data"][0]["b64_json"])).size == (1024, 512)


def test_the_png_carries_the_receipt_of_the_answer(client: Client) -> None:
    item = post(client, response_format="b64_json", seed=3).json()["data"][0]
    text = picture(base64.b64decode(item["b64_json"])).text  # type: ignore[attr-defined]
    assert msgspec.json.decode(text["gateway"]) == item["receipt"]
    assert item["receipt"]["prompt"] == "a cat"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": None}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, None, "prompt"),
        ({"prompt": "  "}, "missing_required_parameter", "prompt"),
        ({"prompt": 5}, "invalid_type", "prompt"),
        ({"prompt": "x" * 1001}, "string_above_max_length", "prompt"),
        ({"n": 11}, "integer_above_max_value", "n"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": "two"}, "invalid_type", "n"),
        ({"num_inference_steps": 11}, "integer_above_max_value", "num_inference_steps"),
        ({"steps": 0}, "integer_below_min_value", "num_inference_steps"),
        ({"size": "4096x4096"}, "invalid_value", "size"),
        ({"size": "big"}, "invalid_value", "size"),
        ({"seed": 1.5}, "invalid_type", "seed"),
        ({"seed": 2**64}, "integer_above_max_value", "seed"),
        ({"guidance_scale": 1e9}, "decimal_above_max_value", "guidance_scale"),
        ({"response_format": "gif"}, "invalid_value", "response_format"),
        ({"output_format": "svg"}, "unsupported_value", "output_format"),
        ({"output_compression": 101}, "integer_above_max_value", "output_compression"),
        ({"stream": "perhaps"}, "invalid_type", "stream"),
        ({"stream": True, "partial_images": 4}, "integer_above_max_value", "partial_images"),
        ({"loras": [{"name": "style", "scale": 9}]}, "decimal_above_max_value", "loras[0].scale"),
        ({"loras": [{"scale": 1}]}, "missing_required_parameter", "loras[0].name"),
        ({"n": 1, "num_images": 2}, "invalid_value", "num_images"),
    ],
)
def test_bad_input_is_refused_in_openais_words(
    client: Client, body: dict[str, Any], code: str | None, param: str
) -> None:
    answer = post(client, **body)
    if code is None:
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
    else:
        refused(answer, 400, code, param)


@pytest.mark.parametrize(
    ("model", "named"), [("nothing", "`tiny`"), ("tiny:nothing", "`style`"), ("tiny:", "`style`")]
)
def test_unknown_model_lists_what_exists(client: Client, model: str, named: str) -> None:
    assert named in refused(post(client, model=model), 404, "model_not_found", "model")


def test_a_clients_path_is_no_lora(client: Client) -> None:
    answer = post(client, loras=[{"path": "/etc/passwd"}])
    refused(answer, 404, "model_not_found", "loras[0].name")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"\xff\xfe", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_type"),
        (b"", "application/json", 400, "invalid_json"),
        (b"prompt=x", "application/x-www-form-urlencoded", 415, "unsupported_content_type"),
        (b'{"prompt": "' + b"x" * 200_000 + b'"}', "application/json", 413, "request_too_large"),
    ],
)
def test_bodies_that_are_none(
    client: Client, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = client.post(PATH, content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code


def test_routes_and_methods_that_are_not(client: Client) -> None:
    assert refused(client.post("/v1/foo"), 404, None, None) == "Invalid URL (POST /v1/foo)"
    refused(client.get(PATH), 405, "method_not_supported", None)


def test_every_answer_has_an_id_and_a_time(client: Client) -> None:
    given = client.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    made = client.post(PATH, content=b"{")
    assert made.headers["x-request-id"].startswith("req_")
    assert int(made.headers["openai-processing-ms"]) >= 0


def test_failure_of_ours_is_500_and_not_worth_retrying(client: Client) -> None:
    answer = post(client, prompt="fail")
    refused(answer, 500, "generation_failed", None)
    assert answer.headers["x-should-retry"] == "false"


def test_slow_request_is_kept_alive_by_whitespace(client: Client) -> None:
    answer = post(client, prompt="slow", num_inference_steps=8)
    assert answer.status_code == 200
    assert answer.text.startswith("  ")
    assert answer.json()["data"][0]["b64_json"]


def test_overload_is_429_with_a_time_to_come_back(
    client: Client, engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "max_jobs", 0)
    for stream in (False, True):
        answer = post(client, stream=stream)
        refused(answer, 429, "slow_down", None)
        assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_models_are_listed_with_adapters_and_aliases(client: Client) -> None:
    listed = {model["id"]: model for model in client.get("/models").json()["data"]}
    assert set(listed) == {"tiny", "tiny:style", "resampled", "keyed", "dall-e-3"}
    assert listed["dall-e-3"]["alias_of"] == "tiny"
    assert client.get("/v1/models/tiny%3Astyle").json()["adapter"] == "style"
    assert client.get("/v1/models/tiny:style").json()["id"] == "tiny:style"
    refused(client.get("/v1/models/a%2Fb"), 404, "model_not_found", "model")


def test_a_slow_picture_answered_as_bytes_stays_whole(client: Client) -> None:
    answer = client.post(
        PATH,
        json={"prompt": "slow", "num_inference_steps": 8},
        headers={"Accept": "image/png"},
    )
    assert picture(answer.content).size == (64, 64)


def test_a_transparent_background_where_the_card_says_how(client: Client) -> None:
    body = post(client, model="keyed", background="transparent").json()
    assert body["background"] == "transparent"
    image = picture(base64.b64decode(body["data"][0]["b64_json"]))
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (0, 0)  # the plain picture is all background
    raw = post(client, model="keyed", background="transparent", response_format="raw").json()
    (item,) = raw["data"]
    assert item["channels"] == 4
    assert len(base64.b64decode(item["b64_json"])) == 64 * 64 * 4


@pytest.mark.parametrize("asked", [{"model": "keyed"}, {"background": "transparent"}])
def test_other_backgrounds_are_opaque_and_said_to_be(client: Client, asked: Any) -> None:
    body = post(client, **asked).json()
    assert body["background"] == "opaque"
    assert picture(base64.b64decode(body["data"][0]["b64_json"])).mode == "RGB"


def test_a_transparent_jpeg_is_refused(client: Client) -> None:
    answer = post(client, model="keyed", background="transparent", output_format="jpeg")
    refused(answer, 400, "unsupported_value", "background")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf"])
def test_a_timeout_header_that_is_no_time_is_refused(client: Client, text: str) -> None:
    answer = client.post(PATH, json={"prompt": "a cat"}, headers={"x-request-timeout": text})
    refused(answer, 400, "invalid_value", "X-Request-Timeout")


def test_a_timeout_header_is_the_jobs_deadline(client: Client, engine: TestEngine) -> None:
    before = time.monotonic()
    answer = client.post(PATH, json={"prompt": "a cat"}, headers={"x-request-timeout": "30.5"})
    assert answer.status_code == 200
    deadline = engine.jobs[-1].deadline
    assert deadline
    assert before + 30.5 <= deadline <= time.monotonic() + 30.5
    own = {"prompt": "a cat", "timeout": 60}
    client.post(PATH, json=own, headers={"x-request-timeout": "30"})
    assert (engine.jobs[-1].deadline or 0) > before + 50


@pytest.mark.parametrize("path", ["/openai/v1", "/openai/deployments/tiny"])
def test_azures_paths_are_the_same_routes(client: Client, path: str) -> None:
    url, body = f"{path}/images/generations?api-version=2025-04-01", {"prompt": "a cat"}
    given = {"model": "gone"} if "deployments" in path else {"model": "tiny"}
    drawn = client.post(url, json=body | given, headers={"api-key": "any"})
    assert drawn.status_code == 200
    nobody = client.post("/openai/deployments/nobody/images/generations", json=body)
    refused(nobody, 404, "model_not_found", "model")


def test_ids_whose_pictures_have_no_url_answer_base64_alone(client: Client) -> None:
    for model in ("gpt-image-2.5", "chatgpt-image-latest"):
        (item,) = post(client, model=model).json()["data"]
        assert "url" not in item
        assert item["b64_json"]
        assert "b64_json" not in post(client, model=model, response_format="url").json()["data"][0]
    assert post(client, model="dall-e-3").json()["data"][0]["url"]


def test_an_alias_may_be_a_pattern(client: Client) -> None:
    shown = client.get("/v1/models/gpt-image-1-mini").json()
    assert (shown["id"], shown["alias_of"]) == ("gpt-image-1-mini", "tiny")
    assert "gpt-image-*" not in {model["id"] for model in client.get("/v1/models").json()["data"]}
    message = refused(post(client, model="gpt-4"), 404, "model_not_found", "model")
    assert "`gpt-image-*`" in message


def test_a_safety_identifier_is_said_again(client: Client) -> None:
    answer = post(client, safety_identifier="user-1").json()
    assert answer["safety_identifier"] == "user-1"
    assert answer["warnings"] == []
    assert "safety_identifier" not in post(client).json()


@pytest.mark.parametrize("name", ["image_url", "reference_images", "image"])
def test_a_picture_sent_with_a_prompt_is_edited(
    client: Client, engine: TestEngine, name: str
) -> None:
    data = post(client).json()["data"][0]["b64_json"]
    shown = [data] if name == "reference_images" else data
    answer = post(client, **{name: shown}, strength=0.5)
    assert (answer.status_code, answer.json()["warnings"]) == (200, [])
    assert (len(engine.jobs[-1].images), engine.jobs[-1].strength) == (1, 0.5)
    refused(post(client, **{name: "no picture!"}), 400, "invalid_image", "images[0]")
    assert post(client, mask=data).json()["warnings"]


def test_items_say_which_they_are_and_of_what_kind(client: Client) -> None:
    answer = post(client, n=2, response_format="base64").json()
    assert [(item["index"], item["type"]) for item in answer["data"]] == [
        (0, "b64_json"),
        (1, "b64_json"),
    ]
    assert (answer["model"], answer["object"]) == ("tiny", "list")
    assert post(client, response_format="url").json()["data"][0]["type"] == "url"
