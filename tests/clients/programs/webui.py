"""webuiapi, as it is, with a gateway's address and a key as Basic's password."""

import base64
import io
import json
import sys
from contextlib import redirect_stdout
from typing import Any

import webuiapi  # type: ignore[import-not-found]
from PIL import Image


def encoded(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def main(url: str, key: str) -> dict[str, Any]:
    api = webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1", username="any", password=key, steps=20)
    size = {"width": 64, "height": 64}
    api.set_options({"sd_model_checkpoint": "tiny"})
    plain = api.txt2img(prompt="a red apple", seed=7, cfg_scale=1, **size)
    inked = api.txt2img(prompt="a red apple <lora:ink:1>", seed=7, cfg_scale=1, **size)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    redrawn = api.img2img(
        images=[plain.image],
        mask_image=mask,
        prompt="a green apple",
        seed=8,
        denoising_strength=0.6,
        cfg_scale=1,
        batch_size=2,
        **size,
    )
    try:
        api.txt2img(prompt="x", override_settings={"sd_model_checkpoint": "gone"})
    except RuntimeError as error:
        refused = [error.args[0], json.loads(error.args[1])["detail"]]
    api.util_set_model("slow")
    chosen = api.util_get_current_model()
    api.util_set_model("tiny")
    return {
        "models": api.util_get_model_names(),
        "chosen": chosen,
        "samplers": api.util_get_sampler_names(),
        "schedulers": api.util_get_scheduler_names(),
        "loras": [one["name"] for one in api.get_loras()],
        "embeddings": api.get_embeddings(),
        "ready": api.get_progress()["progress"],
        "stopped": [api.interrupt(), api.skip()],
        "plain": [encoded(image) for image in plain.images],
        "inked": [encoded(image) for image in inked.images],
        "redrawn": [encoded(image) for image in redrawn.images],
        "info": plain.info,
        "parameters": plain.parameters["steps"],
        "png_info": api.png_info(plain.image).info,
        "refused": refused,
    }


with redirect_stdout(sys.stderr):  # it says what it does
    got = main(*sys.argv[1:])
print(json.dumps(got))
