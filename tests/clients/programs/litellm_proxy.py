"""LiteLLM's proxy between OpenAI's SDK and the gateway; prints what came through it as JSON."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from openai import OpenAI

url, key = sys.argv[1:]
START_SECONDS = 110
CONFIG = {
    "model_list": [
        {
            "model_name": "painter",
            "litellm_params": {"model": "openai/tiny", "api_base": f"{url}/v1", "api_key": key},
            "model_info": {"mode": "image_generation"},
        }
    ],
    "general_settings": {"master_key": "sk-proxy"},
}

with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]
with tempfile.TemporaryDirectory() as folder:
    config = Path(folder) / "config.yaml"
    config.write_text(json.dumps(CONFIG))
    command = [Path(sys.executable).with_name("litellm"), "--config", config]
    command += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    quiet = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    log = Path(folder) / "log"
    with log.open("wb") as file:
        proxy = subprocess.Popen(command, cwd=folder, env=quiet, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/liveliness").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline or proxy.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.2)
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-proxy")
        drawn = client.images.generate(model="painter", prompt="a red apple", size="64x64")
    finally:
        proxy.terminate()
        proxy.wait(30)
print(json.dumps({"pictures": [item.model_dump() for item in drawn.data]}))
