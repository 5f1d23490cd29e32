"""`gateway pull` as people run it, with all that the environment says; and what others see."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from gateway.catalog.cards import CARD, EndpointCard
from gateway.catalog.catalog import Model
from gateway.cli.main import commands
from gateway.fetching.fetching import fetch_missing
from tests.fetching.repositories import PLAIN, SOURCE, WHOLE
from tests.fetching.standin import Hub, serving

UNREACHABLE = "http://hub.example"
"""Only whoever asks the proxy gets there."""


def pull(hub: Hub, home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = {"HF_ENDPOINT": UNREACHABLE, "HTTP_PROXY": hub.url, "HF_HOME": str(home)} | more
    command = [sys.executable, "-m", "gateway", "pull", *words]
    return subprocess.run(
        command, env=kept | given, capture_output=True, text=True, timeout=120, check=False
    )


def test_endpoint_proxy_and_token_are_those_of_the_environment(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.toml").write_text(f'id = "mine"\nsource = "{SOURCE}"\n')
    words = ("mine", "--models", str(models))
    with serving({SOURCE: PLAIN}) as hub:
        hub.gated, hub.token = {SOURCE}, "hf_secret"
        refused = pull(hub, tmp_path / "home", *words)
        assert refused.returncode == 2
        assert f"accepted at {UNREACHABLE}/{SOURCE}; then set HF_TOKEN" in refused.stderr
        assert "Traceback" not in refused.stderr
        done = pull(hub, tmp_path / "home", *words, HF_TOKEN="hf_secret")
        assert done.returncode == 0, done.stderr
        for name, content in WHOLE.items():
            assert f"{SOURCE}/{name}" in done.stdout
            assert any(
                path.read_bytes() == content
                for path in (tmp_path / "home").rglob(Path(name).name)
                if path.parent.name == Path(name).parent.name
            )
        assert "mine: 10 files, " in done.stdout
        assert "mine: all of it is here" in done.stdout
        assert all(path.startswith(UNREACHABLE) for _, path, _, _ in hub.asked)
        hub.asked.clear()
        again = pull(hub, tmp_path / "home", *words)
        assert (again.stdout, hub.asked) == ("mine: all of it is here\n", [])


@pytest.mark.usefixtures("hub")
def test_a_hub_id_needs_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(commands, ["pull", SOURCE])
    assert done.exit_code == 0, done.output
    assert f"{SOURCE}: all of it is here" in done.output


def test_the_first_use_is_told_in_the_log(hub: Hub, tmp_path: Path) -> None:
    model = Model(EndpointCard(id="mine", source=SOURCE, path=tmp_path / CARD))
    with capture_logs() as lines:
        fetch_missing(model)
        fetch_missing(model)
    first, last = lines
    assert (first["event"], last["event"]) == ("fetching", "fetched")
    assert set(first["files"]) >= WHOLE.keys()
    assert first["size"].endswith(" MiB")
    assert hub.fetched()
