"""Keys are shown once, kept as hashes, and followed by a server that is already running."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from gateway.accounts.keys import KeyFileError, KeyStore


def test_a_key_is_found_by_its_secret_alone(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key, secret = store.create("shop", models=("emoji",), requests_per_minute=5)
    other, _ = store.create("other")
    assert store.find(secret) == key
    assert store.find(key.id) is None
    assert store.find(key.hashed) is None
    assert store.find("") is None
    assert store.keys() == [key, other]
    assert store.get(key.id) == key


def test_the_folder_never_holds_a_secret(tmp_path: Path) -> None:
    _, secret = KeyStore(tmp_path).create("shop")
    for path in tmp_path.rglob("*"):
        assert secret not in path.read_text()
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_keys_made_by_root_are_the_folders_owners(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 10001, 10001)
    KeyStore(tmp_path).create("shop")
    assert (tmp_path / "keys.json").stat().st_uid == tmp_path.stat().st_uid


def test_a_running_server_sees_what_another_process_changes(tmp_path: Path) -> None:
    server, command_line = KeyStore(tmp_path), KeyStore(tmp_path)
    assert server.keys() == []
    key, secret = command_line.create("shop")
    assert server.find(secret) == key
    assert command_line.revoke(key.id)
    assert server.find(secret) is None
    assert server.keys() == []


def test_only_a_key_that_is_there_is_revoked(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key, _ = store.create("shop")
    assert not store.revoke("nobody")
    assert store.revoke(key.id)
    assert not store.revoke(key.id)
    assert store.get(key.id) is None


def test_webhook_secrets_are_standard_and_differ(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    made = [store.create(name)[0].webhook_secret for name in ("shop", "other")]
    assert made[0] != made[1]
    for secret in made:
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
        Webhook(secret)


SPOILT = {"cut": "", "no list": "{}", "half": '[{"id": "a",', "bytes": "\udcff", "deep": "[" * 9999}


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_file_is_told_and_never_written_over(tmp_path: Path, content: str) -> None:
    running, file = KeyStore(tmp_path), tmp_path / "keys.json"
    key, secret = running.create("shop")
    assert running.keys() == [key]
    file.write_text(content, errors="surrogateescape")
    for store in (running, KeyStore(tmp_path)):
        with pytest.raises(KeyFileError, match=r"keys\.json cannot be read"):
            store.create("other")
        with pytest.raises(KeyFileError, match=r"keys\.json cannot be read"):
            store.revoke(key.id)
        assert store.fault is not None
    assert file.read_text(errors="surrogateescape") == content
    assert running.find(secret) == key, "what was read before stays in force"
    assert KeyStore(tmp_path).find(secret) is None
    file.write_text("[]")
    assert running.keys() == []
    assert running.fault is None


def test_a_file_that_a_crash_left_behind_gives_nothing_away(tmp_path: Path) -> None:
    left = tmp_path / "keys.partial"
    left.touch(mode=0o666)
    left.chmod(0o666)
    KeyStore(tmp_path).create("shop")
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_keys_of_an_earlier_version_are_no_operators(tmp_path: Path) -> None:
    key, secret = KeyStore(tmp_path).create("old")
    file = tmp_path / "keys.json"
    [held] = json.loads(file.read_text())
    del held["operator"]
    file.write_text(json.dumps([held]))
    found = KeyStore(tmp_path).find(secret)
    assert found == key
    assert not key.operator
    assert KeyStore(tmp_path).create("new", operator=True)[0].operator
