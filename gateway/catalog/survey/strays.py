"""What lies in the folders of models and adapters and is passed over, although it looks meant."""

import os
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from itertools import chain
from os.path import exists, isdir
from pathlib import Path

from gateway.catalog.cards import CARD, CardError, near
from gateway.catalog.heads.endings import PICKLES, REFUSED, SINGLE, WEIGHTS, ends, lying_in
from gateway.catalog.heads.headers import UNFINISHED
from gateway.catalog.sources.weights import INDEX

CARDS = ".toml"
WANTED = f"wanted ENDPOINT/NAME{WEIGHTS}"

_FOREIGN = (".gguf", ".sft", ".onnx")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".zst")
_ASIDE = (".", "_")
"""What begins with these nobody means to be seen."""

_LIKE = 0.85
"""`.tml` is as like `.toml`, and `.html` is not."""


def folder_faults(folders: Iterable[Path]) -> Iterator[CardError]:
    """What is wrong with folders that the settings name."""
    for folder in folders:
        if not exists(folder):
            beside = [path.name for path in _entries(folder.parent) if isdir(path)]
            yield CardError(f"there is no such folder{near(folder.name, beside)}", folder)
        elif not isdir(folder):
            yield CardError("is no folder", folder)
        elif not _can_be_read(folder):
            yield CardError("cannot be read: Permission denied", folder)


def strays_of_models(folder: Path, used: Collection[Path]) -> Iterator[CardError]:
    """What of a folder of models belongs to none; `used` are the files and folders that do."""
    for path in _entries(folder):
        if isdir(path):
            if not _can_be_read(path):
                yield _passed_over(path, "it cannot be read: Permission denied")
            elif leads_back(path):
                yield _passed_over(path, "its link leads back to the folder that it lies in")
            elif not _holds_any(path, used):
                yield _passed_over(path, f"it has neither {CARD} nor {INDEX}{_instead(path)}")
        elif path not in used and (reason := _about(path, CARDS, WEIGHTS)):
            yield _passed_over(path, reason)


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _instead(folder: Path) -> str:
    """What of a folder may have been meant."""
    if lying_in(folder, *SINGLE):
        return ", nor a whole model in one file; `gateway models add FILE` writes one's card"
    return near(CARD, [inner.name for inner in _entries(folder)])


def strays_of_adapters(
    folder: Path, used: Collection[Path], endpoints: Collection[str]
) -> Iterator[CardError]:
    """What of a folder of adapters belongs to none of the endpoints there are."""
    names = [id.replace("/", "--") for id in endpoints]
    for owner in _entries(folder):
        if not isdir(owner):
            if _is_meant(owner):
                yield _passed_over(owner, f"it lies in no endpoint's folder; {WANTED}")
        elif owner.name not in names:
            if _meant_in(owner):
                told = near(owner.name, names)
                yield _passed_over(owner, f"no endpoint is called '{owner.name}'{told}")
        elif not _can_be_read(owner):
            yield _passed_over(owner, "it cannot be read: Permission denied")
        else:
            yield from _strays_of_owner(owner, used)


def _strays_of_owner(owner: Path, used: Collection[Path]) -> Iterator[CardError]:
    for path in _entries(owner):
        if isdir(path):
            if not _holds_any(path, used) and (meant := _meant_in(path)):
                yield _passed_over(meant, f"it lies too deep without a {CARD}; {WANTED}")
        elif path not in used and (reason := _about(path, CARDS, WEIGHTS)):
            yield _passed_over(path, reason)


def _passed_over(path: Path, reason: str) -> CardError:
    return CardError(f"passed over: {reason}", path)


def _about(path: Path, *wanted: str) -> str | None:
    """Why a file is passed over; None for what nobody takes for a model or a card."""
    ending = path.suffix.lower()
    likely = get_close_matches(ending, wanted, 1, _LIKE)
    reasons = {
        "not downloaded to its end": ending in UNFINISHED,
        REFUSED: ending in PICKLES,
        f"'{path.suffix}' is not read": ending in _FOREIGN,
        f"'{path.suffix}' is not read; wanted the files that are packed in it": ending in _ARCHIVES,
        f"misspelt; wanted its name to end in {WEIGHTS}": f"{WEIGHTS}." in path.name.lower(),
        f"misspelt '{path.suffix}'; wanted {''.join(likely)}": bool(likely),
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)


def _is_meant(path: Path) -> bool:
    return path.suffix == CARDS or ends(path, WEIGHTS) or _about(path, CARDS, WEIGHTS) is not None


def _meant_in(folder: Path) -> Path | None:
    """The first file of a folder, or of one within, that looks meant."""
    inner = _entries(folder)
    files = chain(inner, *(_entries(path) for path in inner if isdir(path)))
    return next((path for path in files if not isdir(path) and _is_meant(path)), None)


def _holds_any(folder: Path, used: Collection[Path]) -> bool:
    return any(each.is_relative_to(folder) for each in used)


def _entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(_ASIDE)]


def _can_be_read(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)
