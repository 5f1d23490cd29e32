"""Schemathesis over the served OpenAPI document: no 500, and no status it does not name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.serving import ENVIRONMENT, Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
EXAMPLES = 8
SECONDS = 40


def test_the_document_names_every_route_of_the_dialects(server: Server) -> None:
    paths = documented(server)
    wanted = {
        "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/models",
        "/v1/files", "/v1/batches", "/health/ready", "/metrics",
        "/dedicated/v1/images/generations", "/container/v1/images/generations",
    }
    assert wanted <= set(paths)


def documented(server: Server) -> dict[str, Any]:
    """The document's paths, and what it says of each."""
    paths: dict[str, Any] = httpx.get(f"{server.url}/schema/openapi.json").json()["paths"]
    return paths


def repeated(paths: dict[str, Any]) -> list[str]:
    """Paths of which the document says what it says of another: they have one handler."""
    first: dict[str, str] = {}
    return [path for path, item in paths.items() if first.setdefault(_said(item), path) != path]


def _said(item: dict[str, dict[str, Any]]) -> str:
    """What is said of a path, but for the names of its operations, which are made of it."""
    said = {verb: operation | {"operationId": ""} for verb, operation in item.items()}
    return json.dumps(said, sort_keys=True)


def test_nothing_that_can_be_sent_is_answered_out_of_line(server: Server, tmp_path: Path) -> None:
    repeats = [part for path in repeated(documented(server)) for part in ("--exclude-path", path)]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run",
            f"{server.url}/schema/openapi.json",
            "--header", f"Authorization: Bearer {server.key}",
            "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(EXAMPLES), "--seed", "1", "--generation-deterministic",
            "--request-timeout", "60", "--max-time", str(SECONDS), *repeats,
        ],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr
    assert "passed" in done.stdout
