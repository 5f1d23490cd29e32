"""Single files of weights: every layout draws what the pipeline draws that it was made of."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.folders import load_catalog
from gateway.catalog.parts import files_of
from gateway.engine.loading.loading import load
from tests.engine import single_files
from tests.engine.workbench import CPU, TOLERANCE, alone, difference, job


def endpoint(folder: Path, id: str, card: str) -> EndpointCard:
    (folder / f"{id}.toml").write_text(f'id = "{id}"\ndtype = "float32"\n{card}')
    return load_catalog((folder,), ()).endpoints[id]


def assert_draws_the_same(card: EndpointCard, family: str, pipeline: Any, most: float) -> Any:
    loaded = load(card, CPU)
    one = job(family, "a cat", 1, 2)
    assert difference(alone(loaded.base, one), alone(pipeline, one)) <= most
    return loaded


@pytest.mark.parametrize("layout", single_files.LAYOUTS)
def test_a_single_file_draws_what_its_pipeline_draws(tmp_path: Path, layout: str) -> None:
    family, made = single_files.LAYOUTS[layout]
    pipeline = single_files.build(family)
    weights = made(pipeline)
    single_files.save(weights, tmp_path / "model.safetensors")
    held = single_files.whole_parts(pipeline) if family in ("sd", "sdxl") else ("transformer",)
    single_files.configs(pipeline, tmp_path / "configs", without=held)
    card = endpoint(tmp_path, "own", 'source = "model.safetensors"\nconfig = "configs"\n')
    assert_draws_the_same(card, family, pipeline, TOLERANCE)
    assert tmp_path / "model.safetensors" in files_of(card)


def test_weights_that_are_of_something_else_are_told(tmp_path: Path) -> None:
    pipeline = single_files.build("sd")
    single_files.configs(pipeline, tmp_path / "configs", without=())
    single_files.save({"odd.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    card = endpoint(tmp_path, "own", 'source = "model.safetensors"\nconfig = "configs"\n')
    with pytest.raises(CardError, match=r"unet \(model\.safetensors\): no UNet2DConditionModel"):
        load(card, CPU)
