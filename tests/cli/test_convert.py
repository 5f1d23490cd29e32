"""`gateway convert` makes safetensors of pickles, and runs nothing of theirs."""

import os
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from gateway.cli.main import commands


def converted(file: Path) -> Any:
    return CliRunner().invoke(commands, ["convert", str(file)])


def test_a_checkpoint_keeps_its_weights_and_nothing_else(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    state = {"a.weight": shared, "tied.weight": shared, "column": shared.T, "step": 3}
    torch.save({"state_dict": state, "optimizer": {"lr": 1.0}}, tmp_path / "model.ckpt")
    done = converted(tmp_path / "model.ckpt")
    assert done.exit_code == 0, done.output
    assert done.output.strip().endswith("model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == {"a.weight", "tied.weight", "column"}
    assert torch.equal(found["column"], shared.T)


def test_a_textual_inversion_is_named_as_in_safetensors(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, 8)}, "name": "x"}, tmp_path / "x.pt")
    assert converted(tmp_path / "x.pt").exit_code == 0
    assert load_file(tmp_path / "x.safetensors").keys() == {"emb_params"}


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("trapped",)


def test_what_would_run_is_refused_and_is_not_run(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, tmp_path / "trap.ckpt")
    done = converted(tmp_path / "trap.ckpt")
    assert "nothing was run" in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trap.ckpt"]


def test_what_is_no_pickle_or_done_already_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"hello")
    (tmp_path / "b.safetensors").touch()
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pt")
    torch.save({"a": 1}, tmp_path / "c.pt")
    for name, says in {
        "a.bin": "holds more than weights, or none",
        "b.pt": "b.safetensors is there already",
        "b.safetensors": "wanted a file that ends in .bin",
        "c.pt": "holds no weights",
        "none.pt": "is not there",
    }.items():
        assert says in str(converted(tmp_path / name).exception)
