"""What is wrong with a model's files is seen before they are loaded."""

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads import libraries
from gateway.catalog.survey.adapters import header_of
from gateway.catalog.survey.inspection import inspect_endpoint
from gateway.catalog.survey.survey import faults_of, oddities_of, state_of
from tests.catalog.making import INDEX, UNET, lora, model, weights, write

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
Change = Callable[[Path], object]


def read(folder: Path) -> Catalog:
    return load_catalog((folder / "models",), (folder / "adapters",))


def reasons(folder: Path) -> dict[str, str]:
    return {id: fault.reason for id, fault in faults_of(read(folder)).items()}


def card(text: str) -> Change:
    return lambda folder: write(folder / "card.toml", f'id = "sd"\n{text}')


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def shards(folder: Path) -> None:
    (folder / UNET_FILE).unlink()
    name = "diffusion_pytorch_model-0000{}-of-00002.safetensors"
    weights(folder / "unet" / name.format(1), UNET)
    listed = {"a": name.format(1), "b": name.format(2)}
    write(folder / f"{UNET_FILE}.index.json", {"weight_map": listed})


def linked(folder: Path) -> None:
    (folder / UNET_FILE).unlink()
    (folder / UNET_FILE).symlink_to("/nowhere")


MODELS: dict[str, tuple[Change, str]] = {
    "variant": (card('variant = "fp16"'), "'variant' = 'fp16': there is no file of this variant"),
    "shard": (shards, "unet: the shard diffusion_pytorch_model-00002-of-00002.* is missing"),
    "part": (lambda f: (f / "vae").rename(f / "eav"), "the part 'vae' is not there"),
    "weights": (lambda f: (f / UNET_FILE).unlink(), "unet: its weights are missing"),
    "pickle": (
        lambda f: (f / UNET_FILE).rename(f / "unet/model.bin"),
        r"unet/model.bin: pickled weights are refused",
    ),
    "config": (lambda f: (f / "unet/config.json").unlink(), "unet: config.json is missing"),
    "scheduler": (
        lambda f: (f / "scheduler/scheduler_config.json").rename(f / "scheduler/x.json"),
        "scheduler: scheduler_config.json is missing",
    ),
    "cut": (lambda f: cut(f / UNET_FILE), rf"{UNET_FILE}: not a whole safetensors file: [\d,]+ of"),
    "left": (
        lambda f: (f / UNET_FILE).rename(f / f"{UNET_FILE}.incomplete"),
        "weights are missing; .*incomplete was not downloaded to its end",
    ),
    "aria": (lambda f: write(f / f"{UNET_FILE}.aria2", ""), "not downloaded to its end: there is"),
    "link": (linked, f"{UNET_FILE}: its link leads nowhere"),
    "index": (lambda f: write(f / "model_index.json", "{"), "model_index.json: not valid JSON"),
    "list": (lambda f: write(f / "model_index.json", "[]"), "model_index.json: wanted an object"),
    "json": (lambda f: write(f / "vae/config.json", "{"), "vae/config.json: not valid JSON"),
    "deep": (lambda f: write(f / "vae/config.json", "[" * 99999), "vae/config.json: not valid"),
    "pipe": (lambda f: os.mkfifo(f / "vae" / "x.json"), "vae/x.json: is no file"),
    "no package": (
        lambda f: write(f / "model_index.json", INDEX | {"vae": ["../", "Vae"]}),
        "needs the package '', which is not installed",
    ),
    "package": (
        lambda f: write(f / "model_index.json", INDEX | {"vae": ["nopackage", "Vae"]}),
        "needs the package 'nopackage', which is not installed",
    ),
    "pipeline": (
        lambda f: write(f / "model_index.json", INDEX | {"_class_name": "StableDifusionPipeline"}),
        "no class 'StableDifusionPipeline'; did you mean 'StableDiffusionPipeline'",
    ),
    "videos": (
        lambda f: write(f / "model_index.json", INDEX | {"_class_name": "CogVideoXPipeline"}),
        "CogVideoXPipeline makes videos, not pictures",
    ),
    "card's videos": (card('pipeline = "LTXPipeline"'), "LTXPipeline makes videos, not pictures"),
    "sounds": (
        lambda f: write(f / "model_index.json", INDEX | {"_class_name": "AudioLDM2Pipeline"}),
        "AudioLDM2Pipeline makes sounds, not pictures",
    ),
    "component": (
        lambda f: write(f / "model_index.json", INDEX | {"vae": ["diffusers", "AutoKoder"]}),
        "no class 'AutoKoder'",
    ),
    "text encoder": (
        lambda f: write(
            f / "model_index.json", INDEX | {"text_encoder": ["transformers", "CLIPTextModle"]}
        ),
        "transformers has no class 'CLIPTextModle'; did you mean 'CLIPTextModel'",
    ),
    "card's class": (card('pipeline = "NoPipeline"'), "key 'pipeline': diffusers has no class"),
    "card's edit": (card('edit_pipeline = "No"'), "key 'edit_pipeline': diffusers has no class"),
    "card's scheduler": (card('scheduler = { class = "No" }'), "key 'scheduler.class': diffusers"),
    "fused": (card('fused = [{ source = "no.safetensors" }]'), "no.safetensors: is not there"),
    "source": (card('source = "./unt"'), "there is no such folder; did you mean 'unet'"),
    "device": (card('device = "gpu"'), "key 'device' = 'gpu'"),
    "field": (card("stpes = 4"), "unknown field `stpes`; did you mean 'steps'"),
    "toml": (card("steps ="), "not valid TOML"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_no_use_is_told_and_no_other_is_harmed(tmp_path: Path, name: str) -> None:
    change, says = MODELS[name]
    folder, _ = model(tmp_path / "models" / "sd"), model(tmp_path / "models" / "well")
    assert reasons(tmp_path) == {}
    change(folder)
    found = faults_of(read(tmp_path))
    assert list(found) == ["sd"]
    assert state_of(found["sd"]) == "unusable"
    assert re.search(says, found["sd"].reason)
    assert str(tmp_path) not in found["sd"].reason
    assert str(folder / "card.toml") in str(found["sd"])


def test_what_is_on_the_hub_is_not_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "models" / "far.toml", 'id = "far"\nsource = "someone/something"')
    lora(tmp_path / "adapters" / "far" / "ink.safetensors", 768)
    assert {id: state_of(fault) for id, fault in faults_of(read(tmp_path)).items()} == {
        "far": "not_downloaded",
        "far:ink": "not_downloaded",
    }


LORAS: dict[str, tuple[Change, str]] = {
    "wide": (lambda f: lora(f, 3072), r"no layers as wide as those it changes \(3072\)$"),
    "told": (
        lambda f: lora(f, 2048, **{"modelspec.architecture": "stable-diffusion-xl"}),
        r"\(2048\); it was made for stable-diffusion-xl",
    ),
    "kohya": (lambda f: lora(f, 3072, "lora_unet_double_blocks_0_img_attn_qkv"), r"\(3072\)"),
    "ip": (lambda f: weights(f, {"ip_adapter.1.to_k_ip.weight": (1, 1)}),
           "IP-Adapter weights are no adapter that is read here"),
    "control": (lambda f: weights(f, {"diffusion_model.img_in.reshape_weight": (2, 1),
                                      "diffusion_model.img_in.lora_down.weight": (1, 1)}),
                "control LoRA weights are no adapter"),
    "vera": (lambda f: weights(f, {"x.vera_lambda_b": (1, 1)}), "VeRA weights want adapter_config"),
    "none": (lambda f: weights(f, {"x": (1, 1)}), "none of its weights is one"),
    "empty": (lambda f: write(f, ""), "is empty"),
    "cut": (lambda f: cut(lora(f, 768)), "not a whole safetensors file"),
    "short": (lambda f: os.truncate(lora(f, 768), 30), "not a whole safetensors file: 30 of its"),
    "long": (lambda f: write(f, lora(f, 768).read_bytes() + b"x"), "1 bytes follow its end"),
    "lfs": (lambda f: write(f, "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "page": (lambda f: write(f, "\n<!DOCTYPE html><html>"), "a web page"),
    "pickle": (lambda f: write(f, b"PK\x03\x04" + bytes(99)), "a pickle under another name"),
    "zeros": (lambda f: write(f, bytes(99)), "not downloaded to its end"),
    "rubbish": (lambda f: write(f, b"rubbish!" * 20), "its head cannot be read"),
    "nowhere": (lambda f: f.symlink_to("/nowhere"), "its link leads nowhere"),
    "loop": (lambda f: f.symlink_to(f.name), "cannot be read: Too many levels"),
    "pipe": (os.mkfifo, "is no file"),
    "folder": (lambda f: f.mkdir(), "is not there"),
}


@pytest.mark.parametrize("name", LORAS)
def test_an_adapter_of_no_use_is_told_and_no_other_is_harmed(tmp_path: Path, name: str) -> None:
    change, says = LORAS[name]
    model(tmp_path / "models" / "sd")
    well = lora(tmp_path / "adapters" / "sd" / "well.safetensors", 768)
    lora(well.with_name("texts.safetensors"), 1024, "text_encoder.layers.0.q_proj")
    assert reasons(tmp_path) == {}
    change(well.with_name("ink.safetensors"))
    found = reasons(tmp_path)
    assert list(found) == ["sd:ink"]
    assert re.search(says, found["sd:ink"])


def test_a_head_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    model(tmp_path / "models" / "sd")
    file = lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 768)
    length = int.from_bytes(file.read_bytes()[:8], "little")
    lora(file, 768, note="x" * (0x280 - length - len('"__metadata__": {"note": ""}, ')))
    assert file.read_bytes()[:2] == b"\x80\x02"
    assert reasons(tmp_path) == {}


def test_an_adapter_tells_its_words_and_its_kind_and_for_what_it_was_made(tmp_path: Path) -> None:
    model(tmp_path / "models" / "sd")
    folder = tmp_path / "adapters" / "sd"
    tags = json.dumps({"10_ohwx": {"ohwx man": 20, "hat": 3}, "5_zed dog": {}})
    kohya = {"ss_base_model_version": "sdxl_base_v1-0", "ss_tag_frequency": tags}
    lora(folder / "ink.safetensors", 768, **kohya)
    spec = {"modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.trigger_phrase": "in the style of ink,  wash"}
    weights(folder / "wash.safetensors", {"lora_unet_x.lokr_w1": (1, 1)}, **spec)
    learned = dict[str, tuple[int, ...]](
        {"lora_unet_x.lora_down.weight": (2, 768), "bundle_emb.zorb.clip_l": (2, 768)}
    )
    weights(folder / "pivotal.safetensors", learned)
    catalog = read(tmp_path)
    routes = ("ink", "wash", "pivotal")
    ink, wash, pivotal = (header_of(catalog.adapters["sd", route]) for route in routes)
    assert ink
    assert wash
    assert pivotal
    assert pivotal.trigger_words == ("zorb",)
    assert (ink.kinds, ink.trigger_words) == (("LoRA",), ("ohwx man", "zed dog"))
    assert (wash.kinds, wash.trigger_words) == (("LoKr",), ("in the style of ink", "wash"))
    assert oddities_of(catalog) == {
        "sd:ink": "it was made for sdxl_base_v1-0, and its endpoint is a StableDiffusionPipeline",
    }


def test_what_is_mended_in_place_is_well_again(tmp_path: Path) -> None:
    file = model(tmp_path / "models" / "sd") / UNET_FILE
    content = file.read_bytes()
    cut(file)
    assert list(reasons(tmp_path)) == ["sd"]
    file.write_bytes(content)
    assert reasons(tmp_path) == {}


def test_an_adapter_stands_no_better_than_its_endpoint(tmp_path: Path) -> None:
    cut(model(tmp_path / "models" / "sd") / UNET_FILE)
    lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 768)
    assert "its endpoint 'sd': unet/" in reasons(tmp_path)["sd:ink"]


def test_packed_weights_say_nothing_of_widths(tmp_path: Path) -> None:
    folder = model(tmp_path / "models" / "sd")
    write(folder / "unet" / "config.json", {"quantization_config": {"load_in_4bit": True}})
    lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 3072)
    assert reasons(tmp_path) == {}


def test_what_copies_leave_hidden_beside_files_is_nothing(tmp_path: Path) -> None:
    folder = model(tmp_path / "models" / "sd")
    write(folder / "vae" / "._config.json", b"\0\5\x16\7")
    write(folder / "vae" / "._diffusion_pytorch_model.safetensors", b"\0\5\x16\7")
    write(tmp_path / "models" / "._sd.toml", b"\0\5\x16\7")
    lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 768)
    write(tmp_path / "adapters" / "sd" / "._ink.safetensors", b"\0\5\x16\7")
    catalog = read(tmp_path)
    assert (reasons(tmp_path), catalog.passed_over) == ({}, ())
    assert [model.id for model in catalog.models()] == ["sd", "sd:ink"]


def test_a_name_that_is_no_text_stops_nobody(tmp_path: Path) -> None:
    model(tmp_path / "models" / "sd")
    folder = lora(tmp_path / "adapters" / "sd" / "ink.safetensors", 768).parent
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.safetensors")).touch()
    catalog = read(tmp_path)
    assert catalog.routes("sd") == ["ink"]
    [stray] = catalog.passed_over
    assert "its name is no text" in str(stray).encode().decode()


def test_a_card_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    os.mkfifo(tmp_path / "models" / "pipe.toml")
    found: list[dict[str, str]] = []
    reading = threading.Thread(target=lambda: found.append(reasons(tmp_path)), daemon=True)
    reading.start()
    reading.join(10)
    assert found == [{"pipe": "is no file that can be read"}]


@pytest.mark.parametrize(("shows", "says"), [((), "a GPU, of which this machine shows none"),
                                             (("/",), "the package 'bitsandbytes'")])
def test_what_this_machine_cannot_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr(libraries, "GPUS", shows)
    folder = model(tmp_path / "sd")
    packing = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    write(folder / "unet/config.json", packing)
    with pytest.raises(CardError, match=f"unet: packed by bitsandbytes: needs {says}"):
        inspect_endpoint(load_catalog((tmp_path,), ()).endpoints["sd"])
