"""Folders as people have them: nested, copied out of the hub's cache, with odd names or pieces."""

import os
import shutil
from pathlib import Path

import pytest

from gateway.catalog.collection import Collection, Folders
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.stamps import stamps_of, wait_for_tick
from gateway.catalog.survey.survey import faults_of
from tests.catalog.making import UNET, hollow, lora, model, weights, write

STEM = "unet/diffusion_pytorch_model"


def bare(folder: Path) -> Path:
    """A whole model without a card."""
    (model(folder) / "card.toml").unlink()
    return folder


def cached(folder: Path, commit: str = "abc") -> Path:
    """A repository as the hub's cache has it: links to files that have no endings."""
    place = bare(folder / "snapshots" / commit)
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs/main").write_text(commit)
    for number, file in enumerate(sorted(path for path in place.rglob("*") if path.is_file())):
        blob = folder / "blobs" / f"{commit}{number}"
        shutil.move(file, blob)
        file.symlink_to(os.path.relpath(blob, file.parent))
    return folder


@pytest.mark.parametrize(
    ("place", "id"),
    [
        ("My Model (v1.0)", "My Model (v1.0)"),
        ("JUGGERNAUT-XL", "JUGGERNAUT-XL"),
        ("someone/painter", "someone/painter"),
        ("checkpoint-500/pipeline", "checkpoint-500/pipeline"),
        ("модель", "модель"),
    ],
)
def test_a_folder_is_an_endpoint_by_its_name(tmp_path: Path, place: str, id: str) -> None:
    bare(tmp_path / place)
    catalog = load_catalog((tmp_path,), ())
    assert list(catalog.endpoints) == [id]
    assert faults_of(catalog) == {}
    assert catalog.passed_over == ()


def test_a_repository_of_the_hubs_cache_is_one_at_its_main_commit(tmp_path: Path) -> None:
    place = cached(tmp_path / "models--someone--painter", "new")
    cached(place, "old")
    (place / "refs/main").write_text("new")
    catalog = load_catalog((tmp_path,), ())
    assert list(catalog.endpoints) == ["someone/painter"]
    assert faults_of(catalog) == {}
    assert catalog.endpoints["someone/painter"].folder == place / "snapshots/new"
    (place / "refs/main").unlink()
    assert list(load_catalog((tmp_path,), ()).endpoints) == ["someone/painter"]


def test_what_a_link_leads_to_is_used(tmp_path: Path) -> None:
    bare(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/linked").symlink_to(tmp_path / "elsewhere")
    catalog = load_catalog((tmp_path / "models",), ())
    assert list(catalog.endpoints) == ["linked"]
    assert faults_of(catalog) == {}


def test_shards_that_nothing_lists_are_told(tmp_path: Path) -> None:
    unet = bare(tmp_path / "mine") / f"{STEM}.safetensors"
    shard = weights(unet.with_name(f"{unet.stem}-00001-of-00002.safetensors"), UNET)
    # Beside the whole file nobody looks for it.
    assert faults_of(load_catalog((tmp_path,), ())) == {}
    unet.unlink()
    fault = faults_of(load_catalog((tmp_path,), ()))["mine"]
    assert f"unet: what lists its shards, as {shard.name}, is missing" in str(fault)


def test_a_config_that_diffusers_cannot_read_is_told_before(tmp_path: Path) -> None:
    index = bare(tmp_path / "mine") / "model_index.json"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert "not valid JSON: Unexpected UTF-8 BOM" in str(
        faults_of(load_catalog((tmp_path,), ()))["mine"]
    )


@pytest.mark.parametrize("place", ["painter", "someone/painter", "models--someone--painter"])
def test_what_comes_while_it_is_served_is_seen(tmp_path: Path, place: str) -> None:
    folders = Folders((tmp_path,))
    made = tmp_path.parent / f"{tmp_path.name}-made"
    source = cached(made) if "--" in place else bare(made)
    # As a copy goes: folders first, and what names the parts at last.
    shutil.copytree(source, tmp_path / place, symlinks=True, ignore=lambda _, names: [
        name for name in names if name == "model_index.json"
    ])  # fmt: skip
    # What has changed this moment is read anew in any case.
    wait_for_tick(stamps_of(list(folders.watched())).values())
    collection = Collection(lambda: load_catalog((tmp_path,), ()), folders)
    assert list(collection.renewed().endpoints) == []
    [index] = source.rglob("model_index.json")
    shutil.copy(index, tmp_path / place / index.relative_to(source), follow_symlinks=False)
    assert len(collection.renewed().endpoints) == 1
    wait_for_tick(stamps_of(list(folders.watched())).values())
    assert len(collection.renewed().endpoints) == 1
    shutil.rmtree(tmp_path / place)
    assert list(collection.renewed().endpoints) == []


WHOLE: dict[str, tuple[int, ...]] = {
    "model.diffusion_model.output_blocks.11.0.skip_connection.weight": (320, 640, 1, 1),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    "cond_stage_model.transformer.text_model.final_layer_norm.bias": (768,),
}


@pytest.mark.parametrize(
    ("place", "id"),
    [
        ("My Mix (v1.5) – ünï.safetensors", "My Mix (v1.5) – ünï"),
        ("mix.v1.2-fp16.safetensors", "mix.v1.2-fp16"),
        ("mix of night.sft", "mix of night"),
        ("Anime/the mix.safetensors", "Anime/the mix"),
    ],
)
def test_a_file_of_a_whole_model_is_an_endpoint_by_its_name(
    tmp_path: Path, place: str, id: str
) -> None:
    hollow(write(tmp_path / "models" / place, ""), WHOLE)
    beside = tmp_path / "adapters" / id.replace("/", "--")
    for name in ("Ink (v2) – ü", "ink@night"):
        file = write(beside / f"{name}.safetensors", "")
        hollow(file, {"lora_unet_x.lora_down.weight": (4, 320)})
    catalog = load_catalog((tmp_path / "models",), (tmp_path / "adapters",))
    assert list(catalog.endpoints) == [id]
    assert catalog.resolve(id).id == id
    assert catalog.resolve(f"{id}:ink@night").id == f"{id}:ink@night"
    assert catalog.resolve(f"{id}:Ink (v2) – ü@abc").pins == {f"{id}:Ink (v2) – ü": "abc"}
    assert catalog.routes(id) == ["Ink (v2) – ü", "ink@night"]
    assert id not in faults_of(catalog)
    assert catalog.passed_over == ()


def test_parts_in_a_folder_are_no_endpoints(tmp_path: Path) -> None:
    denoiser, autoencoder, encoder = ({name: shape} for name, shape in WHOLE.items())
    for name, shapes in {"a": denoiser, "b": autoencoder, "c": encoder}.items():
        hollow(write(tmp_path / "diffusion_models" / f"{name}.safetensors", ""), shapes)
    catalog = load_catalog((tmp_path,), ())
    assert catalog.endpoints == {}
    assert [fault.path for fault in catalog.passed_over] == [tmp_path / "diffusion_models"]


def test_endings_may_be_in_capitals(tmp_path: Path) -> None:
    models, beside = tmp_path / "models", tmp_path / "beside"
    model(models / "mine")
    weights(models / "Whole.SAFETENSORS", UNET)
    write(models / "Packed.GGUF", b"GGUF")
    write(models / "Old.CKPT", b"pickle")
    lora(beside / "mine/Ink.SafeTensors", 768)
    catalog = load_catalog((models,), (beside,), (beside,), (beside,))
    assert catalog.endpoints.keys() == {"mine", "Whole", "Packed"}
    for found in (catalog.adapters, catalog.controls, catalog.embeddings):
        assert found.keys() == {("mine", "Ink")}
    (told,) = catalog.passed_over
    assert "pickled weights are refused" in str(told)
    assert "mine:Ink" not in faults_of(catalog)


def test_links_that_lead_nowhere_or_back_are_told(tmp_path: Path) -> None:
    bare(tmp_path / "mine")
    weights(tmp_path / "odd.safetensors", UNET)
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "back").symlink_to(".")
    catalog = load_catalog((tmp_path,), ())
    assert catalog.endpoints.keys() == {"mine", "odd", "loop"}
    assert [str(each.path) for each in catalog.passed_over] == [str(tmp_path / "back")]
    assert "leads back" in catalog.passed_over[0].reason
    assert "its link leads nowhere" in faults_of(catalog)["loop"].reason
