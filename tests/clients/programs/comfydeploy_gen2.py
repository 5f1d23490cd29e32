"""The second generation of ComfyDeploy's Python SDK: `URL KEY MODEL`, prints what it saw."""

import json
import sys
import time
from typing import Any

import httpx
from comfydeploy import ComfyDeploy

url, key, model = sys.argv[1:]
sdk = ComfyDeploy(bearer=key, server_url=f"{url}/api")
headers = {"Authorization": f"Bearer {key}"}


def got(response: Any) -> Any:
    """What a response carries beside its HTTP facts."""
    return next(value for name, value in response if name != "http_meta")


def ended(run_id: str) -> Any:
    """A run once it has ended, as the SDK's own object."""
    for _ in range(600):
        run = got(sdk.run.get(run_id=run_id))
        if run.status in ("success", "failed", "timeout", "cancelled"):
            return run
        time.sleep(0.05)
    raise TimeoutError(run_id)


inputs = {"prompt": "a cat", "seed": 42, "num_inference_steps": 2, "size": "64x64"}
seen: dict[str, Any] = {}

run = ended(got(sdk.run.queue(request={"model_id": model, "inputs": inputs})).run_id)
images = [image for output in run.outputs for image in output.data["images"]]
seen["queue"] = {
    "status": run.status,
    "progress": run.progress,
    "pictures": [httpx.get(image.url).headers["content-type"] for image in images],
}

outputs = got(sdk.run.sync(request={"model_id": model, "inputs": inputs}))
seen["sync"] = [image.filename for output in outputs for image in output.data["images"]]

events = []
with got(sdk.run.stream(request={"model_id": model, "inputs": inputs})) as stream:
    for event in stream:
        inner = getattr(event.data, "event", None)
        events.append([event.EVENT, inner if isinstance(inner, str) else None])
seen["stream"] = events

deployed = sdk.run.deployment.queue(request={"deployment_id": model, "inputs": inputs})
seen["deployment"] = ended(got(deployed).run_id).status

graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["4", 0], "seed": 5, "steps": 2, "cfg": 1, "sampler_name": "euler",
            "scheduler": "normal", "positive": ["6", 0], "negative": ["6", 0],
            "latent_image": ["5", 0], "denoise": 1,
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model}},
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "out"}},
}  # fmt: skip
stored = httpx.post(
    f"{url}/api/workflow", json={"name": "cats", "workflow_api": graph}, headers=headers
).json()
stripped = {"workflow_id": stored["workflow_id"], "workflow_api_json": graph, "inputs": {}}
seen["workflow"] = ended(got(sdk.run.workflow.queue(request=stripped)).run_id).status

created = got(
    sdk.deployments.create(
        request={
            "workflow_version_id": stored["workflow_version_id"],
            "workflow_id": stored["workflow_id"],
            "machine_id": "local",
            "environment": "production",
        }
    )
)
seen["created"] = ended(got(sdk.run.queue(request={"deployment_id": created.id})).run_id).status
seen["deployments"] = [
    deployment.id == created.id or deployment.id
    for deployment in got(sdk.deployments.list(environment="production"))
]

slow = {"model_id": "slow", "inputs": {"prompt": "a cat", "num_inference_steps": 2000}}
cancelled = got(sdk.run.queue(request=slow)).run_id
sdk.run.cancel_run_run_run_id_cancel_post(
    run_id=cancelled, cancel_function_body={"function_id": "any"}
)
seen["cancel"] = ended(cancelled).status

seen["models"] = [found.id for found in got(sdk.models.public_models_models_get())]
uploaded = got(
    sdk.file.upload(
        request={"file": {"file_name": "a.png", "content": httpx.get(images[0].url).content}}
    )
)
seen["upload"] = [uploaded.file_name, httpx.get(uploaded.file_url).status_code]
edit = inputs | {"image": uploaded.file_id, "strength": 0.5}
seen["edit"] = ended(got(sdk.run.queue(request={"model_id": model, "inputs": edit})).run_id).status
try:
    sdk.run.get(run_id="unknown")
except Exception as error:
    seen["unknown"] = [getattr(error, "status_code", None), str(error)]
print(json.dumps(seen))
