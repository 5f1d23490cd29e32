"""Inputs that a request fills: how values get into a graph, and out of it into its links."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.outside.documents import decode_json
from gateway.outside.inline import source_of
from gateway.outside.spelling import is_absent
from gateway.runs.graph.imaging import gathered
from gateway.runs.graph.literals import is_link
from gateway.runs.graph.offers import UNUSED
from gateway.runs.graph.refusal import NodeFault, not_in_list, out_of_range
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Picture

PREFIX = "ComfyUIDeployExternal"
LIVE = "ComfyDeployWebscoketImageInput"
"""What an editor fills over its websocket (upstream spells it so); here requests do, by URL."""

FIELDS = {
    f"{PREFIX}Lora": "lora_url",
    f"{PREFIX}Image": "default_value_url",
    f"{PREFIX}ImageAlpha": "default_value_url",
    f"{PREFIX}ImageBatch": "images",
    f"{PREFIX}File": "file_url",
    LIVE: "default_value_url",
}
"""Where a request's value goes, for the classes where it is not `default_value`."""

PICTURES = (f"{PREFIX}Image", f"{PREFIX}ImageAlpha", LIVE)
DEFAULT_IDS = {
    f"{PREFIX}Number": "input_number",
    f"{PREFIX}NumberInt": "input_number",
    f"{PREFIX}NumberSlider": "input_number_slider",
    f"{PREFIX}NumberSliderInt": "input_number_slider",
    f"{PREFIX}Image": "input_image",
    f"{PREFIX}ImageAlpha": "input_image",
    f"{PREFIX}ImageBatch": "input_images",
    f"{PREFIX}File": "input_file",
}
"""The names that inputs go by where the graph does not name them; the rest: input_text."""

KINDS = {
    f"{PREFIX}Number": "float",
    f"{PREFIX}NumberSlider": "float",
    f"{PREFIX}NumberInt": "integer",
    f"{PREFIX}NumberSliderInt": "integer",
    f"{PREFIX}Seed": "integer",
    f"{PREFIX}Boolean": "boolean",
}


def external_nodes(graph: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The nodes a request may fill: node id, input id, node."""
    for id, node in graph.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        if isinstance(kind, str) and (kind.startswith(PREFIX) or kind == LIVE):
            given = node.get("inputs") or {}
            yield id, str(given.get("input_id") or DEFAULT_IDS.get(kind, "input_text")), node


def substitute(graph: dict[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with a request's inputs filled in, in one pass from the original ids.

    Names that no node goes by are ignored, as they are upstream.
    """
    filled = copy.deepcopy(graph)
    for id, input_id, node in external_nodes(graph):
        kind = node["class_type"]
        if input_id in inputs and not (kind in KINDS and is_absent(inputs[input_id])):
            field, value = FIELDS.get(kind, "default_value"), inputs[input_id]
            value = (source_of(value) or value) if kind in PICTURES else value
            value = {"__value__": value} if isinstance(value, list) else value
            filled[id].setdefault("inputs", {})[field] = value
    return filled


class InputDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input that a workflow offers."""

    type: str
    class_type: str
    input_id: str
    default_value: Any = None
    min_value: float | None = None
    max_value: float | None = None
    display_name: str = ""
    description: str = ""
    enum_options: list[str] | None = None


def definitions(graph: Mapping[str, Any]) -> list[InputDefinition]:
    """The inputs that a workflow offers, in the order of its nodes."""
    found = []
    for _, input_id, node in external_nodes(graph):
        given, kind = node.get("inputs") or {}, node["class_type"]
        default = given.get(FIELDS.get(kind, "default_value"))
        found.append(
            InputDefinition(
                type=KINDS.get(kind, "string"),
                class_type=kind,
                input_id=input_id,
                default_value=None if is_link(default) else default,
                min_value=given.get("min_value"),
                max_value=given.get("max_value"),
                display_name=str(given.get("display_name") or ""),
                description=str(given.get("description") or ""),
                enum_options=_options(given) if kind == f"{PREFIX}Enum" else None,
            )
        )
    return found


def value(node: Node, scope: Scope) -> tuple[Any]:
    """Text, numbers and truth values are their value."""
    return (node["default_value"],)


def slider(node: Node, scope: Scope) -> tuple[Any]:
    """A number between the graph's own bounds."""
    _check_bounds(node)
    return (node["default_value"],)


def seed(node: Node, scope: Scope) -> tuple[int]:
    """A seed between the graph's bounds; -1 is drawn."""
    low, high = node["min_value"], node["max_value"]
    if low > high:
        raise node.refuse("min_value", f"it is above max_value, which is {high}")
    if node["default_value"] == -1:
        return (low + scope.draw_seed(node.id) % (high - low + 1),)
    _check_bounds(node)
    return (node["default_value"],)


def choice(node: Node, scope: Scope) -> tuple[str]:
    """One of the graph's own options."""
    options = _options(node.values)
    if options and node["default_value"] not in options:
        raise NodeFault(not_in_list("default_value", node["default_value"], options))
    return (node["default_value"],)


def lora(node: Node, scope: Scope) -> tuple[str]:
    """A LoRA of the catalogue by name; nothing is downloaded."""
    given = str(node.get("lora_url") or "").strip()
    if given.startswith(("http://", "https://")):
        raise node.refuse("lora_url", "LoRAs come from this gateway's catalogue, by name")
    return (given or node["default_lora_name"],)


def image(node: Node, scope: Scope) -> tuple[Picture]:
    """A picture by URL, data URL or uploaded file; else the one linked as default."""
    given = str(node.get("default_value_url") or "").strip()
    if given:
        return (scope.loaded("default_value_url", given),)
    default = node.get("default_value")
    if not isinstance(default, Picture):
        raise node.refuse("default_value_url", "no picture was given, and none is linked")
    return (default,)


def file(node: Node, scope: Scope) -> tuple[str]:
    """A file by URL, data URL or the id it was uploaded under."""
    return (str(node.get("file_url") or node.get("default_value") or "").strip(),)


def images(node: Node, scope: Scope) -> tuple[Picture]:
    """Several pictures as one batch; else the ones linked as default."""
    sources = _sources(node)
    if any(source.partition("?")[0].lower().endswith(".zip") for source in sources):
        raise node.refuse("images", "archives are not unpacked; list the pictures' own URLs")
    if sources:
        return (gathered(node, *(scope.loaded("images", source) for source in sources)),)
    default = node.get("default_value")
    if not isinstance(default, Picture):
        raise node.refuse("images", "no pictures were given, and none are linked")
    return (default,)


def unused(node: Node, scope: Scope) -> tuple[None]:
    """An input of a kind that no picture is made from."""
    raise node.refuse("input_id", UNUSED[node.class_type])


def _sources(node: Node) -> list[str]:
    """A list, its JSON text, or the one source that is meant by any other text."""
    given = node.get("images")
    if isinstance(given, str) and given.strip().startswith("["):
        try:
            given = decode_json(given.encode())
        except InvalidRequest as error:
            raise node.refuse("images", f"it is no JSON list: {error.message}") from None
    listed = given if isinstance(given, list) else [given]
    sources = [source_of(entry) for entry in listed if not is_absent(entry)]
    if None in sources:
        raise node.refuse("images", "a list of URLs, data URLs or uploaded files is wanted")
    return [source for source in sources if source]


def _check_bounds(node: Node) -> None:
    given = node["default_value"]
    if given < node["min_value"]:
        raise NodeFault(out_of_range("default_value", given, node["min_value"], above=False))
    if given > node["max_value"]:
        raise NodeFault(out_of_range("default_value", given, node["max_value"], above=True))


def _options(given: Mapping[str, Any]) -> list[str]:
    """The options an Enum node carries as JSON text."""
    text = given.get("options") or "[]"
    try:
        found = decode_json(text.encode()) if isinstance(text, str) else text
    except InvalidRequest:
        return []
    return [str(option) for option in found] if isinstance(found, list) else []


COMPILERS: dict[str, Compile] = {
    f"{PREFIX}Text": value,
    f"{PREFIX}TextAny": value,
    f"{PREFIX}TextSingleLine": value,
    f"{PREFIX}Number": value,
    f"{PREFIX}NumberInt": value,
    f"{PREFIX}NumberSlider": slider,
    f"{PREFIX}NumberSliderInt": slider,
    f"{PREFIX}Boolean": value,
    f"{PREFIX}Enum": choice,
    f"{PREFIX}Seed": seed,
    f"{PREFIX}Checkpoint": value,
    f"{PREFIX}Lora": lora,
    f"{PREFIX}Image": image,
    f"{PREFIX}ImageAlpha": image,
    f"{PREFIX}ImageBatch": images,
    f"{PREFIX}Color": value,
    f"{PREFIX}File": file,
    LIVE: image,
    **dict.fromkeys(UNUSED, unused),
}
