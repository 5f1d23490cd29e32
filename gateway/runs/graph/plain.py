"""Whatever a graph comes in, taken out of it: a plain graph in API format."""

from typing import Any

from gateway.outside.documents import decode_json
from gateway.runs.graph.editor import flattened, is_of_editor

WRAPPERS = ("prompt", "output", "workflow_api", "workflow")
"""Names that a graph goes by in what other programs write, the best first."""

SILENT = frozenset({"Note", "MarkdownNote", "ImageCompare", "MaskPreview", "ImageHistogram"})
"""Nodes that say something to who looks at the graph, and nothing else."""

MAX_WRAPPERS = 4


def plain(graph: Any) -> Any:
    """The graph in API format; what is none stays as it is, to be refused.

    Raises:
        GraphRefused: it is in the editor's format, and is too large or runs in a circle.
    """
    for _ in range(MAX_WRAPPERS):
        graph = _unwrapped(graph)
    if is_of_editor(graph):
        graph = flattened(graph)
    if not isinstance(graph, dict):
        return graph
    return {id: node for id, node in graph.items() if _kind(node) not in SILENT}


def _unwrapped(graph: Any) -> Any:
    if not isinstance(graph, dict) or is_of_editor(graph):
        return graph
    for name in WRAPPERS:
        inner = graph.get(name)
        if isinstance(inner, str) and inner.lstrip().startswith("{"):
            inner = decode_json(inner.encode())
        if isinstance(inner, dict) and inner and _kind(inner) is None:
            return inner
    return graph


def _kind(node: Any) -> str | None:
    kind = node.get("class_type") if isinstance(node, dict) else None
    return kind if isinstance(kind, str) else None
