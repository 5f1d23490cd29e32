"""Names of pictures that clients know: each says by itself which run made it.

ComfyUI numbers its files in one folder. Here every run has a folder of its own, so its id
stands in the name; clients that leave out `subfolder` find their pictures as well.
"""

import re
from typing import NamedTuple

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = re.compile(rf"(.{{1,200}}_)({_ID})(\.[a-z]{{3,4}})", re.DOTALL)
_RUN = re.compile(_ID)
_FOLDERS = (" [input]", " [output]", " [temp]")


class Made(NamedTuple):
    """A picture that a run made."""

    run_id: str
    filename: str


def picture_name(run_id: str, filename: str) -> str:
    """`ComfyUI_00001_.png` of a run with the run's id in it."""
    stem, dot, extension = filename.rpartition(".")
    return f"{stem}{run_id}{dot}{extension}"


def made_by(name: str) -> Made | None:
    """The run and the file that such a name means."""
    found = _NAME.fullmatch(name)
    return Made(found[2], found[1] + found[3]) if found else None


def is_run_id(text: str) -> bool:
    """Whether a client may name a run so."""
    return _RUN.fullmatch(text) is not None


def upload_name(filename: str, subfolder: str) -> str:
    """The name of an uploaded file, with the folder it was put into; no way leads out of that."""
    for note in _FOLDERS:
        filename = filename.removesuffix(note)
    parts = [*subfolder.replace("\\", "/").split("/"), filename.replace("\\", "/").split("/")[-1]]
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def numbered(name: str, number: int) -> str:
    """`a.png` as `a (1).png`, for a file whose name is taken."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return f"{name} ({number})"
    return f"{stem} ({number}).{extension}"
