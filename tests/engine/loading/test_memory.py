"""Every form that a plan may have: what stays on the device, and that pictures are the same."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import ModelMixin
from diffusers.hooks import apply_layerwise_casting
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN
from torch import nn

from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.catalog.survey.fitting import KIB, Bound, Plan, fit
from gateway.catalog.survey.memory import parts_of
from gateway.engine.loading.loading import modules_of
from gateway.engine.loading.offloading import at_work_bytes, is_streamed
from gateway.job import AdapterUse, Job
from tests.engine import tiny, tiny_loras
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, failures, job, picture

EDGE, SCALE = 64, 0.8
FORMS = ("whole", "tiled", "text", "all", "float8")
CASES = {"sd": ("whole", "text", "all", "float8"), "flux": FORMS}
"""A tiny UNet's work is more than its autoencoder's, so that tiling is of no use there."""


@cache
def catalog_of(family: str) -> Catalog:
    """A tiny model with an adapter, that draws 64 pixels square and no more."""
    folder = Path(mkdtemp())
    sizes = {"native": [EDGE, EDGE], "min": 32, "max": EDGE, "multiple_of": 8}
    tiny.save(family, folder / "models", sizes=sizes)
    adapters = folder / "adapters" / family
    adapters.mkdir(parents=True)
    tiny_loras.save(family, adapters, "ink")
    return load_catalog((folder / "models",), (folder / "adapters",))


@cache
def bounds_of(family: str) -> dict[str, int]:
    """The KiB that let a model have each form."""
    card = catalog_of(family).endpoints[family]
    parts, found = parts_of(card), dict[str, int]()
    lora = next(iter(catalog_of(family).adapters.values())).place.stat().st_size
    start = fit(card, parts, "cpu", Bound(2**40, 2**40), lora).size_bytes
    for size in range(start + 4 * KIB, 0, -4 * KIB):
        plan = fit(card, parts, "cpu", Bound(size, size), lora)
        if plan.verdict == "fits":
            found.setdefault(form_of(plan), size // KIB)
    return found


def form_of(plan: Plan) -> str:
    if plan.shrunk:
        return "float8"
    if plan.form.streamed:
        return "all" if "denoiser" in plan.form.streamed else "text"
    return "tiled" if plan.tiles_from is not None else "whole"


@pytest.fixture(
    params=[(family, form) for family, forms in CASES.items() for form in forms], ids="-".join
)
def bench(request: pytest.FixtureRequest) -> Iterator[Workbench]:
    family, form = request.param
    bench = Workbench({}, catalog=catalog_of(family), memory=f"{bounds_of(family)[form]}KiB")
    yield bench
    bench.close()


def one(family: str, seed: int, *uses: AdapterUse) -> Job:
    return job(family, f"prompt {seed}", seed, 1 + seed, width=EDGE, height=EDGE, adapters=uses)


class Changes(NamedTuple):
    """What a plan does that changes pictures."""

    shrunk: frozenset[str]
    tile_shrink: int | None

    @classmethod
    def of(cls, plan: Plan) -> "Changes":
        is_tiled = plan.tiles_from is not None and plan.tiles_from <= EDGE**2
        return cls(frozenset(plan.shrunk), plan.tile_shrink if is_tiled else None)


@cache
def stock(family: str, changes: Changes, *, with_lora: bool) -> Any:
    """diffusers' own pipeline with a LoRA, and with what a plan does that changes pictures."""
    pipeline = tiny.build(family)
    if with_lora:
        lora = next(iter(catalog_of(family).adapters.values())).place
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="x")
        pipeline.set_adapters(["x"], [SCALE])
    for name in changes.shrunk:
        module = getattr(pipeline, name)
        own = DEFAULT_SKIP_MODULES_PATTERN
        wide = getattr(module, "_keep_in_fp32_modules", None) or ()
        skipped = own if isinstance(module, ModelMixin) else ("norm", "embed", *wide)
        apply_layerwise_casting(
            module, torch.float8_e4m3fn, torch.float32, (*skipped, "lora"), (nn.Embedding,)
        )
    if changes.tile_shrink is not None:
        pipeline.vae.enable_tiling()
        for name in ("tile_sample_min_size", "tile_latent_min_size"):
            setattr(pipeline.vae, name, getattr(pipeline.vae, name) // changes.tile_shrink)
    return pipeline


@cache
def stock_picture(
    family: str, changes: Changes, seed: int, uses: tuple[AdapterUse, ...]
) -> torch.Tensor:
    """The one picture that several forms of a plan draw."""
    return alone(stock(family, changes, with_lora=bool(uses)), one(family, seed, *uses))


def test_pictures_are_those_of_the_stock_pipeline_together_and_late(bench: Workbench) -> None:
    [family] = bench.catalog.endpoints
    ink = AdapterUse("ink", SCALE)
    jobs = [one(family, 1), one(family, 2, ink), one(family, 3)]
    samples = [bench.add(each)[0] for each in jobs]
    bench.until(lambda: any(sample.num_steps_done for sample in samples))
    late = one(family, 1, ink)
    samples.append(bench.add(late)[0])
    bench.run()
    assert not failures(bench.events)
    plan = bench.shelf.loaded[family].plan
    assert plan
    for sample, each in zip(samples, [*jobs, late], strict=True):
        wanted = stock_picture(family, Changes.of(plan), each.seeds[0], each.adapters)
        assert difference(picture(sample), wanted) <= TOLERANCE
    assert difference(picture(samples[0]), picture(samples[3])) > 10 * TOLERANCE


def test_what_stays_is_what_was_planned(bench: Workbench) -> None:
    [family] = bench.catalog.endpoints
    bench.add(one(family, 1))
    bench.run()
    loaded = bench.shelf.loaded[family]
    plan = loaded.plan
    assert plan
    modules = {
        name: part for name, part in loaded.base.components.items() if isinstance(part, nn.Module)
    }
    streamed = {name for name, module in modules.items() if is_streamed(module)}
    form = form_of(plan)
    text = {name for name in modules if name.startswith("text_encoder")}
    assert streamed == {"text": text, "all": set(modules), "float8": set(modules)}.get(form, set())
    stays = at_work_bytes([modules[name] for name in modules.keys() - streamed])
    assert stays <= plan.weights_bytes <= plan.size_bytes <= plan.bound_bytes
    assert stays <= loaded.used_bytes <= loaded.planned_bytes
    whole = at_work_bytes(modules_of(tiny.build(family).components))
    assert (loaded.used_bytes < whole) == bool(streamed)
    stored = {each.dtype for module in modules_of(modules) for each in module.parameters()}
    assert (torch.float8_e4m3fn in stored) == (form == "float8")


def test_every_form_is_reached_in_order() -> None:
    for family, forms in CASES.items():
        sizes = bounds_of(family)
        assert tuple(sizes) == forms
        assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def test_what_cannot_fit_is_of_no_use_and_says_what_would_do() -> None:
    bench = Workbench({}, catalog=catalog_of("sd"), memory="64KiB")
    bench.add(one("sd", 1))
    bench.run()
    [fault] = failures(bench.events)
    assert fault.code == "model_unusable"
    assert "its weights alone take" in fault.message
    assert "wanted memory of" in fault.message
    assert "sd" in bench.shelf.faults
    bench.close()


def test_endpoints_take_turns_where_both_are_too_much(tmp_path: Path) -> None:
    for id in ("one", "two"):
        tiny.save("flux", tmp_path, id=id, sizes={"native": [64, 64], "min": 32, "max": 64})
    catalog = load_catalog((tmp_path,), ())
    whole = bounds_of("flux")["whole"]
    for bound, together in ((whole + 64, {"two"}), (2 * whole, {"one", "two"})):
        bench = Workbench({}, catalog=catalog, memory=f"{bound}KiB")
        for id in ("one", "two"):
            bench.add(job(id, "a", 1, 1, width=EDGE, height=EDGE))
            bench.run()
        assert not failures(bench.events)
        assert set(bench.shelf.loaded) == together
        bench.close()


def test_a_decoder_gets_portions_that_fit() -> None:
    bench = Workbench({}, catalog=catalog_of("flux"), memory=f"{bounds_of('flux')['whole']}KiB")
    bench.add(job("flux", "a", 1, 1, width=EDGE, height=EDGE))
    bench.run()
    [decode] = [each for each in bench.shelf.loaded["flux"].entries if each.method == "decode"]
    [one_forward] = [decode.original]
    rows: list[int] = []

    def counted(latents: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(latents))
        return one_forward(latents, *args, **kwargs)

    decode.original = counted
    bench.add(job("flux", "b", 2, 1, seeds=(1, 2, 3), width=EDGE, height=EDGE))
    bench.run()
    decode.original = one_forward
    assert not failures(bench.events)
    assert rows == [1, 1, 1]
    bench.close()


def test_a_card_says_how_many_run_at_once(tmp_path: Path) -> None:
    tiny.save("sd", tmp_path, max_batch=2)
    bench = Workbench({}, catalog=load_catalog((tmp_path,), ()))
    bench.add(job("sd", "a", 1, 3, seeds=(1, 2, 3, 4, 5)))
    most = 0
    while bench.hub.waiting or bench.hub.running:
        bench.turn()
        most = max(most, len(bench.hub.running))
    assert not failures(bench.events)
    assert most == 2
    bench.close()
