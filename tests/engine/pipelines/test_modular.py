"""Pipelines made of blocks draw in shared forwards what they draw alone."""

import json
from pathlib import Path
from typing import Any

import diffusers
import msgspec
import pytest

from gateway.catalog.cards import CARD, EndpointCard
from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load
from gateway.engine.pipelines.modular import as_stock
from gateway.fetching.fetching import fetch_missing, is_here, plan_of
from gateway.job import AdapterUse, Preview, StepDone
from tests.engine import tiny, tiny_loras
from tests.engine.workbench import (
    CPU,
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)
from tests.fetching.standin import point_at, serving

BLOCKS = {
    "z_image": "ZImageAutoBlocks",
    "sdxl": "StableDiffusionXLAutoBlocks",
    "flux": "FluxAutoBlocks",
    "qwen_image": "QwenImageAutoBlocks",
}


def build(family: str) -> Any:
    """A tiny pipeline made of blocks, not yet to be called as others are."""
    parts = tiny.build(family).components
    pipeline = getattr(diffusers, BLOCKS[family])().init_pipeline()
    known = pipeline.components
    pipeline.update_components(**{name: part for name, part in parts.items() if name in known})
    return pipeline


@pytest.mark.parametrize("family", BLOCKS)
def test_together_equals_alone(family: str) -> None:
    pipeline = as_stock(build(family))
    texts = ("a cat", "two red dogs by the sea", "a dog")
    bare: dict[str, Any] = {"arguments": {}}
    jobs = [job(family, text, n, n, num_previews=1, **bare) for n, text in enumerate(texts, 1)]
    leaving = job(family, "a cow", 9, 4, **bare)
    wanted = [alone(pipeline, one) for one in jobs]

    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    left = bench.add(leaving)[0]
    bench.until(lambda: left.num_steps_done >= 1)
    left.is_cancelled = True
    bench.run()
    bench.close()

    assert [fault.code for fault in failures(bench.events)] == ["cancelled"]
    assert left.num_steps_done < 4
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert max(bench.denoiser_rows()) >= 2
    assert difference(wanted[0], wanted[2]) > 0.001
    steps = [each for each in bench.events if isinstance(each, StepDone)]
    assert len(steps) == 1 + 2 + 3 + left.num_steps_done
    previews = [each for each in bench.events if isinstance(each, Preview)]
    assert len(previews) == 2  # the first job has but one step


@pytest.mark.parametrize("family", ["z_image", "sdxl", "flux"])
def test_a_lora_draws_what_diffusers_draws_with_it(tmp_path: Path, family: str) -> None:
    card = tiny_loras.save(family, tmp_path, "ink")
    stock, changed = build(family), tiny.build(family)
    changed.load_lora_weights(str(tmp_path), weight_name="ink.safetensors")
    parts = changed.components.items()
    stock.update_components(**{name: part for name, part in parts if name in stock.components})
    bare: dict[str, Any] = {"arguments": {}}
    plain = job(family, "a cat", 1, 2, **bare)
    inked = msgspec.structs.replace(plain, adapters=(AdapterUse("ink", 1.0),))
    pipeline = as_stock(build(family))
    wanted = [alone(as_stock(stock), plain), alone(pipeline, plain)]

    bench = Workbench({family: pipeline}, (card,))
    samples = [bench.add(one)[0] for one in (inked, plain)]
    bench.run()
    bench.close()

    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(wanted[0], wanted[1]) > 100 * TOLERANCE


def test_guidance_and_negative_prompts_are_heard() -> None:
    pipeline = as_stock(build("sdxl"))
    bare: dict[str, Any] = {"arguments": {}}
    plain = alone(pipeline, job("sdxl", "a cat", 1, 2, **bare))
    for more in ({"guidance_scale": 1.0}, {"negative_prompt": "a dog"}):
        assert difference(alone(pipeline, job("sdxl", "a cat", 1, 2, **bare, **more)), plain) > 1e-3
    # What one request asks for is not the next one's.
    assert difference(alone(pipeline, job("sdxl", "a cat", 1, 2, **bare)), plain) == 0


def test_a_folder_of_one_is_an_endpoint(tmp_path: Path) -> None:
    pipeline = build("z_image")
    pipeline.save_pretrained(str(tmp_path / "mine"))
    assert not (tmp_path / "mine" / "model_index.json").exists()
    wanted = alone(as_stock(pipeline), job("mine", "a cat", 1, 2))
    catalog = load_catalog((tmp_path,), ())
    card = catalog.endpoints["mine"]
    assert card.sizes.multiple_of == 4
    loaded = load(card, CPU)
    assert loaded.size_bytes > 0
    bench = Workbench({"mine": loaded.base}, catalog=catalog)
    sample = bench.add(job("mine", "a cat", 1, 2))[0]
    bench.run()
    bench.close()
    assert difference(picture(sample), wanted) <= TOLERANCE


def test_parts_in_other_repositories_are_fetched_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = build("z_image")
    wanted = alone(as_stock(pipeline), job("mine", "a cat", 1, 2))
    pipeline.save_pretrained(str(tmp_path / "saved"))
    index = tmp_path / "saved" / "modular_model_index.json"
    told = json.loads(index.read_text())
    for value in told.values():
        if isinstance(value, list):
            value[2]["pretrained_model_name_or_path"] = "someone/blocks"
    told["vae"][2] |= {"pretrained_model_name_or_path": "someone/decoder", "subfolder": "ae"}
    told["tokenizer"][2] |= {"pretrained_model_name_or_path": "someone/words", "subfolder": ""}
    index.write_text(json.dumps(told))
    places = {"vae": "someone/decoder", "tokenizer": "someone/words"}
    repositories: dict[str, dict[str, bytes]] = {}
    for path in (tmp_path / "saved").rglob("*.*"):
        name = str(path.relative_to(tmp_path / "saved"))
        part = path.parent.name
        name = {"vae": f"ae/{path.name}", "tokenizer": path.name}.get(part, name)
        files = repositories.setdefault(places.get(part, "someone/blocks"), {})
        files[name] = path.read_bytes()
    card = EndpointCard(id="mine", source="someone/blocks", dtype="float32", path=tmp_path / CARD)
    with serving(repositories) as hub:
        point_at(hub, tmp_path / "hub", monkeypatch)
        plan = plan_of(Model(card))
        fetch_missing(Model(card))
        assert {one.repository.source for one in plan.wanted} == repositories.keys()
        assert is_here(Model(card))
        hub.asked.clear()
        loaded = load(card, CPU)
        assert not hub.asked
    assert difference(alone(loaded.base, job("mine", "a cat", 1, 2)), wanted) <= TOLERANCE
    loaded.close()
