"""The wheel, installed where there is no checkout: it brings what it serves."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.serving import ROOT

DRAWN = ("generate", "a red apple", "--steps", "1", "--seed", "7", "--output", "apple.png")


def test_a_wheel_draws_without_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("image_gateway-*.whl")
    home = tmp_path / "env"
    venv.create(home, symlinks=True)
    run(sys.executable, "-m", "pip", "--python", home, "install", "--no-deps", wheel)
    # What it depends on is borrowed; the checkout is not, since it is installed by a `.pth`.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    told = run(home / "bin/python", "-c", "import gateway; print(gateway.__file__)")
    assert told.strip() == str(packages / "gateway/__init__.py")
    run(home / "bin/gateway", *DRAWN, "--data", tmp_path / "data")
    assert (tmp_path / "apple.png").read_bytes().startswith(b"\x89PNG")


def run(*command: str | Path) -> str:
    """Run a program where no checkout is; its whole output is the failure."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
