"""The first generation of ComfyDeploy's Python SDK: `URL KEY MODEL`, prints what it saw."""

import json
import sys
import time
from typing import Any

import httpx
from comfydeploy import ComfyDeploy

url, key, model = sys.argv[1:]
sdk = ComfyDeploy(bearer_auth=key, server_url=f"{url}/api")


def ended(run_id: str) -> Any:
    """A run once it has ended, as the SDK's own object."""
    for _ in range(600):
        run = sdk.run.get(run_id=run_id).object
        if run.status.value in ("success", "failed", "timeout", "cancelled"):
            return run
        time.sleep(0.05)
    raise TimeoutError(run_id)


def graph(**sampler: Any) -> dict[str, Any]:
    """The graph that ComfyUI opens with, at the small model's size."""
    given = {
        "model": ["4", 0], "seed": 5, "steps": 2, "cfg": 1, "sampler_name": "euler",
        "scheduler": "normal", "positive": ["6", 0], "negative": ["6", 0],
        "latent_image": ["5", 0], "denoise": 1,
    }  # fmt: skip
    prompt = {"text": ["10", 0], "clip": ["4", 1]}
    return {
        "3": {"class_type": "KSampler", "inputs": given | sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model}},
        "5": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1},
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": prompt},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "out"}},
        "10": {
            "class_type": "ComfyUIDeployExternalText",
            "inputs": {"input_id": "prompt", "default_value": "a cat"},
        },
    }


def pictures(run: Any) -> list[str]:
    """The content types of a run's pictures, fetched."""
    images = [image for output in run.outputs for image in output.data.images]
    return [httpx.get(image.url).headers["content-type"] for image in images]


seen: dict[str, Any] = {}
inputs = {"prompt": "a cat", "seed": 42, "num_inference_steps": 2, "size": "64x64"}
created = sdk.run.create(request={"deployment_id": model, "inputs": inputs})
run = ended(created.object.run_id)
seen["deployment"] = {
    "status": run.status.value,
    "progress": run.progress,
    "pictures": pictures(run),
}

batch = {"deployment_id": model, "inputs": inputs, "batch_number": 3}
created = sdk.run.create(request=batch)
seen["batch"] = ended(created.object.run_id).status.value
answer = httpx.get(f"{url}/api/run/{created.object.run_id}", headers={"x-api-key": key}).json()
found = httpx.get(f"{url}/api/batch/{answer['batch_id']}", headers={"x-api-key": key}).json()
seen["batch_seeds"] = [each["workflow_inputs"]["seed"] for each in found["runs"]]

created = sdk.run.create(request={"workflow_api": graph(), "inputs": {"prompt": "a dog"}})
seen["graph"] = ended(created.object.run_id).status.value
created = sdk.run.create(
    request={"workflow_api_json": json.dumps(graph()), "inputs_json": '{"prompt": "a bird"}'}
)
seen["graph_text"] = ended(created.object.run_id).status.value

try:
    sdk.run.create(request={"workflow_api": graph(steps=99)})
except Exception as error:
    seen["refusal"] = str(error)

stored = sdk.workflows.create(request={"workflow_name": "cats", "workflow_json": graph()})
workflow_id = stored.object.workflow_id
version = {"workflow_id": workflow_id, "workflow_api": graph()}
httpx.post(f"{url}/api/workflow", json=version, headers={"x-api-key": key}).raise_for_status()
created = sdk.run.create(request={"workflow_id": workflow_id, "inputs": {"prompt": "a fox"}})
seen["workflow"] = ended(created.object.run_id).status.value
seen["workflows"] = [row.name for row in sdk.workflows.get_all(search="cats").response_bodies]
seen["workflow_outputs"] = sdk.workflows.get_outputs(
    request={"workflow_id": workflow_id}
).object.total

offers = sdk.deployment.get(environment="production").response_bodies
seen["deployments"] = [getattr(offer, "name", "unnamed") for offer in offers]
definitions = sdk.deployment.get_input_definition(id=model).response_bodies
seen["inputs"] = [definition.input_id for definition in definitions]

png = httpx.get(run.outputs[0].data.images[0].url).content
place = sdk.files.get_upload_url(type_="image/png", file_size=str(len(png))).object
seen["put"] = httpx.put(place.upload_url, content=png).status_code
seen["uploaded"] = httpx.get(place.download_url).content == png
edit = inputs | {"image": place.download_url, "strength": 0.5}
created = sdk.run.create(request={"deployment_id": model, "inputs": edit})
again = ended(created.object.run_id)
seen["edit"] = again.status.value
print(json.dumps(seen))
