"""Schemathesis over the served OpenAPI document: no 500, and no status it does not name."""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.serving import ENVIRONMENT, Server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
EXAMPLES = 8


def test_the_document_names_every_route_of_the_dialects(server: Server) -> None:
    paths = httpx.get(f"{server.url}/schema/openapi.json").json()["paths"]
    wanted = {
        "/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/models",
        "/v1/files", "/v1/batches", "/health/ready", "/metrics",
        "/dedicated/v1/images/generations", "/container/v1/images/generations",
    }
    assert wanted <= set(paths)


def test_nothing_that_can_be_sent_is_answered_out_of_line(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run",
            f"{server.url}/schema/openapi.json",
            "--header", f"Authorization: Bearer {server.key}",
            "--checks", CHECKS, "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(EXAMPLES), "--seed", "1", "--generation-deterministic",
            "--request-timeout", "60", "--max-time", "60",
        ],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr
    assert "passed" in done.stdout
