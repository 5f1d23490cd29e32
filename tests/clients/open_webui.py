"""Open WebUI's own server with each of its engines that can reach a gateway.

`python -m tests.clients.open_webui` installs it (a gigabyte and more, hence not in the suite),
starts a gateway with the bundled model and Open WebUI before it, and asks for a picture through
`openai`, `automatic1111` and `comfyui`, as its users' chats do. It ends with 1 where one of them
gets none. With an argument, that `open-webui` command is used instead of installing one.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
from PIL import Image

from tests.clients.environments import python_of
from tests.runs.graph.examples import text_to_image
from tests.serving import Server, free_port, new_key, serving

START_SECONDS = 300
MODEL = "emoji"
SIZE = "128x128"
ENGINES = ("openai", "automatic1111", "comfyui")
ALONE = {
    "WEBUI_AUTH": "False",
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "ENABLE_OLLAMA_API": "False",
    "ENABLE_OPENAI_API": "False",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
    "WEBUI_SECRET_KEY": "of a test",
}
"""Its settings that have it ask nobody else."""


@contextmanager
def open_webui(command: str, folder: Path) -> Iterator[httpx.Client]:
    """Its server for as long as the block lasts, asked as its only user."""
    port = free_port()
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [command, "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | ALONE | {"DATA_DIR": str(folder)},
            cwd=folder,
            stdout=out,
            stderr=out,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            _wait_for(client, process, log)
            nobody = {"email": "", "password": ""}
            signed_in = client.post("/api/v1/auths/signin", json=nobody).raise_for_status().json()
            client.headers["Authorization"] = f"Bearer {signed_in['token']}"
            yield client
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"Open WebUI did not answer:\n{log.read_text()[-4000:]}")


def settings(engine: str, gateway: Server) -> dict[str, Any]:
    """Its admin settings for pictures: the lines that point an engine at a gateway."""
    workflow = text_to_image(steps=4, cfg=1)
    nodes = {"model": ("ckpt_name", "4"), "prompt": ("text", "6"), "width": ("width", "5"),
             "height": ("height", "5"), "steps": ("steps", "3"), "seed": ("seed", "3")}
    return {
        "ENABLE_IMAGE_GENERATION": True,
        "IMAGE_GENERATION_ENGINE": engine,
        "IMAGE_GENERATION_MODEL": MODEL,
        "IMAGE_SIZE": SIZE,
        "IMAGE_STEPS": 50,
        "IMAGES_OPENAI_API_BASE_URL": f"{gateway.url}/v1",
        "IMAGES_OPENAI_API_KEY": gateway.key,
        "AUTOMATIC1111_BASE_URL": gateway.url,
        "AUTOMATIC1111_API_AUTH": f"any:{gateway.key}",
        "COMFYUI_BASE_URL": gateway.url,
        "COMFYUI_API_KEY": gateway.key,
        "COMFYUI_WORKFLOW": msgspec.json.encode(workflow).decode(),
        "COMFYUI_WORKFLOW_NODES": [
            {"type": kind, "key": key, "node_ids": [node]} for kind, (key, node) in nodes.items()
        ],
    }


def picture(client: httpx.Client, engine: str, gateway: Server) -> Image.Image:
    """What a chat shows when it asks for a picture."""
    told = client.get("/api/v1/images/config").raise_for_status().json()
    told |= settings(engine, gateway)
    if engine == "comfyui":
        told["IMAGE_STEPS"] = 4  # a graph says itself how many, and means it
    client.post("/api/v1/images/config/update", json=told).raise_for_status()
    asked = {"prompt": "a red apple"}
    answer = client.post("/api/v1/images/generations", json=asked)
    answer.raise_for_status()
    (shown,) = answer.json()
    return Image.open(BytesIO(client.get(shown["url"]).raise_for_status().content))


def main() -> int:
    """Ask through each engine and say how it went."""
    own = python_of("open-webui").with_name("open-webui") if len(sys.argv) < 2 else sys.argv[1]
    faults = 0
    with tempfile.TemporaryDirectory() as place:
        data, web = Path(place, "gateway"), Path(place, "open-webui")
        data.mkdir()
        web.mkdir()
        with (
            serving(data, MODEL, key=new_key(data)) as gateway,
            open_webui(str(own), web) as client,
        ):
            for engine in ENGINES:
                try:
                    drawn = picture(client, engine, gateway)
                except httpx.HTTPStatusError as error:
                    faults += 1
                    print(f"{engine}: {error.response.status_code} {error.response.text[:300]}")
                    continue
                print(f"{engine}: a picture of {drawn.width}x{drawn.height}")
            log = (web / "log").read_text()[-3000:]
    if faults:
        print(log)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
