"""LiteLLM editing and varying; prints what it got as one JSON object."""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the prices it ships, not today's

warnings.simplefilter("ignore")

import litellm  # noqa: E402

URL, KEY, PICTURE = sys.argv[1:4]
litellm.suppress_debug_info = True
server = {"api_base": f"{URL}/v1", "api_key": KEY}

with Path(PICTURE).open("rb") as picture, Path(PICTURE).open("rb") as mask:
    edited = litellm.image_edit(
        model="openai/tiny", image=picture, mask=mask, prompt="a red apple", size="64x64", **server
    )
with Path(PICTURE).open("rb") as picture:
    varied = litellm.image_variation(model="openai/tiny", image=picture, **server)
result = {
    "edited": [item.b64_json for item in edited.data],
    "varied": [item.b64_json for item in varied.data],
}
print(json.dumps(result))
