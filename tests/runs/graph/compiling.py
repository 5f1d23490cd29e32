"""Graphs compiled against the catalogue of the examples."""

from typing import Any

import pytest

from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.refusal import GraphRefused
from gateway.runs.graph.values import Draft, Plan
from tests.runs.graph import examples
from tests.runs.graph.examples import Graph


def compiled(graph: Graph) -> Plan:
    """The plan of a graph."""
    return compile_graph(graph, examples.catalog())


def only(graph: Graph) -> Draft:
    """The one draft of a graph."""
    (draft,) = compiled(graph).drafts
    return draft


def faults(graph: Any) -> dict[str, set[tuple[str, str]]]:
    """Node id to its faults' types and inputs."""
    with pytest.raises(GraphRefused) as raised:
        compiled(graph)
    return {
        id: {(fault["type"], fault["extra_info"].get("input_name", "")) for fault in n["errors"]}
        for id, n in raised.value.node_errors.items()
    }
