"""Digests follow the bytes of the weights, and are computed once for each change."""

import hashlib
import json
from pathlib import Path

import pytest

from gateway.catalog.cards import AdapterCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.digests import LENGTH, Digests
from gateway.job import AdapterUse, Job

JOB = Job(
    id="one",
    endpoint="tiny",
    prompt="a cat",
    num_inference_steps=1,
    width=8,
    height=8,
    seeds=(1,),
    adapters=(AdapterUse("style"), AdapterUse("far")),
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """An endpoint of two parts, an adapter's file, and an adapter that is not on this disk."""
    for part in ("unet", "vae"):
        folder = tmp_path / "models" / part
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(part.encode())
    (tmp_path / "models" / "model_index.json").write_text(json.dumps({"_class_name": "Some"}))
    (tmp_path / "style.safetensors").write_bytes(b"style")
    endpoint = EndpointCard(id="tiny", path=tmp_path / "models" / "card.toml")
    here = tmp_path / "card.toml"
    style = AdapterCard(endpoint="tiny", route="style", source="style.safetensors", path=here)
    far = AdapterCard(endpoint="tiny", route="far", source="someone/far", path=here)
    return Catalog({"tiny": endpoint}, {("tiny", "style"): style, ("tiny", "far"): far})


def test_every_part_of_a_job_has_one(catalog: Catalog, tmp_path: Path) -> None:
    digests = Digests(tmp_path / "data").of_job(JOB, catalog)
    assert list(digests) == ["tiny", "tiny:style", "tiny:far"]
    assert digests["tiny:far"] is None
    assert all(len(digests[id] or "") == LENGTH for id in ("tiny", "tiny:style"))
    assert digests["tiny"] != digests["tiny:style"]


def test_a_changed_byte_changes_it_and_only_it(catalog: Catalog, tmp_path: Path) -> None:
    before = Digests(tmp_path / "data").of_job(JOB, catalog)
    (tmp_path / "models" / "unet" / "model.safetensors").write_bytes(b"another unet")
    after = Digests(tmp_path / "data").of_job(JOB, catalog)
    assert after["tiny"] != before["tiny"]
    assert after["tiny:style"] == before["tiny:style"]


def test_files_are_read_once(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Digests(tmp_path / "data").of_job(JOB, catalog)

    def refuse(*_: object) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert Digests(tmp_path / "data").of_job(JOB, catalog) == first


def test_a_damaged_cache_is_made_anew(catalog: Catalog, tmp_path: Path) -> None:
    first = Digests(tmp_path / "data").of_job(JOB, catalog)
    (tmp_path / "data" / "digests.json").write_text("{half")
    assert Digests(tmp_path / "data").of_job(JOB, catalog) == first
