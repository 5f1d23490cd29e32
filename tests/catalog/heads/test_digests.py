"""Digests follow the bytes of the weights, and are computed once for each change."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.catalog.heads.digests import LENGTH, Digests


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Weights in two files."""
    found = [tmp_path / part / "model.safetensors" for part in ("unet", "vae")]
    for path in found:
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    return found


def test_one_file_has_its_own_hash_and_several_have_one_together(
    files: list[Path], tmp_path: Path
) -> None:
    digests = Digests(tmp_path / "data")
    assert digests.of(files[:1]) == hashlib.sha256(b"unet").hexdigest()[:LENGTH]
    together = digests.of(files)
    assert len(together or "") == LENGTH
    assert together not in (digests.of(files[:1]), digests.of(files[1:]))
    assert digests.of([]) is None


def test_a_changed_byte_changes_it_and_only_it(files: list[Path], tmp_path: Path) -> None:
    digests = Digests(tmp_path / "data")
    before = [digests.of([path]) for path in files]
    facts = files[0].stat()
    files[0].write_bytes(b"UNET")
    os.utime(files[0], ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as `cp -p` does
    assert digests.of(files[:1]) != before[0]
    assert digests.of(files[1:]) == before[1]


def test_files_are_read_once(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Digests(tmp_path / "data").of(files)

    def refuse(*_: object) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert Digests(tmp_path / "data").of(files) == first


def test_a_damaged_cache_is_made_anew(files: list[Path], tmp_path: Path) -> None:
    first = Digests(tmp_path / "data").of(files)
    (tmp_path / "data" / "digests.json").write_text("{half")
    assert Digests(tmp_path / "data").of(files) == first


def test_a_memory_that_cannot_be_written_spoils_no_digest(
    files: list[Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"a file where a folder should be")
    assert Digests(data).of(files[:1]) == hashlib.sha256(b"unet").hexdigest()[:LENGTH]


def test_two_processes_remember_in_one_folder(files: list[Path], tmp_path: Path) -> None:
    data = tmp_path / "data"

    def read(number: int) -> str | None:
        own = tmp_path / f"{number}.safetensors"
        own.write_bytes(str(number).encode())
        return Digests(data).of([own])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read, range(64)))
    assert found == [hashlib.sha256(str(n).encode()).hexdigest()[:LENGTH] for n in range(64)]
    assert [path.name for path in data.iterdir()] == ["digests.json"]
