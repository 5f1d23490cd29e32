"""`gateway serve` before it serves: where nobody could be answered it does not start."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.accounts.keys import KeyFileError
from gateway.cli.serve import serve
from gateway.settings import SettingsError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.test", "127.1"])
def test_a_network_is_not_served_without_a_key(tmp_path: Path, host: str) -> None:
    failed = CliRunner().invoke(serve, ["--host", host, "--data", str(tmp_path)])
    assert isinstance(failed.exception, SettingsError)
    assert "gateway keys create" in str(failed.exception)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_spoilt_file_of_keys_is_told_at_once(tmp_path: Path, host: str) -> None:
    (tmp_path / "keys.json").write_text("[{")
    failed = CliRunner().invoke(serve, ["--host", host, "--data", str(tmp_path)])
    assert isinstance(failed.exception, KeyFileError)
    assert str(tmp_path / "keys.json") in str(failed.exception)
