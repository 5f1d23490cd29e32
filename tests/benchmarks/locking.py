"""What people write first: a server that locks around `pipe()`, with Pillow's own PNG.

    python -m tests.benchmarks.locking FOLDER PORT DEVICE THREADS
"""

import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import uvicorn
from litestar import Litestar, Response, get, post
from PIL import Image

from tests.benchmarks.bare import BarePipeline

ONE_AT_A_TIME = threading.Lock()


def locking_app(bare: BarePipeline) -> Litestar:
    """The same route as the gateway's, as far as the benchmark asks it."""

    @post("/v1/images/generations", status_code=200, sync_to_thread=True)
    def generate(data: dict[str, Any]) -> Response[bytes]:
        with ONE_AT_A_TIME:
            image = bare.draw(data["num_inference_steps"], seed=data["seed"])[0]
        out = BytesIO()
        Image.fromarray((image * 255).round().astype("uint8")).save(out, "png")
        return Response(out.getvalue(), media_type="image/png")

    @get("/health/ready", sync_to_thread=False)
    def ready() -> str:
        return "ok"

    return Litestar([generate, ready], openapi_config=None)


if __name__ == "__main__":
    folder, port, device, threads = sys.argv[1:5]
    torch.set_num_threads(int(threads))
    pipeline = BarePipeline(Path(folder), device)
    pipeline.draw()
    uvicorn.run(locking_app(pipeline), port=int(port), log_level="error")
