"""`gateway generate` draws to a file with no server, and again from the file alone."""

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from gateway.cli.main import main
from gateway.images.encode import encode, read_text
from gateway.images.receipt import read_receipt
from gateway.job import Pixels
from tests.engine import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save("sd", folder, id="tiny")
    return folder


class Ended(NamedTuple):
    """How a command ended, and what it said on the terminal."""

    returncode: int
    stderr: str


Typed = Callable[..., Ended]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def typed(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> Typed:
    """`gateway generate` with words after it, run in a folder of its own."""
    fixed = ("--models", str(models), "--data", str(tmp_path / "data"), "--threads", "1")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gateway", "generate", *words, *fixed])
        code: Any = None
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Ended(code or 0, capsys.readouterr().err)

    return run


def test_a_picture_is_drawn_and_drawn_again_from_itself(typed: Typed, tmp_path: Path) -> None:
    asked = ("a red apple", "--model", "tiny", "--steps", "2", "--seed", "7", "-o", "apple.png")
    drawn = typed(*asked)
    assert drawn.returncode == 0, drawn.stderr
    assert "apple.png: 32×32, seed 7" in drawn.stderr
    original = (tmp_path / "apple.png").read_bytes()
    receipt = read_receipt(read_text(original))
    assert (receipt.prompt, receipt.seed, receipt.num_inference_steps) == ("a red apple", 7, 2)

    again = typed("--from", "apple.png", "-o", "again.png")
    assert again.returncode == 0, again.stderr
    assert "differs" not in again.stderr
    assert "the same picture, pixel for pixel" in again.stderr
    ours, theirs = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("apple", "again"))
    np.testing.assert_array_equal(ours, theirs)


def test_what_is_otherwise_than_asked_or_since_is_said(typed: Typed, tmp_path: Path) -> None:
    drawn = typed("[/b]" * 20 + "c", "--model", "tiny", "--steps", "1", "-o", "cat.png")
    assert "prompt: 6 of 81 tokens were not read, since a text encoder takes 75" in drawn.stderr
    original = (tmp_path / "cat.png").read_bytes()
    text = read_text(original)
    text["gateway"] = text["gateway"].replace('"tiny":"', '"tiny":"0')
    black = Pixels(32, 32, 3, bytes(32 * 32 * 3))
    (tmp_path / "old.png").write_bytes(encode(black, "png", text=text))
    again = typed("--from", "old.png", "-o", "again.png")
    assert again.returncode == 0, again.stderr
    assert "differs from its receipt: weights of tiny: 0" in again.stderr
    assert "pixels differ by up to" in again.stderr


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("a.webp", "WEBP")])
def test_the_name_decides_the_format(typed: Typed, tmp_path: Path, name: str, kind: str) -> None:
    drawn = typed("a cat", "--model", "tiny", "--steps", "1", "-o", name)
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(BytesIO((tmp_path / name).read_bytes())).format == kind


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "'prompt'"),
        (("a cat", "-o", "cat.gif"), ".png"),
        (("a cat", "-o", "none/cat.png"), "no folder none"),
        (("a cat", "--model", "nothing"), "`nothing` does not exist"),
        (("a cat", "--model", "tiny", "--steps", "11"), "num_inference_steps"),
        (("a cat", "--model", "tiny", "--lora", "none"), "no adapter `none`"),
        (("a cat", "--model", "tiny", "--lora", "none=x"), "loras[0].scale"),
        (("a cat", "--from", "plain.png"), "no receipt"),
    ],
)
def test_a_fault_is_one_line(
    typed: Typed, tmp_path: Path, words: tuple[str, ...], fault: str
) -> None:
    (tmp_path / "plain.png").write_bytes(encode(Pixels(1, 1, 3, bytes(3)), "png"))
    failed = typed(*words)
    assert failed.returncode == 2
    assert fault in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr


def test_from_takes_no_other_word(typed: Typed, tmp_path: Path) -> None:
    typed("a cat", "--model", "tiny", "--steps", "1", "-o", "cat.png")
    failed = typed("a dog", "--from", "cat.png")
    assert failed.returncode == 2
    assert "leave out prompt" in failed.stderr
