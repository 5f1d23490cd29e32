"""`gateway check` says what a model is like, and by its exit whether the promise holds."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from diffusers import FluxTransformer2DModel

from gateway.cli.check import check
from gateway.engine.forwards import forwards
from tests.engine import tiny


def checked(folder: Path) -> tuple[int, str]:
    tiny.save("flux", folder, id="mine", steps={"min": 1, "max": 2, "default": 1})
    words = ["mine", "--models", str(folder), "--threads", "1", "--max-batch", "2"]
    done = CliRunner().invoke(check, words)
    return done.exit_code, done.output


def test_a_model_that_keeps_its_word(tmp_path: Path) -> None:
    code, said = checked(tmp_path)
    assert code == 0, said
    for line in ("FluxPipeline, float32 on cpu", "of 1e-04 allowed", "promise               holds"):
        assert line in said
    assert "FlowMatchEulerDiscreteScheduler" in said


def test_one_that_does_not_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = FluxTransformer2DModel.forward

    def leaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        (answer,) = inner(self, *args, **kwargs)
        return (answer + 0.1 * answer.shape[0],)

    monkeypatch.setattr(FluxTransformer2DModel, "forward", leaking)
    monkeypatch.setattr(forwards, "is_alike", lambda *_: True)
    code, said = checked(tmp_path)
    assert code == 1
    assert "DOES NOT HOLD" in said
