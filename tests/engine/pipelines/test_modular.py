"""Pipelines made of blocks draw in shared forwards what they draw alone."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from gateway.catalog.cards import CARD, EndpointCard
from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load
from gateway.engine.pipelines.modular import as_stock, hide_bars
from gateway.engine.pipelines.pixels import first_image, to_image
from gateway.fetching.fetching import fetch_missing, is_here, plan_of
from gateway.job import AdapterUse, Job, Preview, StepDone
from tests.engine import tiny, tiny_loras
from tests.engine.blocks import ALONE, BLOCKS, GIVEN, build
from tests.engine.pipelines.test_call import noise
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


@pytest.mark.parametrize("family", [*BLOCKS, *ALONE])
def test_together_equals_alone(family: str) -> None:
    pipeline = as_stock(build(family))
    texts = ("a cat", "two red dogs by the sea", "a dog")
    bare: dict[str, Any] = {"arguments": GIVEN.get(family, {})}
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


@pytest.mark.parametrize(
    ("family", "is_masked"),
    [("z_image", False), ("flux", False), ("sdxl", True), ("qwen_image", True), ("anima", False)],
)
def test_edits_together_equal_diffusers_alone(family: str, is_masked: bool) -> None:
    shown: dict[str, Any] = {"mask": noise(1, 0)} if is_masked else {}
    edits = [
        job(family, f"a {colour} cat", seed, steps, images=(noise(3, seed),), strength=strength,
            arguments={}, **shown)
        for seed, (colour, steps, strength) in enumerate(
            (("red", 1, 0.5), ("blue", 3, 0.5), ("green", 2, 1.0)), 1
        )
    ]  # fmt: skip
    drawn = job(family, "a cat", 9, 2, arguments={})
    pipeline = as_stock(build(family))
    wanted = [*(stock_edit(family, one) for one in edits), alone(pipeline, drawn)]

    bench = Workbench({family: pipeline})
    samples = [bench.add(one)[0] for one in (*edits, drawn)]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    tolerance = 1.01 / 255 if family == "qwen_image" else TOLERANCE
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= tolerance
    assert [sample.num_steps_done for sample in samples] == [1, 3, 2, 2]
    assert max(bench.denoiser_rows()) >= 3


def stock_edit(family: str, wanted: Job) -> Any:
    """The same through diffusers' own call, which runs a share of the steps that it is asked for.

    Of several numbers that leave as many steps, the least is asked for.
    """
    pipeline, strength = build(family), wanted.strength
    hide_bars(pipeline._blocks)
    assert strength
    left = {n: int(n * strength) if family == "sdxl" else n - int(n - n * strength)
            for n in range(10, 0, -1)}  # fmt: skip
    asked = {steps: n for n, steps in left.items()}[wanted.num_inference_steps]
    output_type = "pil" if family == "qwen_image" else "pt"  # it gives no tensors under a mask
    given: dict[str, Any] = {"mask_image": to_image(wanted.mask)} if wanted.mask else {}
    with torch.inference_mode():
        images = pipeline(
            prompt=wanted.prompt, image=to_image(wanted.images[0]), strength=strength,
            num_inference_steps=asked, height=32, width=32, output_type=output_type,
            output="images", generator=torch.Generator("cpu").manual_seed(wanted.seeds[0]),
            **given,
        )  # fmt: skip
    return first_image([images])


def test_what_no_block_does_is_told() -> None:
    pipeline = as_stock(build("flux"))
    bench = Workbench({"flux": pipeline})
    bench.add(job("flux", "a cat", 1, 2, images=(noise(3, 1),), mask=noise(1, 0), arguments={}))
    bench.run()
    bench.close()
    (fault,) = failures(bench.events)
    assert "cannot repaint a masked part" in fault.message


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
