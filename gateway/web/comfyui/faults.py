"""Errors as ComfyUI answers them, and the paths that are its own."""

from typing import Any

from gateway.errors import GatewayError
from gateway.runs.graph.refusal import GraphRefused

API = "/api"
ROOMS = frozenset(
    {
        *("prompt", "history", "queue", "interrupt", "free", "view", "upload", "object_info"),
        *("system_stats", "embeddings", "features", "extensions", "ws"),
    }
)
FOLDERS = {
    "checkpoints": "ckpt_name",
    "diffusion_models": "unet_name",
    "unet": "unet_name",
    "loras": "lora_name",
    "controlnet": "control_net_name",
    "vae": "vae_name",
    "text_encoders": "clip_name",
    "clip": "clip_name",
    "embeddings": "embedding",
}
"""Of models, with the input that takes a file of theirs."""


def both(*paths: str) -> list[str]:
    """Paths as ComfyUI has them: at its root, and behind `/api`."""
    return [prefix + path for prefix in ("", API) for path in paths]


def is_spoken_at(path: str) -> bool:
    """Whether a path is this dialect's; `/models` and `/api/models` are lists of others."""
    room, _, rest = path.removeprefix(API).lstrip("/").partition("/")
    return room in ROOMS or (room == "models" and rest in FOLDERS)


def fault_body(error: GatewayError) -> dict[str, Any]:
    """A fault on the wire; a refused graph's tells of every node."""
    if isinstance(error, GraphRefused):
        return {"error": error.error, "node_errors": error.node_errors}
    told = {
        "type": error.code or error.type,
        "message": error.message,
        "details": error.param or "",
        "extra_info": {},
    }
    return {"error": told, "node_errors": {}}
