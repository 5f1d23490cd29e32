"""What can be put into a graph: nodes with what they take, models by their files' names."""

import math
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from litestar import Request, get
from litestar.params import FromPath

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog, Model
from gateway.runs.graph.definition import Definition, Input
from gateway.runs.graph.names import checkpoint_names, lora_names
from gateway.runs.graph.seeds import SEED_INPUTS
from gateway.runs.graph.table import TABLE
from gateway.runs.runs import Runs
from gateway.web.comfyui.faults import FOLDERS, both
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.asking import Asker, Asking, House

AnyRequest = Request[Any, Any, Any]
Choices = dict[str, list[str]]
LATEST_UPLOADS = 500
FEATURES = {"supports_preview_metadata": False, "max_upload_size": 250 * 2**20}


@get(both("/object_info"), operation_class=of_runs())
async def list_nodes(runs: House, asker: Asking) -> dict[str, Any]:
    """Every class of nodes that runs here."""
    choices = await _choices(runs, asker)
    return {name: _node(name, definition, choices) for name, definition in TABLE.items()}


@get(both("/object_info/{node_class:str}"), operation_class=of_runs())
async def get_node(runs: House, asker: Asking, node_class: FromPath[str]) -> dict[str, Any]:
    """One class of nodes; nothing for any that does not run here."""
    if node_class not in TABLE:
        return {}
    choices = await _choices(runs, asker)
    return {node_class: _node(node_class, TABLE[node_class], choices)}


@get(both("/embeddings"), operation_class=of_runs())
async def list_embeddings(runs: House, asker: Asking) -> list[str]:
    """The words that embeddings are written by."""
    return (await _choices(runs, asker))["embedding"]


@get(both("/system_stats"), operation_class=of_runs())
async def get_system(runs: House, asker: Asking) -> dict[str, Any]:
    """The machine, as far as every key may know it."""
    page = os.sysconf("SC_PAGE_SIZE")
    loaded = runs.performer.equipment.engine.status().loaded
    device = loaded[0].device if loaded else "cpu"
    memory = {"vram_total": 0, "vram_free": 0, "torch_vram_total": 0, "torch_vram_free": 0}
    return {
        "system": {
            "os": platform.system().lower(),
            "ram_total": page * os.sysconf("SC_PHYS_PAGES"),
            "ram_free": page * os.sysconf("SC_AVPHYS_PAGES"),
            "comfyui_version": f"image-gateway {version('image-gateway')}",
            "python_version": sys.version,
            "pytorch_version": version("torch"),
            "embedded_python": False,
            "argv": [],
        },
        "devices": [{"name": device, "type": device.partition(":")[0], "index": 0} | memory],
    }


@get(both("/features"), operation_class=of_runs())
async def get_features(asker: Asking) -> dict[str, Any]:
    """What the websocket and the uploads can do."""
    return FEATURES


@get(both("/extensions"), operation_class=of_runs())
async def list_extensions(asker: Asking) -> list[str]:
    """There is no editor here to be extended."""
    return []


# Whole paths, since others' lists of models stand at those above them.
@get(both(*(f"/models/{folder}" for folder in FOLDERS)), operation_class=of_runs())
async def list_files(request: AnyRequest, runs: House, asker: Asking) -> list[str]:
    """The files of a folder of models, by the names that graphs call them by."""
    folder = request.scope["path"].rpartition("/")[2]
    return (await _choices(runs, asker))[FOLDERS[folder]]


async def _choices(runs: Runs, asker: Asker) -> Choices:
    """The files that inputs take, by the inputs' names."""
    uploads = await runs.library.pictures(asker.owner, LATEST_UPLOADS)
    return _served(runs.catalog, asker) | {"image": uploads}


def _served(catalog: Catalog, asker: Asker) -> Choices:
    """Those of models, as far as a key may use them. Endpoints bring text encoders and VAEs."""
    cards = [card for card in catalog.endpoints.values() if asker.may(Model(card))]

    def of_all(names: Callable[[EndpointCard], list[str]]) -> list[str]:
        return list(dict.fromkeys(name for card in cards for name in names(card)))

    own = of_all(lambda card: checkpoint_names([card]))
    files = dict.fromkeys(("ckpt_name", "unet_name", "vae_name"), own)
    files |= dict.fromkeys(("clip_name", "clip_name1", "clip_name2", "clip_name3"), own)
    return files | {
        "lora_name": of_all(lambda card: lora_names(catalog, [card])),
        "control_net_name": of_all(lambda card: catalog.controls_of(card.id)),
        "embedding": of_all(lambda card: catalog.words(card.id)),
    }


def _node(name: str, definition: Definition, choices: Choices) -> dict[str, Any]:
    """A class of nodes as ComfyUI tells of it."""
    told = {
        input: _input(input, given, choices, is_seed=SEED_INPUTS.get(name) == input)
        for input, given in definition.inputs.items()
    }
    required = {key: told[key] for key, given in definition.inputs.items() if given.is_required}
    optional = {key: told[key] for key in told if key not in required}
    inputs = {"required": required} | ({"optional": optional} if optional else {})
    return {
        "input": inputs,
        "input_order": {part: list(names) for part, names in inputs.items()},
        "output": list(definition.outputs),
        "output_is_list": [False] * len(definition.outputs),
        "output_name": list(definition.outputs),
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "nodes",
        "category": "gateway",
        "output_node": definition.is_output,
    }


def _input(name: str, given: Input, choices: Choices, *, is_seed: bool) -> list[Any]:
    """An input's type or choices, and what an editor needs to know of its values."""
    told: dict[str, Any] = {}
    if given.is_literal and isinstance(given.default, str | int | float):
        told["default"] = given.default
    if given.type in ("INT", "FLOAT"):
        told |= {key: bound for key, bound in (("min", given.min), ("max", given.max))
                 if math.isfinite(bound)}  # fmt: skip
    if is_seed:
        told["control_after_generate"] = True
    if name == "image" and given.type == "STRING":
        return [choices[name], {"image_upload": True}]
    if given.type == "STRING":
        told["multiline"] = given.max_characters == math.inf
    if given.type == "COMBO":
        return [list(choices.get(name, []) if given.options is None else given.options), told]
    return [given.type, told]


ROUTES = [
    *(list_nodes, get_node, list_embeddings, get_system, get_features, list_extensions),
    list_files,
]
