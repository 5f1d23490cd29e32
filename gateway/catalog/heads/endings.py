"""How names of files end that hold weights; capitals mean what small letters do."""

from pathlib import Path, PurePath

WEIGHTS, GGUF = ".safetensors", ".gguf"
SINGLE = (WEIGHTS, ".sft", GGUF)
"""Endings of single files of weights; the second is another spelling of the first."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
REFUSED = f"pickled weights are refused; wanted {WEIGHTS}, which `gateway convert` makes of them"

SEEN = "[!.]*"
"""What is not hidden, such as what file systems and copies leave beside files."""


def ends(file: PurePath | str, *endings: str) -> bool:
    """Whether a file's name has one of some endings."""
    return PurePath(file).name.lower().endswith(endings)


def lying_in(folder: Path, *endings: str, at: str = SEEN) -> list[Path]:
    """What of a folder has one of some endings, of what a pattern finds."""
    return sorted(path for path in folder.glob(at) if ends(path, *endings))
