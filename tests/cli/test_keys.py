"""`gateway keys`, as it is typed."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.accounts.keys import KeyFileError, KeyStore
from gateway.cli.keys import keys
from gateway.errors import NotFound
from tests.runs.house import gateway_secret


def typed(data: Path, *words: str) -> Any:
    return CliRunner().invoke(keys, [*words, "--data", str(data)], catch_exceptions=True)


def test_create_prints_the_secret_alone_to_standard_output(tmp_path: Path) -> None:
    limits = ("--requests-per-minute", "5", "--concurrent-samples", "2")
    made = typed(tmp_path, "create", "shop", "--model", "emoji", "--model", "sd:a", *limits)
    assert made.exit_code == 0, made.output
    key = KeyStore(tmp_path).find(made.stdout.strip())
    assert key is not None
    assert (key.name, key.models) == ("shop", ("emoji", "sd:a"))
    assert (key.requests_per_minute, key.concurrent_samples) == (5, 2)
    assert key.id in made.stderr


def test_list_tells_everything_but_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    secret = typed(tmp_path, "create", "shop", "--model", "emoji").stdout.strip()
    key, _ = KeyStore(tmp_path).create("other", requests_per_minute=9)
    listed = typed(tmp_path, "list").stdout
    for shown in ("shop", "emoji", "other", "any", "9", key.id):
        assert shown in listed
    for hidden in (secret, key.hashed, key.webhook_secret):
        assert hidden not in listed


def test_a_revoked_key_opens_nothing(tmp_path: Path) -> None:
    key, secret = KeyStore(tmp_path).create("shop")
    assert typed(tmp_path, "revoke", key.id).exit_code == 0
    assert KeyStore(tmp_path).find(secret) is None


def test_revoking_the_last_key_says_what_that_means(tmp_path: Path) -> None:
    first, second = (KeyStore(tmp_path).create(name)[0] for name in ("first", "second"))
    assert "last key" not in typed(tmp_path, "revoke", first.id).stderr
    said = typed(tmp_path, "revoke", second.id).stderr
    assert "last key" in said
    assert "answers nobody" in said


def test_an_operators_key_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    secret = typed(tmp_path, "create", "root", "--operator").stdout.strip()
    typed(tmp_path, "create", "shop")
    key = KeyStore(tmp_path).find(secret)
    assert key is not None
    assert key.operator
    rows = {
        line.split("│")[2].strip(): line
        for line in typed(tmp_path, "list").stdout.splitlines()
        if "│" in line
    }
    assert "operator" in rows["root"]
    assert "user" in rows["shop"]


@pytest.mark.parametrize("words", [("list",), ("create", "shop"), ("revoke", "0000")])
def test_a_spoilt_file_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "keys.json").write_text("[{")
    failed = typed(tmp_path, *words)
    assert isinstance(failed.exception, KeyFileError)
    assert str(tmp_path / "keys.json") in str(failed.exception)


def test_the_webhook_secret_is_shown_on_demand(tmp_path: Path) -> None:
    key, _ = KeyStore(tmp_path).create("shop")
    assert typed(tmp_path, "webhook-secret", key.id).stdout.strip() == key.webhook_secret
    assert typed(tmp_path, "webhook-secret").stdout.strip() == gateway_secret(tmp_path)


@pytest.mark.parametrize("command", ["revoke", "webhook-secret"])
def test_an_unknown_key_is_named(tmp_path: Path, command: str) -> None:
    failed = typed(tmp_path, command, "0000")
    assert isinstance(failed.exception, NotFound)
    assert "'0000'" in failed.exception.message


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_positive_number(tmp_path: Path, limit: str) -> None:
    assert typed(tmp_path, "create", "shop", "--requests-per-minute", limit).exit_code == 2
    assert KeyStore(tmp_path).keys() == []
