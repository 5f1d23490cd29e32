"""Building a model changes torch for all threads: who draws meanwhile sees nothing of it."""

import json
from pathlib import Path

import pytest
import torch

from gateway.catalog.cards import CardError
from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load
from tests.engine import tiny
from tests.engine.workbench import CPU, Workbench


def test_tensors_of_a_turn_are_as_ever_while_an_endpoint_in_bfloat16_loads(tmp_path: Path) -> None:
    tiny.save("sd", tmp_path, dtype="bfloat16")
    card = load_catalog((tmp_path,), ()).endpoints["sd"]
    bench = Workbench({})
    made: set[torch.dtype] = set()
    is_loading = True

    def make() -> None:
        made.add(torch.tensor(0.5).dtype)
        if is_loading:
            bench.hub.tell(make)

    bench.hub.start()
    bench.hub.tell(make)
    try:
        for _ in range(5):
            assert load(card, CPU).base.unet.dtype == torch.bfloat16
    finally:
        is_loading = False
        bench.hub.stop()
        bench.hub.join(60)
        bench.close()
    assert made == {torch.float32}


def test_the_default_dtype_is_back_where_a_model_could_not_be_built(tmp_path: Path) -> None:
    folder = tiny.save("sd", tmp_path, dtype="bfloat16")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"down_block_types": ["None"]}))
    with pytest.raises(CardError):
        load(load_catalog((tmp_path,), ()).endpoints["sd"], CPU)
    assert torch.get_default_dtype() == torch.float32
