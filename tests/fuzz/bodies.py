"""Bodies that every dialect takes, and graphs, for requests to be made of."""

import base64
from typing import Any

from tests.images.test_decode import RED, saved
from tests.runs.graph import examples

BOUNDARY = "limes"
PNG = saved(RED.resize((64, 64)), "PNG")
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
HOOK = "http://127.0.0.1:9/hook"
"""Nobody listens there; requests that are mutated must not reach further than this machine."""

CHECKPOINT = "sd_model_checkpoint"
WEBUI = {
    "prompt": "a <lora:style:0.5> cat",
    "negative_prompt": "",
    "seed": -1,
    "steps": 20,
    "cfg_scale": 7,
    "width": 64,
    "height": 64,
    "batch_size": 1,
    "n_iter": 2,
    "sampler_name": "Euler",
    "scheduler": "Karras",
    "enable_hr": True,
    "hr_scale": 1.5,
    "restore_faces": False,
    "alwayson_scripts": {"ADetailer": {"args": [{"ad_model": "None"}]}},
}
REDRAWN = {
    "init_images": [DATA_URL],
    "mask": DATA_URL,
    "mask_blur": 4,
    "denoising_strength": 0.5,
    "inpainting_mask_invert": 1,
    "resize_mode": 1,
}
ENDPOINT = {"name": "mine", "url": HOOK, "event_types": ["batch.completed", "batch.failed"]}
GENERATION = {
    "prompt": "a cat",
    "n": 1,
    "size": "64x64",
    "quality": "low",
    "background": "auto",
    "output_format": "png",
    "output_compression": 90,
    "response_format": "b64_json",
    "stream": False,
    "partial_images": 1,
    "seed": 7,
    "num_inference_steps": 1,
    "guidance_scale": 1.0,
    "negative_prompt": "blur",
    "loras": [],
    "user": "u",
    "style": "vivid",
    "moderation": "low",
    "scheduler": None,
    "timeout": 30,
}
ALIASED = {
    "prompt": "a cat",
    "steps": 1,
    "cfg_scale": 1.0,
    "num_images": 1,
    "width": 64,
    "height": 64,
    "lora": [],
    "strength": 0.5,
    "true_cfg_scale": 1.0,
}
CONTAINER = {
    "prompt": "a cat",
    "num_inference_steps": 20,
    "guidance_scale": 0.0,
    "response_format": "jpeg",
}
SPEAKEASY = ((b"user-agent", b"speakeasy-sdk/python 0.16.3 2.950.2 0.1.0 friendli-core"),)
RUN = {
    "inputs": {"prompt": "a cat", "seed": 3, "num_inference_steps": 1},
    "inputs_json": '{"n": 1}',
    "machine_id": "local",
    "gpu": "A10G",
    "timeout": 30,
    "run_origin": "api",
    "webhook_intermediate_status": False,
    "concurrency_limit": 3,
    "flags": [],
    "gpu_event_id": "e",
    "is_native_run": False,
    "batch_number": 1,
}


def graph(model: str, **sampler: Any) -> dict[str, Any]:
    """A graph that the endpoint can draw."""
    given = {"steps": 1, "cfg": 1, "sampler_name": "euler", "scheduler": "normal"} | sampler
    found = examples.text_to_image(**given)
    found["4"]["inputs"]["ckpt_name"] = model
    found["5"]["inputs"] = {"width": 64, "height": 64, "batch_size": 1}
    return found


def filled_graph(model: str) -> dict[str, Any]:
    """A graph with inputs that requests fill."""
    found = examples.deployed() | {"5": graph(model)["5"]}
    found["3"]["inputs"] |= {"cfg": 1, "scheduler": "normal"}
    found["33"]["inputs"]["default_value"] = model
    found["32"]["inputs"]["default_value"] = 1
    return found


def picture_graph(model: str, file: str) -> dict[str, Any]:
    """A graph that redraws an uploaded picture, changed on the way."""
    found = examples.image_to_image()
    found["4"]["inputs"]["ckpt_name"] = model
    found["3"]["inputs"] |= {"steps": 1, "cfg": 1, "sampler_name": "euler"}
    found["10"]["inputs"]["image"] = file
    scale = {
        "image": ["10", 0],
        "upscale_method": "area",
        "width": 64,
        "height": 0,
        "crop": "disabled",
    }
    found["11"] = examples.node("ImageScale", **scale)
    found["13"] = examples.node("ImageBatch", image1=["11", 0], image2=["11", 0])
    found["12"]["inputs"]["pixels"] = ["13", 0]
    return found
