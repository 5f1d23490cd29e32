"""Single files of weights that are of something else; layouts are drawn in `tests/web`."""

from pathlib import Path

import pytest
import torch

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load
from tests.engine import single_files
from tests.engine.workbench import CPU


def endpoint(folder: Path, id: str, card: str) -> EndpointCard:
    (folder / f"{id}.toml").write_text(f'id = "{id}"\ndtype = "float32"\n{card}')
    return load_catalog((folder,), ()).endpoints[id]


def test_weights_that_are_of_something_else_are_told(tmp_path: Path) -> None:
    pipeline = single_files.build("sd")
    single_files.configs(pipeline, tmp_path / "configs", without=())
    single_files.save({"odd.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    card = endpoint(tmp_path, "own", 'source = "model.safetensors"\nconfig = "configs"\n')
    with pytest.raises(CardError, match=r"unet \(model\.safetensors\): no UNet2DConditionModel"):
        load(card, CPU)
