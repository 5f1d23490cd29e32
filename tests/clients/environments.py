"""Clients from the registries, each in an environment of its own, installed once.

They lie in `CLIENTS_CACHE`, or else in pytest's cache folder.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from tests.programs import program

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("CLIENTS_CACHE") or ROOT / ".pytest_cache" / "clients")
SECONDS = 120
COMPILING = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""What clients run in: what they import is compiled then, and once, not all that is installed."""

PYTHON = {
    "friendli-0.7": ("friendli==0.7.4",),
    "friendli-0.16": ("friendli==0.16.3",),
    **{
        f"comfydeploy-{version}": (f"comfydeploy=={version}",)
        for version in ("0.7.0", "0.6.3", "0.4.1", "0.3.4")
    },
    "comfy": ("comfy-sdk==0.5.0",),
    "agents": (
        "openai-agents==0.24.0",
        "pydantic-ai-slim[openai]==2.68.0",
        "langchain-openai==1.7.4",
    ),
    "comfyui": ("comfy-api-simplified==1.6.0", "pillow==12.0.0"),
    "hubs": ("huggingface_hub==2.4.0", "pillow==12.0.0", "together==3.1.1"),
    "webui": ("webuiapi==0.9.17", "pillow==12.0.0"),
    "open-webui": ("open-webui==0.12.4",),
    "aiperf": ("aiperf==0.13.0",),
    "wrappers": ("litellm[proxy]==1.106.2", "langchain-community==0.4.2"),
}
# Node's own package, since these clients ask for a newer one than distributions carry.
NODE = {
    f"node-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64'}": "22.23.3",
    "openai": "7.57.0",
    "ai": "7.0.173",
    "@ai-sdk/openai": "4.0.118",
    "@ai-sdk/openai-compatible": "3.0.92",
    "@comfyorg/sdk": "0.1.9",
    "@langchain/core": "1.4.0",
    "@langchain/openai": "1.6.0",
    "@saintno/comfyui-sdk": "0.3.1",
    "comfydeploy-old": "npm:comfydeploy@0.0.19",
    "comfydeploy-new": "npm:comfydeploy@2.0.0-beta.69",
}


def run_python(environment: str, source: Path, *arguments: str) -> object:
    """Run a script with a client's Python and return the JSON it printed."""
    return _printed([str(python_of(environment)), str(source), *arguments])


def python_of(environment: str) -> Path:
    """A client's Python."""
    requirements = PYTHON[environment]

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        _run([*pip, "install", "--quiet", "--no-compile", *requirements])

    return _installed(environment, " ".join(requirements), install) / "bin" / "python"


def run_node(source: Path, *arguments: str) -> object:
    """Run a module with Node's clients beside it and return the JSON it printed."""
    npm = program("npm", package="npm")
    package = json.dumps({"private": True, "type": "module", "dependencies": NODE})

    def install(folder: Path) -> None:
        folder.mkdir()
        (folder / "package.json").write_text(package)
        _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder)])

    folder = _installed("node", package, install)
    node = folder / "node_modules" / next(iter(NODE)) / "bin" / "node"
    beside = shutil.copy(source, folder)  # a module's imports are looked up from its place
    return _printed([str(node), str(beside), *arguments])


def _installed(name: str, content: str, install: Callable[[Path], None]) -> Path:
    """The folder of an environment, installed again unless it was finished before."""
    folder = CACHE / f"{name}-{sha256(content.encode()).hexdigest()[:12]}"
    done = folder / "installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            install(folder)
            done.touch()
    return folder


def _printed(command: list[str]) -> object:
    result: object = json.loads(_run(command, seconds=SECONDS))
    return result


def _run(command: list[str], seconds: int = 900) -> str:
    done = subprocess.run(
        command, env=COMPILING, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
