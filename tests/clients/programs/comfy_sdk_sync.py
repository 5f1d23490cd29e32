"""Comfy's Python SDK, synchronous: `URL KEY MODEL`, prints what it saw."""

import json
import os
import sys
from typing import Any

url, key, model = sys.argv[1:]
os.environ |= {"COMFY_BASE_URL": url, "COMFY_ROUTER_BASE_URL": url, "COMFY_API_KEY": key}

from comfy_sdk import Comfy, exceptions, router_exceptions  # noqa: E402
from comfy_sdk.events import OutputReady, Progress  # noqa: E402

client = Comfy()


def graph(name: str, steps: int, **more: Any) -> Any:
    """A workflow of seven nodes."""
    nodes = {
        "3": {"class_type": "KSampler", "inputs": {
            "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0],
            "latent_image": ["5", 0], "seed": 42, "steps": steps, "cfg": 1,
            "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        }},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {
            "width": 64, "height": 64, "batch_size": 1,
        }},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "c"}},
    }
    return client.workflows.from_json(nodes | more)


def redrawing(asset: Any) -> Any:
    """A workflow that redraws a picture."""
    found = graph(model, 2)
    found.json["10"] = {"class_type": "LoadImage", "inputs": {}}
    found.json["11"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    found.set_input("10", "image", asset)
    found.set_input("3", "latent_image", ["11", 0])
    found.set_input("3", "denoise", 0.5)
    return found


def refused(act: Any) -> str:
    """The class of what an act raises."""
    try:
        act()
    except (exceptions.ComfyError, router_exceptions.RouterError) as error:
        return type(error).__name__
    return "nothing"


seen: dict[str, Any] = {}
job = client.run(graph(model, 2))
output = job.get_outputs("9")[0]
data = output.to_bytes()
seen["job"] = [job.status, output.name, output.content_type, output.type]
seen["whole"] = len(data) == output.size_bytes
seen["range"] = output.to_bytes(range=(0, 3)) == data[:4]
link = output.get_download_url()
seen["link"] = link.url
workflow = job.get_workflow()
seen["workflow"] = [workflow.format, sorted(workflow.graph)]

job = client.submit(graph(model, 8), metadata={"client": "acme"})
told = list(job.events())
seen["events"] = [type(event).__name__ for event in told]
seen["last"] = told[-1].status
progress = [event for event in told if isinstance(event, Progress)]
seen["progress"] = [progress[-1].nodes_total, progress[-1].current_node]
made = next(event.output for event in told if isinstance(event, OutputReady))
seen["made"] = made.to_bytes()[:4].hex()
seen["listed"] = [found.id == job.id for found in client.list_jobs(metadata={"client": "acme"})]
seen["pages"] = len({found.id for found in client.list_jobs(limit=1)}) >= 2
seen["labels"] = client.jobs.get(job.id).metadata

named = os.urandom(8).hex()
first = client.submit(graph(model, 2), idempotency_key=named)
seen["again"] = client.submit(graph(model, 2), idempotency_key=named).id == first.id
seen["reuse"] = refused(lambda: client.submit(graph(model, 3), idempotency_key=named))

slow = client.submit(graph("slow", 2000))
seen["cancel"] = slow.cancel().status
seen["cancelled"] = slow.wait(timeout=30).status
try:
    slow.result()
except exceptions.JobFailed:
    seen["result"] = "JobFailed"

asset = client.assets.from_bytes(data, filename="a.png")
seen["edit"] = client.run(redrawing(asset)).status
twin = client.assets.from_bytes(data, filename="b.png")
twin.commit()
seen["assets"] = [asset.created_new, twin.created_new, twin.id != asset.id, asset.hash == twin.hash]
seen["asset"] = client.assets.get(asset.id).file_path
asset_url = asset.get_download_url().url
old = asset.id
asset.delete()
seen["deleted"] = refused(lambda: client.assets.get(old))
seen["refused"] = [
    refused(lambda: client.submit(graph(model, 2, **{"1": {"class_type": "X", "inputs": {}}}))),
    refused(lambda: client.submit(redrawing({"__type": "core/ASSET", "info": {"id": old}}))),
    refused(lambda: client.jobs.get("none")),
    refused(lambda: Comfy(api_key="wrong").jobs.get("none")),
]

arguments = {"prompt": "a cat", "num_inference_steps": 2, "size": "64x64", "seed": 3}
seen["model"] = client.models.run(f"local/{model}", arguments)["data"][0]["seed"]
handle = client.models.submit(f"local/{model}", arguments)
seen["queued"] = handle.get(timeout=60)["data"][0]["seed"]
endless = client.models.submit("local/slow", {"prompt": "a", "num_inference_steps": 2000})
endless.cancel()
seen["stopped"] = refused(lambda: endless.get(timeout=60))
seen["catalogue"] = [entry.id for entry in client.models.list(limit=1)]
seen["schema"] = "openapi" in client.models.schema(f"local/{model}").document
seen["unknown"] = refused(lambda: client.models.run("local/none", arguments))
print(json.dumps(seen))
