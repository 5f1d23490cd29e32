"""A start that cannot succeed is one line and an exit status, before any work is taken up."""

import json
import os
import shlex
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.accounts.keys import KeyStore
from gateway.catalog.bundle import served_collection
from gateway.catalog.cards import CardError
from gateway.cli.assembly import check_models
from gateway.cli.greeting import greeting
from gateway.cli.main import main
from gateway.runs.durable.database import close_database, open_database
from gateway.settings import Settings

Said = Callable[..., str]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Said:
    """What `gateway …` says on the terminal when it gives up: one line, after what it logged."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["gateway", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        *logged, line = capsys.readouterr().err.splitlines()
        assert all(one.startswith("{") for one in logged)
        assert line.startswith("gateway: ")
        return line

    return run


def test_a_port_that_is_taken(said: Said, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = said("serve", "--port", port, "--data", tmp_path)
    assert f"--port {port}: Address already in use" in line
    assert not (tmp_path / "runs.sqlite").exists()


def test_a_host_that_is_not_of_this_machine(said: Said, tmp_path: Path) -> None:
    line = said("serve", "--host", "192.0.2.1", "--port", 0, "--no-auth", "--data", tmp_path)
    assert "--host 192.0.2.1" in line
    assert "Cannot assign requested address" in line


@pytest.mark.parametrize("below", ["", "data"])
def test_a_data_folder_that_can_be_none(said: Said, tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "GATEWAY_DATA (--data)" in said("serve", "--port", 0, "--data", file / below)


def test_no_home_and_no_data_folder(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    line = said("serve", "--port", 0)
    assert "GATEWAY_DATA (--data) = '~/.local/share/image-gateway'" in line
    assert "home directory" in line


def test_a_database_that_is_none(said: Said, tmp_path: Path) -> None:
    (tmp_path / "runs.sqlite").write_bytes(os.urandom(5000))
    line = said("serve", "--port", 0, "--data", tmp_path)
    assert "runs.sqlite" in line
    assert "file is not a database" in line


def test_a_database_cut_short(said: Said, tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with sqlite3.connect(path) as whole:
        whole.execute("CREATE TABLE t (x)")
        whole.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
    whole.close()
    with path.open("r+b") as file:
        file.truncate(5000)
    assert "malformed" in said("serve", "--port", 0, "--data", tmp_path)


@pytest.mark.parametrize(
    "later",
    [
        "UPDATE gateway_schema SET version = 99",
        "ALTER TABLE gateway_runs ADD COLUMN colour TEXT",
        "CREATE TABLE gateway_dreams (x)",
    ],
)
def test_a_database_of_a_later_gateway(said: Said, tmp_path: Path, later: str) -> None:
    close_database(open_database(Settings(data=tmp_path)))
    close_database(open_database(Settings(data=tmp_path)))  # its own is none
    with sqlite3.connect(tmp_path / "runs.sqlite") as newer:
        newer.execute(later)
    newer.close()
    line = said("serve", "--port", 0, "--data", tmp_path)
    assert "runs.sqlite" in line
    assert "99" in line or "colour" in line or "gateway_dreams" in line


@pytest.mark.parametrize("url", ["postgresql://me:secret@127.0.0.1:1/db", "me:secret@nowhere"])
def test_a_database_that_cannot_be_reached(said: Said, tmp_path: Path, url: str) -> None:
    line = said("serve", "--port", 0, "--data", tmp_path, "--database", url)
    assert line.startswith("gateway: GATEWAY_DATABASE: ")
    assert "secret" not in line


def test_a_store_that_keeps_nothing(said: Said, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "probes").touch()
    line = said("serve", "--port", 0, "--data", tmp_path, "--store", store)
    assert f"GATEWAY_STORE = '{store}'" in line
    assert "Not a directory" in line


def test_one_model_of_no_use_stops_no_other(said: Said, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('id = "bad"\nstpes = 4\n')
    settings = Settings(endpoints=("bad", "emoji"), models=tmp_path, data=tmp_path / "data")
    check_models(settings, served_collection(settings))
    with pytest.raises(CardError, match="unknown field `stpes`; did you mean 'steps'"):
        check_models(replace(settings, endpoints=("bad",)), served_collection(settings))
    for command in (("check", "bad"), ("generate", "a", "--model", "bad")):
        line = said(*command, "--models", tmp_path, "--data", tmp_path / "data")
        assert "unknown field `stpes`; did you mean 'steps'" in line


def test_a_folder_of_keys_that_cannot_be_written(said: Said, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in said("keys", "create", "me", "--data", tmp_path / "file" / "x")


def test_a_person_is_told_where_what_how_and_to_whom(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    catalog = served_collection(settings).latest
    text = greeting(settings, catalog, 8123)
    assert "http://127.0.0.1:8123/\n" in text
    assert "emoji, emoji:3d, emoji:line\n" in text
    assert "this machine alone" in text
    assert "Bearer" not in text
    (line,) = [line for line in text.splitlines() if "curl " in line]
    words = shlex.split(line.partition("draw")[2])
    assert words[:2] == ["curl", "http://127.0.0.1:8123/v1/images/generations"]
    assert json.loads(words[words.index("-d") + 1])["model"] == "emoji"
    wide = replace(settings, host="0.0.0.0", port=80)
    assert "everybody" in greeting(replace(wide, no_auth=True), catalog, 80)
    KeyStore(tmp_path).create("me")
    text = greeting(wide, catalog, 80)
    assert "whoever has an API key" in text
    assert "Bearer $KEY" in text
    assert "http://127.0.0.1:80/\n" in text
    public = replace(settings, public_url="https://draw.example/base/")
    assert "https://draw.example/base/v1" in greeting(public, catalog, 8123)


def test_versions_are_told(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "argv", ["gateway", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert next(iter(told)) == "image-gateway"
    assert {"torch", "diffusers", "transformers", "python"} <= told.keys()


def test_several_devices_without_what_they_need(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for several in (("--devices", "cpu:2"), ("--cluster", "127.0.0.1:6379")):
        line = said("serve", "--port", 0, "--data", tmp_path, *several)
        assert "pip install 'image-gateway[cluster]'" in line


def test_devices_that_are_none(said: Said, tmp_path: Path) -> None:
    line = said("serve", "--port", 0, "--data", tmp_path, "--devices", "cuda:0,gpu1")
    assert "GATEWAY_DEVICES (--devices) = 'cuda:0,gpu1': expected cuda:0,cuda:1" in line
    both = ("--cluster", "auto", "--devices", "cuda:1")
    line = said("serve", "--port", 0, "--data", tmp_path, *both)
    assert "expected all, gpu:4" in line
