"""What a careful user writes instead: mosec's dynamic batching around `pipe()`.

    python -m tests.benchmarks.batching --address 127.0.0.1 --port PORT

Up to eight requests that came within some milliseconds are one call, where they want the same
steps, size and adapter. The environment says `WEIGHTS`, `ADAPTERS`, `WAIT_MS` and `DEVICE`.
"""

import base64
import email
import json
import os
from collections import defaultdict
from collections.abc import Hashable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from mosec import Server, Worker
from PIL import Image

from tests.benchmarks.bare import BarePipeline
from tests.benchmarks.workload import EDGE

MAX_BATCH = 8
ROUTES = ["/v1/images/generations", "/v1/images/edits"]
TIMEOUT_MS = "600000"
Request = dict[str, Any]


class Painter(Worker):
    """A process with the pipeline."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        bare = BarePipeline(Path(os.environ["WEIGHTS"]), os.environ["DEVICE"])
        self._pipe = bare.pipe
        for file in sorted(Path(os.environ["ADAPTERS"]).glob("*/*.safetensors")):
            self._pipe.load_lora_weights(file, adapter_name=file.stem)
        self._edit = StableDiffusionXLImg2ImgPipeline.from_pipe(self._pipe)
        self._edit.set_progress_bar_config(disable=True)
        self._pipe.disable_lora()
        self._adapter = ""
        bare.draw()

    def deserialize(self, data: bytes) -> Request:
        """JSON, or a form with pictures."""
        return _form(data) if data.startswith(b"--") else json.loads(data)

    def serialize(self, data: bytes) -> bytes:
        """What `forward` made of it."""
        return data

    def forward(self, data: list[Request]) -> list[bytes]:
        """Pictures for requests, those that are alike in one call."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for place, request in enumerate(data):
            groups[_kind(request)].append(place)
        answers = {}
        for places in groups.values():
            images = self._drawn([data[place] for place in places])
            for place, image in zip(places, images, strict=True):
                answers[place] = _answer(data[place], image)
        return [answers[place] for place in range(len(data))]

    @torch.inference_mode()
    def _drawn(self, requests: list[Request]) -> list[Image.Image]:
        _, steps, adapter = _kind(requests[0])
        self._switch_to(adapter)
        shared = {
            "prompt": [request["prompt"] for request in requests],
            "generator": [
                torch.Generator("cpu").manual_seed(int(request.get("seed", 0)))
                for request in requests
            ],
            "num_inference_steps": steps, "guidance_scale": 1.0,
        }
        if "image" in requests[0]:
            images = [request["image"].resize((EDGE, EDGE)) for request in requests]
            strength = float(requests[0].get("strength", 1))
            drawn = self._edit(image=images, strength=strength, **shared)
        else:
            drawn = self._pipe(width=EDGE, height=EDGE, **shared)
        return list(drawn.images)

    def _switch_to(self, adapter: str) -> None:
        """Have an adapter, or none, in place; to change it costs some milliseconds."""
        if adapter == self._adapter:
            return
        if adapter:
            self._pipe.enable_lora()
            self._pipe.set_adapters(adapter)
        else:
            self._pipe.disable_lora()
        self._adapter = adapter


def _kind(request: Request) -> tuple[bool, int, str]:
    """What requests of one call have in common."""
    adapter = str(request.get("model", "")).partition(":")[2]
    return "image" in request, int(request.get("num_inference_steps", 1)), adapter


def _form(data: bytes) -> Request:
    """A form's fields; its pictures as such."""
    boundary = data.split(b"\r\n", 1)[0][2:]
    head = b'Content-Type: multipart/form-data; boundary="' + boundary + b'"\r\n\r\n'
    request: Request = {}
    for part in email.message_from_bytes(head + data).walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            is_file = part.get_filename() is not None
            request[name] = Image.open(BytesIO(content)) if is_file else content.decode()
    return request


def _answer(request: Request, image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "png")
    if request.get("response_format") != "b64_json":
        return out.getvalue()
    return json.dumps({"data": [{"b64_json": base64.b64encode(out.getvalue()).decode()}]}).encode()


if __name__ == "__main__":
    os.environ.setdefault("MOSEC_TIMEOUT", TIMEOUT_MS)
    server = Server()  # type: ignore[no-untyped-call]
    wait = int(os.environ["WAIT_MS"])
    server.append_worker(Painter, max_batch_size=MAX_BATCH, max_wait_time=wait, route=ROUTES)
    server.run()  # type: ignore[no-untyped-call]
