"""LiteLLM and LangChain's image wrapper; prints what they got as one JSON object."""

import json
import os
import sys
import warnings

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the prices it ships, not today's

warnings.simplefilter("ignore")

import litellm  # noqa: E402
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper  # noqa: E402

URL, KEY = sys.argv[1:3]
litellm.suppress_debug_info = True


def with_litellm(model: str, **more: object) -> object:
    """What LiteLLM makes of an answer."""
    answer = litellm.image_generation(
        model=f"openai/{model}", prompt="a red apple", api_base=f"{URL}/v1", api_key=KEY, **more
    )
    return [{"url": item.url, "b64_json": item.b64_json} for item in answer.data]


def refused_by_litellm() -> object:
    """The exception LiteLLM makes of an unknown model."""
    try:
        with_litellm("none")
    except litellm.NotFoundError as error:
        return error.status_code
    return None


wrapper = DallEAPIWrapper(
    model="dall-e-2", api_key=KEY, base_url=f"{URL}/v1", size="64x64", n=2, separator=" "
)
result = {
    "litellm": with_litellm("tiny:ink", n=2, size="64x64", seed=7, num_inference_steps=3),
    "litellm_data": with_litellm("dall-e-3", response_format="b64_json", size="64x64"),
    "litellm_refused": refused_by_litellm(),
    "langchain": wrapper.run("a red apple").split(" "),
}
print(json.dumps(result))
