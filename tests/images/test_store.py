"""A picture is found by the name it was given, until it is swept."""

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.images.signing import read_secret
from gateway.images.store import PREFIX, PictureStore, content_type
from gateway.settings import Settings

PNG = b"\x89PNG picture"


def parts(url: str) -> tuple[str, int, str]:
    match = re.fullmatch(PREFIX + r"([0-9a-f]{32}\.\w+)\?expires=(\d+)&signature=([0-9a-f]+)", url)
    assert match
    return match[1], int(match[2]), match[3]


async def read(store: PictureStore, name: str) -> bytes | None:
    """A picture, or None where there is none of that name."""
    stored = await store.open(name)
    return await stored.whole() if stored else None


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(Settings(data=tmp_path, url_minutes=1))


@pytest.mark.parametrize("location", [None, "memory:///"])
async def test_what_is_put_is_read_by_its_name(tmp_path: Path, location: str | None) -> None:
    store = PictureStore(Settings(data=tmp_path, store=location))
    names = [await store.put(PNG, "png"), await store.put(b"other", "jpeg")]
    assert [await read(store, name) for name in names] == [PNG, b"other"]
    assert [content_type(name) for name in names] == ["image/png", "image/jpeg"]
    assert await read(store, "0" * 32 + ".png") is None


async def test_a_folder_holds_the_pictures(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    store = PictureStore(Settings(data=tmp_path / "data", store=str(elsewhere)))
    await store.put(PNG, "png")
    assert [path.read_bytes() for path in elsewhere.rglob("*.png")] == [PNG]


async def test_a_signature_fits_one_name_and_one_expiry(store: PictureStore) -> None:
    name, other = await store.put(PNG, "png"), await store.put(PNG, "webp")
    named, expires, signature = parts(store.url_path(name))
    assert named == name
    assert store.is_signed(name, expires, signature)
    assert not store.is_signed(other, expires, signature)
    assert not store.is_signed(name, expires + 1, signature)
    for forged in ("", "0" * len(signature), "ä", signature[:-1]):
        assert not store.is_signed(name, expires, forged)


async def test_another_gateway_signs_otherwise(tmp_path: Path) -> None:
    mine, theirs = (PictureStore(Settings(data=tmp_path / name)) for name in ("one", "two"))
    name, expires, signature = parts(mine.url_path("0" * 32 + ".png"))
    assert mine.is_signed(name, expires, signature)
    assert not theirs.is_signed(name, expires, signature)
    again = PictureStore(Settings(data=tmp_path / "one"))
    assert again.is_signed(name, expires, signature), "a restart broke the URLs given out"


async def test_pictures_are_swept_once_no_url_can_lead_to_them(store: PictureStore) -> None:
    name = await store.put(PNG, "png")
    now = datetime.now(UTC)
    assert await store.sweep(now + timedelta(seconds=50)) == 0
    assert await read(store, name) == PNG
    assert await store.sweep(now + timedelta(seconds=65)) == 1
    assert await read(store, name) is None


def test_the_secret_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "url-secret"
    secret = read_secret(path)
    assert len(secret) >= 32
    assert read_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["keys.json", "a", "a.svg", ""])
def test_only_pictures_have_a_content_type(name: str) -> None:
    assert content_type(name) is None
