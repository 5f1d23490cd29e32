"""The commands of the page on operation, as they stand there."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from gateway.accounts.keys import KeyStore
from gateway.runs.runs import Runs
from tests.runs import house, postgres
from tests.serving import ROOT

TEXT = (ROOT / "deploy/OPERATE.md").read_text()
SECTION = TEXT.partition("## Backup and restore\n")[2].partition("\n## ")[0]
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


async def test_a_database_is_backed_up_beside_work_and_restored(
    places: tuple[Path, Path, Path], postgres_server: postgres.Server
) -> None:
    data, backup, _ = places
    first, second = postgres_server.new_database(), postgres_server.new_database()
    async with house.opened(data, first) as runs:
        (run,) = await house.draw(runs, house.order())
        (waiting,) = await runs.accept([house.order("a slow cat")], house.OWNER)
        do(DUMP, GATEWAY_DATABASE=first, BACKUP=backup)
        picture = await picture_of(runs, run.id)
    do(LOAD, GATEWAY_DATABASE=second, BACKUP=backup)
    async with house.opened(data, second) as runs:
        assert await picture_of(runs, run.id) == picture
        assert (await runs.wait(waiting.id, house.OWNER)).status == "success"


async def picture_of(runs: Runs, run_id: str) -> bytes:
    """The bytes of a run's one picture."""
    (output,) = await runs.outputs(run_id)
    data = await runs.files.get(output.items[0].key)
    assert data
    return bytes(data)
