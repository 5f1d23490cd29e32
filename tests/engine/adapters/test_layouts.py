"""LoRAs by the names that each program gives them draw what stock diffusers draws with them.

Where stock reads no such names, they draw what the weights draw with the LoRA merged by hand.
"""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gateway.engine.pipelines.modular import as_stock
from gateway.job import AdapterUse, Job
from tests.engine import blocks, conftest, tiny
from tests.engine.adapters.drawing import Weights, card
from tests.engine.adapters.layouts import LAYOUTS, LOKR, Layout
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture

RANK, ALPHA = 3, 2.0
Merged = dict[str, Tensor]
"""By a layer's path with its component's name: its weight with the LoRA in it."""


def written(layout: Layout) -> tuple[Weights, Merged]:
    """A random LoRA: its file's tensors, and what our layers' weights are with it."""
    generator = torch.Generator().manual_seed(5)
    file: Weights = {}
    merged: Merged = {}
    for name, paths in layout.layers.items():
        own = [_layer(built(layout.family), path).weight for path in paths]
        whole = torch.cat(own)
        parts, moved = _change(layout, whole, generator)
        file |= {f"{name}{end}": part for end, part in zip(layout.ends, parts, strict=True)}
        if layout.has_alpha:
            file[f"{name}.alpha"] = torch.tensor(ALPHA)
        rows = torch.split(whole + moved, [len(each) for each in own])
        merged |= dict(zip(paths, rows, strict=True))
    return file, merged


def _change(
    layout: Layout, whole: Tensor, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Two parts of a change, and what they add to a weight."""
    if layout.ends == LOKR:
        halves = [2 - size % 2 for size in whole.shape]
        first = torch.randn(*halves, generator=generator) / 2
        others = (size // half for size, half in zip(whole.shape, halves, strict=True))
        second = torch.randn(*others, generator=generator) / 4
        return (first, second), torch.kron(first, second)
    down = torch.randn((RANK, *whole.shape[1:]), generator=generator) / 4
    up = torch.randn((len(whole), RANK, *(1,) * (whole.ndim - 2)), generator=generator) / 4
    counts = ALPHA / RANK if layout.has_alpha else 1.0
    return (down, up), counts * (up.flatten(1) @ down.flatten(1)).reshape(whole.shape)


def fresh(family: str) -> Any:
    """A tiny pipeline to be changed; made of blocks where diffusers has it as nothing else."""
    return as_stock(blocks.build(family)) if family in blocks.ALONE else tiny.build(family)


@functools.cache
def built(family: str) -> Any:
    """One that stays as it is."""
    return fresh(family) if family in blocks.ALONE else conftest.built(family)


def drawing(family: str, **more: Any) -> Job:
    given = {"arguments": blocks.GIVEN.get(family, {})} if family in blocks.ALONE else {}
    return job(family, "a cat", 1, 1, **given, **more)


def _layer(pipeline: Any, path: str) -> Any:
    component, _, inside = path.partition(".")
    module: nn.Module = getattr(pipeline, component)
    return module.get_submodule(inside)


def _drawn_by_hand(family: str, merged: Merged, wanted: Job) -> Tensor:
    own = {path: _layer(built(family), path).weight for path in merged}
    before = {path: weight.clone() for path, weight in own.items()}
    try:
        for path, weight in own.items():
            weight.copy_(merged[path])
        return alone(built(family), wanted)
    finally:
        for path, weight in own.items():
            weight.copy_(before[path])


def _drawn_by_stock(stock: Any, file: Path, wanted: Job) -> Tensor:
    stock.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=file.stem)
    try:
        return alone(stock, wanted)
    finally:
        stock.unload_lora_weights()


Drawn = dict[str, tuple[Any, Tensor, Tensor]]
"""By layout: the sample, the picture that is wanted of it, and the one without a LoRA."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """All of the layouts, those of a family in the same forwards."""
    folder = tmp_path_factory.mktemp("layouts")
    found: Drawn = {}
    for family in {layout.family for layout in LAYOUTS.values()}:
        found |= _drawn_of(family, folder)
    return found


def _drawn_of(family: str, folder: Path) -> Drawn:
    layouts = {name: each for name, each in LAYOUTS.items() if each.family == family}
    files = {name: folder / f"{name}.safetensors" for name in layouts}
    merged: dict[str, Merged] = {}
    for name, layout in layouts.items():
        weights, merged[name] = written(layout)
        save_file({path: each.contiguous() for path, each in weights.items()}, files[name])
    bench = Workbench(
        {family: built(family)}, tuple(card(family, file, name) for name, file in files.items())
    )
    samples = {
        name: bench.add(drawing(family, adapters=(AdapterUse(name),)))[0] for name in layouts
    }
    bench.run()
    bench.close()
    plain, stock = drawing(family), fresh(family)
    bare = alone(built(family), plain)
    return {
        name: (
            samples[name],
            _drawn_by_hand(family, merged[name], plain) if layout.by_hand
            else _drawn_by_stock(stock, files[name], plain),
            bare,
        )
        for name, layout in layouts.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_draws_what_its_lora_draws(name: str, drawn: Drawn) -> None:
    sample, wanted, bare = drawn[name]
    assert difference(picture(sample), wanted) <= TOLERANCE
    assert difference(wanted, bare) > 10 * TOLERANCE
