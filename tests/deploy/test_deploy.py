"""The files of deploy/, read by the linters of their kinds."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from gateway.cluster.session import CLOSE_SECONDS
from gateway.settings import PREFIX, Settings, fields, variable
from gateway.web.server.server import FAREWELL_SECONDS
from tests.programs import program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "image-gateway.service"
INSTALLED = "/opt/image-gateway/bin/gateway"
BIN = Path(sys.executable).parent
EXPOSURE_TENTHS = 25


class Live(BaseHTTPRequestHandler):
    """Answers `/health/live`, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def run(*command: str | Path, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a program; its whole output is the failure."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_has_no_lint() -> None:
    assert run(BIN / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile") == ""


def test_the_dockerfile_is_what_it_says() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+)$", text, re.M) == ["10001"]
    assert "/health/live" in text.partition("HEALTHCHECK")[2]
    assert re.findall(r"-c deploy/constraints.txt \"?\.", text)


def test_every_path_that_is_copied_exists_and_is_not_ignored() -> None:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    copied = {name for line in copies for name in line.split()}
    assert copied == set(allowed)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_build_needs_nothing_that_is_not_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    forced = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    text = (DEPLOY / "Dockerfile").read_text()
    assert [name for name in forced if f"COPY {name} {name}\n" not in text] == []


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_compose_files_follow_the_specification(name: str) -> None:
    check = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    run(*check, DEPLOY / name)


def test_compose_starts_the_gateway_with_a_volume() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = composed["services"]["gateway"]
    volumes = {mount.partition(":")[0] for mount in service["volumes"]}
    assert volumes == set(composed["volumes"])
    context = (DEPLOY / service["build"]["context"]).resolve()
    assert (context / service["build"]["dockerfile"]).is_file()


def test_whoever_stops_the_gateway_waits_longer_than_it_needs() -> None:
    needed = Settings().drain_seconds + Settings().grace_seconds + FAREWELL_SECONDS + CLOSE_SECONDS
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]
    assert composed["environment"]["GATEWAY_GRACE_SECONDS"] == f"{Settings().grace_seconds:g}"
    stops = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert stops
    assert int(stops[1]) > needed
    assert int(composed["stop_grace_period"].removesuffix("s")) > needed


def test_the_container_is_looked_at_where_it_listens() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (command,) = re.findall(r"HEALTHCHECK .*\n\s+(\[.*\])", text)
    program = json.loads(command)[2]
    with ThreadingHTTPServer(("127.0.0.1", 0), Live) as server:
        threading.Thread(target=server.serve_forever).start()
        port = str(server.server_port)
        asked = [
            (port, program),
            ("tcp://10.96.0.10:80", program.replace("8000", port)),
            ("", program.replace("8000", port)),
        ]
        for given, look in asked:
            run(sys.executable, "-c", look, environment={"GATEWAY_PORT": given})
        server.shutdown()


def test_every_variable_named_here_is_a_setting() -> None:
    known = {variable(field.name) for field in fields()}
    named = {
        (path.name, name)
        for path in DEPLOY.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
        for name in re.findall(rf"\b{PREFIX}[A-Z_]+", path.read_text())
    }
    assert [entry for entry in sorted(named) if entry[1] not in known] == []
    assert len(named) > 5


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", package="systemd")
    text = UNIT.read_text()
    assert f"ExecStart={INSTALLED} serve\n" in text
    installed = tmp_path / UNIT.name
    installed.write_text(text.replace(INSTALLED, str(BIN / "gateway")))
    assert run(analyze, "verify", "--man=no", installed) == ""


def test_the_unit_is_exposed_little() -> None:
    analyze = program("systemd-analyze", package="systemd")
    run(analyze, "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS}", UNIT)
