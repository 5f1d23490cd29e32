"""The commands of the page on operation, as they stand there."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.cli.main import commands as gateway
from gateway.fronts.holdings import opened_keys
from gateway.runs.durable.database import POOL_SIZE
from gateway.runs.runs import Runs
from gateway.settings import Settings
from tests.fronts.house import DRAW
from tests.runs import house, postgres
from tests.serving import ROOT
from tests.small_engine import TestEngine, small_catalog
from tests.web.openai.asking import Client

TEXT = (ROOT / "deploy/OPERATE.md").read_text()
SECTION = TEXT.partition("## Backup and restore\n")[2].partition("\n## ")[0]
SITUATIONS = TEXT.partition("## Three situations\n")[2].partition("\n## ")[0]
SAVE, RESTORE, DUMP, LOAD = re.findall(r"```sh\n(.*?)```", SECTION, re.S)


def do(commands: str, **variables: Path | str) -> None:
    """Run a block of the page; its whole output is the failure."""
    paths = os.pathsep.join([str(postgres.binaries()), os.environ["PATH"]])
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run(
        ["sh", "-euc", commands],
        env=environment | {"PATH": paths}, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders for the data, the backup and what is restored of it."""
    data, backup, restored = (tmp_path / name for name in ("data", "backup", "restored"))
    for folder in (data, backup, restored):
        folder.mkdir()
    return data, backup, restored


async def test_a_folder_is_backed_up_beside_work_and_restored(
    places: tuple[Path, Path, Path]
) -> None:
    data, backup, restored = places
    _, secret = KeyStore(data).create("somebody")
    async with house.opened(data, None) as runs:
        (run,) = await house.draw(runs, house.order())
        (waiting,) = await runs.accept([house.order("a slow cat")], house.OWNER)
        do(SAVE, DATA=data, BACKUP=backup)
        picture = await picture_of(runs, run.id)
    do(RESTORE, DATA=restored, BACKUP=backup)
    assert KeyStore(restored).find(secret)
    async with house.opened(restored, None) as runs:
        assert await picture_of(runs, run.id) == picture
        assert (await runs.wait(waiting.id, house.OWNER)).status == "success"


def test_a_database_is_backed_up_beside_work_and_restored(
    places: tuple[Path, Path, Path], postgres_server: postgres.Server
) -> None:
    data, backup, restored = places
    first, second = postgres_server.new_database(), postgres_server.new_database()
    with opened_keys(Settings(data=data, database=first)) as keys:
        _, secret = keys.create("somebody")
    known = {"Authorization": f"Bearer {secret}"}
    with served(data, first, data / "pictures") as client:
        drawn, waiting = queued(client, known, "a cat"), queued(client, known, "a slow cat")
        run_url = url_of(ended(client, known, drawn))
        asked = {"model": "tiny", "prompt": "a cat", "response_format": "url"}
        url = client.post(DRAW, json=asked, headers=known).json()["data"][0]["url"]
        do(DUMP, GATEWAY_DATABASE=first, BACKUP=backup)
        pictures = {one: got(client, one) for one in (url, run_url)}
    do(LOAD, GATEWAY_DATABASE=second, BACKUP=backup)
    with served(restored, second, data / "pictures") as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=known).is_success
        assert {one: got(client, one) for one in pictures} == pictures
        assert url_of(ended(client, known, waiting))


@contextmanager
def served(data: Path, database: str, pictures: Path) -> Iterator[Client]:
    """A front of a database; the folder of pictures stands for a bucket."""
    settings = Settings(data=data, database=database, store=str(pictures))
    with TestClient(create_app(settings, TestEngine(), small_catalog())) as client:
        yield client


def queued(client: Client, headers: dict[str, str], prompt: str) -> str:
    """The id of a new run."""
    body = {"model_id": "tiny", "inputs": {"prompt": prompt, "seed": 7}}
    run_id: str = client.post("/api/run/queue", json=body, headers=headers).json()["run_id"]
    return run_id


def ended(client: Client, headers: dict[str, str], run_id: str) -> Any:
    """What is told of a run that has ended well."""
    deadline = time.monotonic() + 60
    while (told := client.get(f"/api/run/{run_id}", headers=headers).json())["status"] != "success":
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    return told


def url_of(told: Any) -> str:
    """The URL of a run's one picture."""
    url: str = told["outputs"][0]["data"]["images"][0]["url"]
    return url


def got(client: Client, url: str) -> bytes:
    """What a URL leads to, for who has nothing else."""
    answer = client.get(url)
    assert answer.is_success, answer.text
    return answer.content


def test_the_three_situations_are_typed_as_the_commands_want_them() -> None:
    commands = re.findall(r"^gateway (.+)$", SITUATIONS, re.M)
    commands += re.findall(r"-- gateway (.+)$", SITUATIONS, re.M)
    assert len(commands) == 7
    for typed in commands:
        command: click.Command = gateway
        arguments = shlex.split(typed, comments=True)
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), arguments.pop(0))
            assert found, typed
            command = found
        command.make_context(typed, arguments).close()


def test_the_chart_has_what_is_said_to_it() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text())
    said = re.findall(r"--set ([\w.]+)=", SITUATIONS)
    assert said
    for name in said:
        group, _, value = name.partition(".")
        assert value in values[group]
    secrets = set(re.findall(r"--from-literal=([\w-]+)=", SITUATIONS))
    assert secrets == {values["operatorKey"]["key"], values["database"]["key"]}
    for path in re.findall(r"--values (\S+)", SITUATIONS):
        assert (ROOT / path).is_file()


def test_a_front_opens_no_more_connections_than_is_said() -> None:
    engines, single = 2, 2  # runs and what fronts share; a slot's lock, and an ear for notices
    assert f"up to {engines * 2 * POOL_SIZE + single} connections" in TEXT


async def picture_of(runs: Runs, run_id: str) -> bytes:
    """The bytes of a run's one picture."""
    (output,) = await runs.outputs(run_id)
    data = await runs.files.get(output.items[0].key)
    assert data
    return bytes(data)
