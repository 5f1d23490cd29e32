"""Hugging Face's and Together's clients, each asking for pictures; prints what they got as JSON."""

import base64
import io
import json
import os
import sys
from typing import Any

os.environ.pop("HF_HUB_OFFLINE", None)  # which would not let it ask a gateway either

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from together import NotFoundError, Together

url, key = sys.argv[1:]


def encoded(image: Any) -> str:
    """A picture as base64."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def hugging_face() -> dict[str, Any]:
    """By a model's URL, by the bare one, and from a picture."""
    client = InferenceClient(model=f"{url}/models/tiny:ink", token=key)
    drawn = client.text_to_image("a red apple", width=64, height=64, seed=7, num_inference_steps=3)
    bare = InferenceClient(model=url, token=key).text_to_image("a red apple")
    redrawn = client.image_to_image(base64.b64decode(encoded(drawn)), prompt="a green apple")
    try:
        InferenceClient(model=f"{url}/models/none", token=key).text_to_image("x")
    except HfHubHTTPError as error:
        refused = error.response.status_code
    return {"pictures": [encoded(one) for one in (drawn, bare, redrawn)], "refused": refused}


def together() -> dict[str, Any]:
    """In base64, by URL, with an adapter, and after a picture."""
    client = Together(base_url=url, api_key=key)
    ask: dict[str, Any] = {"model": "tiny", "prompt": "a red apple", "width": 64, "height": 64}
    more = {"steps": 2, "seed": 7, "negative_prompt": "blur", "disable_safety_checker": True}
    loras: Any = [{"path": "ink", "scale": 1.0}]
    drawn = client.images.generate(**ask, **more, response_format="base64", image_loras=loras)
    by_url = client.images.generate(**ask, response_format="url", n=2)
    shown = f"data:image/png;base64,{drawn.data[0].b64_json}"
    redrawn = client.images.generate(**ask, response_format="base64", image_url=shown)
    try:
        client.images.generate(**ask | {"model": "none"})
    except NotFoundError as error:
        refused = error.status_code
    return {
        "pictures": [answer.data[0].b64_json for answer in (drawn, redrawn)],
        "urls": [item.url for item in by_url.data],
        "refused": refused,
    }


print(json.dumps({"hugging_face": hugging_face(), "together": together()}))
