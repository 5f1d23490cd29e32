"""Graphs and bodies of any shape at all: a refusal says what is wrong, and nothing fails."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.bodies import filled_graph, graph
from tests.web.comfydeploy.app import Client, served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(tmp_path_factory.mktemp("data")) as (client, _):
        yield client


def refused(client: Client, body: dict[str, Any], path: str = "/api/run/sync") -> str:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["detail"])


@pytest.mark.parametrize("shape", [None, [], {}, 5, True, "x", ["3", 0], {"a": 1}])
@pytest.mark.parametrize("place", ["node", "class_type", "inputs"])
def test_nodes_of_any_shape(client: Client, place: str, shape: Any) -> None:
    for path in ("/api/run/sync", "/api/run/workflow/queue", "/api/workflow"):
        drawing = graph("tiny")
        if place == "node":
            drawing["3"] = shape
        else:
            drawing["3"][place] = shape
        refused(client, {"workflow_api": drawing}, path)


@pytest.mark.parametrize(
    "link",
    [["4"], ["4", "0"], ["4", -1], ["4", 0, 0], [["4"], 0], [{}, 0], [], [None, None], ["9", 0]],
)
def test_links_of_any_shape(client: Client, link: Any) -> None:
    drawing = graph("tiny")
    drawing["3"]["inputs"]["model"] = link
    refused(client, {"workflow_api": drawing})


@pytest.mark.parametrize(
    "value", ["٣", "²", "9" * 5000, "1e400", "NaN", 1e308, -1e308, [1], {"a": 1}, {"__value__": []}]
)
@pytest.mark.parametrize("name", ["seed", "steps", "cfg", "denoise"])
def test_values_of_any_size(client: Client, name: str, value: Any) -> None:
    refused(client, {"workflow_api": graph("tiny", **{name: value})})


def test_wide_numbers_where_nothing_bounds_them(client: Client) -> None:
    drawing = filled_graph("tiny")
    drawing["31"]["inputs"] |= {"min_value": 1e300, "max_value": -1e300}
    refused(client, {"workflow_api": drawing})
    drawing["31"]["inputs"] |= {"min_value": 10, "max_value": 1}
    refused(client, {"workflow_api": drawing})


def test_meta_and_absent_inputs_are_nobodys_business(client: Client) -> None:
    drawing = copy.deepcopy(filled_graph("tiny"))
    drawing["3"]["_meta"] = 5
    drawing["4"]["_meta"] = {"title": [1]}
    inputs = {"prompt": "x", "steps": "", "seed": "null"}
    answer = client.post("/api/run/sync", json={"workflow_api": drawing, "inputs": inputs})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_number", 10**15),
        ("batch_number", "٣"),
        ("concurrency_limit", 2**40),
        ("concurrency_limit", 0),
        ("timeout", -1),
        ("timeout", "nan"),
        ("execution_mode", "later"),
    ],
)
def test_values_beyond_what_is_kept(client: Client, field: str, value: Any) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "a"}, field: value}
    refused(client, body, "/api/run")


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": 1e308},
        {"timeout": "", "webhook": "null", "machine_id": "undefined", "batch_number": ""},
        {"execution_mode": " SYNC "},
        {"deployment_id": "", "concurrency_limit": "2.0", "stream": "No"},
    ],
)
def test_spellings(client: Client, fields: dict[str, Any]) -> None:
    body = {"model_id": "tiny", "inputs": {"prompt": "a", "n": "", "seed": " "}, **fields}
    answer = client.post("/api/run", json=body)
    assert answer.status_code == 200, answer.text
