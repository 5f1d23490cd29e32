"""comfy-api-simplified against a gateway: what it gets, as JSON."""

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfy_api_simplified.exceptions import ComfyApiError
from PIL import Image

url, key, graphs = sys.argv[1:]
given = json.loads(graphs)
api = ComfyApiWrapper(url, user="anyone", password=key)


def shown(pictures: dict[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(data).decode() for name, data in pictures.items()}


def refused(act: Any) -> str:
    try:
        act()
    except ComfyApiError as error:
        return str(error)
    return ""


text = ComfyWorkflowWrapper(given["text"])
text.set_node_param("sampler", "seed", 11)
drawn = api.queue_and_wait_images(text, "save")

with tempfile.TemporaryDirectory() as folder:
    red = Path(folder) / "red.png"
    Image.new("RGB", (64, 64), "red").save(red)
    uploaded = api.upload_image(str(red), subfolder="mine")
redraw = ComfyWorkflowWrapper(given["picture"])
redraw.set_node_param("picture", "image", f"{uploaded['subfolder']}/{uploaded['name']}")
redrawn = api.queue_and_wait_images(redraw, "save")

broken = ComfyWorkflowWrapper(given["text"])
broken.set_node_param("sampler", "steps", 5000)

print(
    json.dumps(
        {
            "drawn": shown(drawn),
            "redrawn": shown(redrawn),
            "uploaded": uploaded,
            "queue": api.get_queue(),
            "sampler": api.get_object_info("KSampler"),
            "checkpoints": api.get_object_info("CheckpointLoaderSimple"),
            "system": api.get_system_stats(),
            "embeddings": api.get_embeddings(),
            "interrupted": api.interrupt(),
            "refused": refused(lambda: api.queue_prompt(broken)),
            "stranger": refused(ComfyApiWrapper(url, "anyone", "gw-wrong").get_queue),
        }
    )
)
