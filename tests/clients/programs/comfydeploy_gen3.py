"""The third generation of ComfyDeploy's Python SDK: `URL KEY MODEL`, prints what it saw."""

import json
import sys
import time
from typing import Any

import httpx
from comfydeploy import ComfyDeploy

url, key, model = sys.argv[1:]
sdk = ComfyDeploy(bearer=key, server_url=f"{url}/api")


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
queued = sdk.run.deployment.queue(request={"deployment_id": model, "inputs": inputs})
run = ended(got(queued).run_id)
images = [image for output in run.outputs for image in output.data["images"]]

slow = {"deployment_id": "slow", "inputs": {"prompt": "a cat", "num_inference_steps": 2000}}
cancelled = got(sdk.run.deployment.queue(request=slow)).run_id
sdk.run.cancel(run_id=cancelled)
print(
    json.dumps(
        {
            "status": run.status,
            "progress": run.progress,
            "pictures": [httpx.get(image.url).headers["content-type"] for image in images],
            "cancel": ended(cancelled).status,
        }
    )
)
