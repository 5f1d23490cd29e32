"""A picture's URL opens it until it expires, and nothing else does."""

import os
import re
import stat
import time
from pathlib import Path

import pytest

from gateway.images.store import PictureStore, content_type, read_secret

PNG = b"\x89PNG picture"


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(str(tmp_path / "pictures"), tmp_path, minutes=1)


def parts(path: str) -> tuple[str, str]:
    match = re.fullmatch(r"/pictures/([0-9]+-[0-9a-f]+)/([0-9a-f]+\.[a-z]+)", path)
    assert match
    return match[1], match[2]


@pytest.mark.parametrize("location", ["folder", "memory:///"])
async def test_what_is_put_is_read_by_its_url(tmp_path: Path, location: str) -> None:
    where = location if "://" in location else str(tmp_path / location)
    store = PictureStore(where, tmp_path, minutes=1)
    name = await store.put(PNG, "png")
    ticket, named = parts(store.url_path(name))
    assert named == name
    assert 58 <= store.seconds_left(name, ticket) <= 60
    assert await store.get(name) == PNG
    assert content_type(name) == "image/png"


async def test_a_ticket_opens_its_own_picture_for_its_own_time(store: PictureStore) -> None:
    name, other = await store.put(PNG, "png"), await store.put(PNG, "webp")
    ticket, _ = parts(store.url_path(name))
    expiry, _, signature = ticket.partition("-")
    assert store.seconds_left(other, ticket) == 0
    for forged in (f"{int(expiry) + 1}-{signature}", signature, "", "-", f"x-{signature}", "1-ä"):
        assert store.seconds_left(name, forged) == 0


async def test_a_url_expires_and_its_picture_is_swept(tmp_path: Path) -> None:
    store = PictureStore(str(tmp_path / "pictures"), tmp_path, minutes=1)
    old, young = await store.put(PNG, "png"), await store.put(PNG, "png")
    past = time.time() - 61
    os.utime(tmp_path / "pictures" / "pictures" / old, (past, past))
    assert await store.sweep() == 1
    assert await store.get(old) is None
    assert await store.get(young) == PNG
    brief = PictureStore(str(tmp_path / "pictures"), tmp_path, minutes=0)
    ticket, _ = parts(brief.url_path(young))
    assert brief.seconds_left(young, ticket) == 0


@pytest.mark.parametrize("name", ["../keys.json", "a.png", "", "x" * 30 + ".txt", "ä" * 30 + ".png"])
async def test_a_name_that_was_never_given_out_reads_nothing(
    store: PictureStore, name: str
) -> None:
    assert await store.get(name) is None


def test_a_secret_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "pictures.key"
    secret = read_secret(path)
    assert len(secret) == 32
    assert read_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["pictures.key"]


async def test_another_folder_signs_otherwise(tmp_path: Path) -> None:
    mine = PictureStore("memory:///", tmp_path / "one", minutes=1)
    theirs = PictureStore("memory:///", tmp_path / "two", minutes=1)
    name = await mine.put(PNG, "png")
    ticket, _ = parts(mine.url_path(name))
    assert theirs.seconds_left(name, ticket) == 0
