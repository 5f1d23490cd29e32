"""Adapters in a batch: each sample gets the picture that its adapters alone would give it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gateway.catalog.cards import AdapterCard, CardError
from gateway.engine.adapters.adapter_files import read_adapter, size_bytes
from gateway.engine.adapters.adapters import (
    AdapterLayer,
    Adapters,
    CurrentRows,
    LayerWeights,
    RowsUnknownError,
)
from gateway.job import AdapterUse, Job
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
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

FAMILIES = [name for name in tiny.FAMILIES if name not in tiny_loras.WITHOUT]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


class Plain:
    """A family's pictures through diffusers' and PEFT's own adapters, alone."""

    def __init__(self, family: str, cards: dict[str, AdapterCard]) -> None:
        self._bare = built(family)
        self._pipeline = tiny.build(family)
        for route, card in cards.items():
            assert card.file
            self._pipeline.load_lora_weights(
                str(card.file.parent), weight_name=card.file.name, adapter_name=_name(route)
            )

    def picture(self, wanted: Job) -> torch.Tensor:
        """What a job should draw."""
        if not wanted.adapters:
            return alone(self._bare, wanted)
        names = [_name(use.route) for use in wanted.adapters]
        self._pipeline.set_adapters(names, [use.scale for use in wanted.adapters])
        return alone(self._pipeline, wanted)


def _name(route: str) -> str:
    return route.replace(".", "_")


def uses(*pairs: tuple[str, float]) -> tuple[AdapterUse, ...]:
    return tuple(AdapterUse(route, scale) for route, scale in pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_adapters_scales_and_stacks_equal_alone(family: str, folder: Path) -> None:
    cards = {
        "ink": tiny_loras.save(family, folder / family, "ink"),
        # Loading a second text encoder's LoRA makes transformers draw the first one anew.
        "v1.5": tiny_loras.save(family, folder / family, "v1.5", rank=2, text=False),
    }
    jobs = [
        job(family, "a cat", 1, 2, adapters=uses(("ink", 1.0))),
        job(family, "a cat", 1, 2),
        job(family, "a dog", 2, 3, adapters=uses(("ink", 0.4))),
        job(family, "a fox", 3, 2, adapters=uses(("v1.5", 1.3))),
        job(family, "a fox", 3, 2, adapters=uses(("ink", 0.7), ("v1.5", -0.5))),
    ]
    plain = Plain(family, cards)
    wanted = [plain.picture(one) for one in jobs]
    assert difference(wanted[0], wanted[1]) > 10 * TOLERANCE

    bench = Workbench({family: built(family)}, tuple(cards.values()))
    bench.add(job(family, "loads both", 9, 1, adapters=uses(("ink", 1.0), ("v1.5", 1.0))))
    bench.run()
    bench.rows.clear()
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    rows = bench.denoiser_rows()
    bench.close()

    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert max(rows) >= len(jobs)


def test_layers_that_see_all_rows_at_once_keep_unlike_adapters_apart(folder: Path) -> None:
    """Z-Image embeds the patches of all pictures as one sequence."""
    embedder = ("all_x_embedder.2-1",)
    card = tiny_loras.save("z_image", folder / "z_image", "patch", more=embedder)
    jobs = [
        job("z_image", "a", 1, 2, adapters=uses(("patch", 1.0))),
        job("z_image", "b", 2, 2, adapters=uses(("patch", 1.0))),
        job("z_image", "c", 3, 2),
    ]
    plain = Plain("z_image", {"patch": card})
    wanted = [plain.picture(one) for one in jobs]
    bench = Workbench({"z_image": built("z_image")}, (card,))
    bench.add(job("z_image", "loads it", 9, 1, adapters=uses(("patch", 1.0))))
    bench.run()
    bench.rows.clear()
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    # Tried together once, then those that are alike share.
    assert bench.denoiser_rows()[-2:] == [4, 2]


def test_after_the_last_adapter_goes_the_layers_are_as_they_were(folder: Path) -> None:
    card = tiny_loras.save("sd", folder / "sd", "gone")
    pipeline = built("sd")
    adapters = Adapters(pipeline.components)
    adapters.add("gone", read_adapter(card, pipeline, CPU))
    assert "gone" in adapters.routes
    adapters.drop("gone")
    assert not adapters.routes
    assert not any(module._forward_hooks for module in pipeline.unet.modules())


def test_a_component_is_asked_for_its_type_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask walks through all its modules, and a LoRA has hundreds of layers."""
    card = tiny_loras.save("sd", folder / "sd", "asked")
    pipeline, asked = built("sd"), Counter[str]()
    for name in ("unet", "text_encoder"):
        kind = type(pipeline.components[name])

        def dtype(self: Any, name: str = name, real: Any = kind.dtype) -> torch.dtype:
            asked[name] += 1
            found: torch.dtype = real.fget(self)
            return found

        monkeypatch.setattr(kind, "dtype", property(dtype))
    weights = read_adapter(card, pipeline, CPU)
    assert len(weights.low_rank) > 20
    assert max(asked.values()) < 10


def test_the_least_recently_used_adapter_goes_first(folder: Path) -> None:
    cards = tuple(tiny_loras.save("sd", folder / "sd", f"lru{n}", text=False) for n in range(3))
    pipeline = built("sd")
    one = size_bytes(read_adapter(cards[0], pipeline, CPU))
    bench = Workbench({"sd": pipeline}, cards, adapter_gib=2.5 * one / 2**30)
    for route in ("lru0", "lru1", "lru0", "lru2"):
        bench.add(job("sd", route, 1, 1, adapters=uses((route, 1.0))))
        bench.run()
    routes = {route for (_, route), _ in bench.shelf.held}
    bench.close()
    assert not failures(bench.events)
    assert routes == {"lru0", "lru2"}


def test_a_broken_adapter_fails_its_own_sample_only(folder: Path) -> None:
    (folder / "broken.safetensors").write_bytes(b"not a safetensors file")
    card = AdapterCard(
        endpoint="sd", route="broken", source="broken.safetensors",
        path=folder / "broken.safetensors",
    )
    bench = Workbench({"sd": built("sd")}, (card,))
    bench.add(job("sd", "a", 1, 1, adapters=uses(("broken", 1.0))))
    good = bench.add(job("sd", "b", 2, 2))[0]
    bench.run()
    bench.close()
    assert [(fault.code, fault.message) for fault in failures(bench.events)] == [
        (
            "model_unusable",
            "The model `sd:broken` cannot be used: not a safetensors file: its head cannot be read",
        )
    ]
    assert picture(good) is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x.vera_lambda_b": torch.ones(1)}, "VeRA"),
        ({"x.lokr_w1": torch.ones(1, 1)}, "'x' is no layer of 'sd'"),
        ({"unet.nowhere.lora_A.weight": torch.ones(1, 1)}, "not a LoRA for 'sd'"),
    ],
)
def test_what_cannot_be_a_lora_here_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, torch.Tensor], says: str
) -> None:
    save_file(change, tmp_path / "odd.safetensors")
    card = AdapterCard(
        endpoint="sd", route="odd", source="odd.safetensors", path=tmp_path / "odd.safetensors"
    )
    with pytest.raises(CardError, match=says):
        read_adapter(card, built("sd"), CPU)


def test_numbers_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    card = tiny_loras.save("sd", folder / "sd", "infinite")
    assert card.file
    weights = load_file(card.file)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, tmp_path / "nan.safetensors")
    broken = AdapterCard(
        endpoint="sd", route="nan", source="nan.safetensors", path=tmp_path / "nan.safetensors"
    )
    with pytest.raises(CardError, match="not finite"):
        read_adapter(broken, built("sd"), CPU)


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "style.bin").write_bytes(b"\x80\x04N.")
    card = AdapterCard(
        endpoint="sd", route="style", source=".", weight_name="style.bin",
        path=tmp_path / "card.toml",
    )
    with pytest.raises(CardError, match=r"style\.bin: pickled weights are refused"):
        read_adapter(card, built("sd"), CPU)


def test_a_layer_that_does_not_see_rows_takes_adapters_only_when_all_are_alike() -> None:
    layer, rows = torch.nn.Linear(3, 3), CurrentRows()
    hook = AdapterLayer(layer, rows)
    hook.add("ink", LayerWeights(torch.randn(2, 3), torch.randn(3, 2)))
    x = torch.randn(10, 3)
    bare = layer(x)
    rows.set([uses(("ink", 1.0)), uses(("ink", 1.0))])
    changed: Any = layer(x)
    assert not torch.allclose(changed, bare)
    rows.set([uses(("ink", 1.0)), ()])
    with pytest.raises(RowsUnknownError):
        layer(x)
