"""Packed weights: a picture close to the plain one's, less memory, and LoRA in the batch on top."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.folders import load_catalog
from gateway.catalog.heads.gguf import read_gguf
from gateway.catalog.survey.inspection import inspect_endpoint
from gateway.engine.loading.loading import load, size_bytes
from gateway.job import AdapterUse
from tests.engine import single_files, tiny, tiny_loras
from tests.engine.workbench import CPU, TOLERANCE, Workbench, alone, difference, job, picture


def endpoint(folder: Path, card: str) -> EndpointCard:
    (folder / "own.toml").write_text(f'id = "own"\ndtype = "float32"\n{card}')
    return load_catalog((folder,), ()).endpoints["own"]


def drawn(pipeline: Any) -> torch.Tensor:
    return alone(pipeline, job("z_image", "a cat", 1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pipeline = tiny.build("z_image")
    pipeline.save_pretrained(tmp_path / "base")
    weights = single_files.z_image(pipeline.transformer.state_dict())
    single_files.save_gguf(weights, tmp_path / "z.gguf")
    return tmp_path


PACKED = {
    "gguf": 'source = "z.gguf"\nconfig = "base"\n',
    "part": 'source = "base"\ncomponents.transformer = "z.gguf"\n',
    **{
        way: f'source = "base"\ncomponents.transformer.quantized = "{way}"\n'
        for way in ("torchao-int8", "torchao-float8", "quanto-int8", "quanto-float8",
                    "layerwise-float8")
    },
    "text encoder": 'source = "base"\ncomponents.text_encoder.quantized = "torchao-int8"\n',
    "text encoder, layerwise": (
        'source = "base"\ncomponents.text_encoder.quantized = "layerwise-float8"\n'
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", PACKED)
def test_packed_weights_draw_nearly_the_same_in_less_memory(folder: Path, way: str) -> None:
    card = endpoint(folder, PACKED[way])
    inspect_endpoint(card)
    loaded = load(card, CPU)
    plain = tiny.build("z_image")
    assert difference(drawn(loaded.base), drawn(plain)) < 0.1
    name = "text_encoder" if way.startswith("text") else "transformer"
    packed, whole = (size_bytes({name: getattr(each, name)}) for each in (loaded.base, plain))
    assert packed < 0.9 * whole  # tiny ones are mostly what is kept as it is
    assert loaded.size_bytes < size_bytes(plain.components)


@pytest.mark.parametrize(
    "transformer",
    [
        "{ source = 'flux.gguf' }",
        "{ quantized = 'torchao-int8' }",
        "{ quantized = 'torchao-float8' }",
        "{ quantized = 'quanto-int8' }",
        "{ quantized = 'layerwise-float8' }",
    ],
)
def test_lora_changes_packed_layers_row_by_row(tmp_path: Path, transformer: str) -> None:
    stock = tiny.build("flux")
    stock.save_pretrained(tmp_path / "base")
    single_files.save_gguf(stock.transformer.state_dict(), tmp_path / "flux.gguf")
    lora = tiny_loras.save("flux", tmp_path, "ink")
    card = endpoint(tmp_path, f'source = "base"\ncomponents.transformer = {transformer}\n')
    uses = [(), (AdapterUse("ink", 1.0),), (AdapterUse("ink", 0.5),)]
    bench = Workbench({"flux": load(card, CPU).base}, (lora,))
    bench.add(job("flux", "it is read", 2, 1, adapters=uses[1]))
    bench.run()
    samples = [bench.add(job("flux", "a cat", 1, 2, adapters=use))[0] for use in uses]
    bench.run()
    without, *changed = map(picture, samples)
    bench.close()
    assert max(bench.denoiser_rows()) == 3
    one = job("flux", "a cat", 1, 2)
    assert difference(without, alone(load(card, CPU).base, one)) <= TOLERANCE
    assert lora.file
    stock.load_lora_weights(str(lora.file.parent), weight_name=lora.file.name, adapter_name="x")
    for scale, got in zip((1.0, 0.5), changed, strict=True):
        stock.set_adapters(["x"], [scale])
        wanted = alone(stock, one)
        assert difference(got, wanted) < difference(without, wanted) / 2


def test_a_gguf_file_that_is_cut_short_is_told(folder: Path) -> None:
    file = folder / "z.gguf"
    whole = file.read_bytes()
    last = max(head.start for head in read_gguf(file).values())
    for size in (100, last, last + 1):
        file.write_bytes(whole[:size])
        with pytest.raises(CardError, match="not a whole GGUF file"):
            inspect_endpoint(endpoint(folder, PACKED["gguf"]))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('source = "z.gguf"\nconfig = "base"\ncomponents.transformer.quantized = "torchao-int8"\n',
         "packed already"),
        ('source = "base"\ncomponents.text_encoder = "z.gguf"\n', "not read from GGUF"),
    ],
)  # fmt: skip
def test_what_cannot_be_packed_so_is_told(folder: Path, lines: str, says: str) -> None:
    with pytest.raises(CardError, match=says):
        inspect_and_load(endpoint(folder, lines))


def inspect_and_load(card: EndpointCard) -> None:
    inspect_endpoint(card)
    load(card, CPU)
