"""A version of a model on Civitai: its files of weights, each on this disk, whole and verified."""

import re
from contextlib import suppress
from pathlib import Path

import msgspec
from huggingface_hub import get_session, hf_raise_for_status
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is

from gateway.catalog.cards import CardError
from gateway.catalog.heads.endings import GGUF, PICKLES, REFUSED, WEIGHTS, ends
from gateway.catalog.sources.civitai import (
    PATIENCE_SECONDS,
    TOLD,
    File,
    ask_version,
    folder_of,
    headers_for,
)
from gateway.fetching.choice import Listed
from gateway.fetching.download import At, Origin, download

UNIT_BYTES = 1024
OTHER_KINDS = ("VAE", "Config", "Training Data", "Archive", "Negative")
"""What lies beside a version's weights."""

_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,199}")
_LINK = re.compile(r"https?://.+")
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class Release:
    """A version of a model; a `Repository` of one file of weights, or of that by a name.

    Raises one of `FAULTS` where Civitai does not answer.

    Raises:
        CardError: it has no weights that may be used.
    """

    def __init__(self, source: str, name: str | None = None) -> None:
        self.source = source
        self._version = ask_version(source)
        self._file = chosen(self._version.files, name)
        size_bytes = round(self._file.size_kb * UNIT_BYTES)
        self.listed = [Listed(self._file.name, size_bytes, self._file.sha256)]

    def is_here(self, file: Listed) -> bool:
        """Whether a file is on this disk."""
        return (folder_of(self.source) / file.name).is_file()

    def bytes_to_come(self, file: Listed) -> int:
        """How much of a file is to be downloaded."""
        return file.size_bytes

    def file(self, file: Listed, at: At) -> Path:
        """A file on this disk, with what was told of it beside it.

        Raises:
            CardError: what comes is not what was announced.
        """
        place = folder_of(self.source) / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(place.parent / ".lock"):
            if not place.is_file():
                origin = Origin(self._file.download_url, headers_for(self._file.download_url))
                part = place.with_name(f"{place.name}.part")
                exact = msgspec.structs.replace(file, size_bytes=_size_bytes(origin, file))
                download(origin, part, exact, at)
                told = self._version
                with suppress(CardError):  # a file that was asked for by name may be the only one
                    told = msgspec.structs.replace(told, main=chosen(told.files).name)
                (place.parent / TOLD).write_bytes(msgspec.json.encode(told))
                part.replace(place)
        at(file.size_bytes)
        return place


def chosen(files: tuple[File, ...], name: str | None = None) -> File:
    """The file of weights that is meant: the one of a name, else the main one that can be used.

    Raises:
        CardError: there is none, or it cannot be verified.
    """
    likely = [file for file in files if (file.name == name if name else _is_weights(file))]
    likely = likely if likely or name else list(files)
    usable = [file for file in likely if _is_usable(file)]
    if not usable:
        told = ", ".join(repr(file.name) for file in likely or files) or "none"
        if any(ends(file.name, *PICKLES) for file in likely):
            raise CardError(f"{told}: {REFUSED}")
        wanted = f"called {name!r}" if name else f"that ends in {WEIGHTS} or {GGUF}"
        raise CardError(f"the version has no file {wanted}; its files: {told}")
    file = max(usable, key=lambda each: (ends(each.name, WEIGHTS), each.primary))
    if not file.sha256:
        raise CardError(f"{file.name}: Civitai tells no SHA-256 of it to verify it by")
    return file


def _is_weights(file: File) -> bool:
    return file.type not in OTHER_KINDS


def _is_usable(file: File) -> bool:
    is_plain = _NAME.fullmatch(file.name) is not None and file.name.isprintable()
    is_link = _LINK.match(file.download_url) is not None
    return is_plain and is_link and ends(file.name, WEIGHTS, GGUF)


def _size_bytes(origin: Origin, file: Listed) -> int:
    """How long a file is; the site's listing rounds it, and where it leads is not asked by HEAD."""
    asked = {**origin.headers, "range": "bytes=0-0"}
    with get_session().stream(
        "GET", origin.url, headers=asked, timeout=PATIENCE_SECONDS
    ) as answer:
        hf_raise_for_status(answer)
        told = _TOTAL.match(answer.headers.get("content-range", ""))
        length = answer.headers.get("content-length", "")
    if told:
        return int(told[1])
    return int(length) if answer.status_code == 200 and length.isdigit() else file.size_bytes
