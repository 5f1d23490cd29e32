"""In which form an endpoint fits, for the sizes of models that people have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from gateway.catalog.cards import EndpointCard, Guidance, Sizes
from gateway.catalog.survey.fitting import GIB, Bound, Plan, fit
from gateway.catalog.survey.memory import Part, Weight, parts_of
from gateway.cli.models import models
from gateway.settings import SettingsError, read_settings
from gateway.telemetry.sizes import written_bytes
from tests.engine import tiny


def part(name: str, role: Any, floats: float, largest: tuple[int, int], **more: Any) -> Part:
    facts: dict[str, Any] = {
        "kept_bytes": 0, "dtype": "auto", "packed": None, "width": largest[1], "patch": 1,
        "scale": 8, "tile": 1024, "is_deep": False,
    }  # fmt: skip
    return Part(name, role, int(floats), largest=Weight(largest, 0), **(facts | more))


FLUX = [
    part("transformer", "denoiser", 11.9e9, (24576, 3072), patch=2),
    part("text_encoder", "text", 0.12e9, (49408, 768)),
    part("text_encoder_2", "text", 4.76e9, (32128, 4096)),
    part("vae", "autoencoder", 84e6, (512, 4608), width=128),
]
GGUF = [FLUX[0]._replace(num_floats=0, kept_bytes=int(6.8e9), packed=".gguf"), *FLUX[1:]]
CARD = EndpointCard(id="flux", guidance=Guidance(default=0.0))


def plan(parts: list[Part], gib: float, card: EndpointCard = CARD, host_gib: float = 64) -> Plan:
    size = int(gib * GIB)
    return fit(card, parts, "gpu", Bound(size, size, int(host_gib * GIB), GIB // 2))


@pytest.mark.parametrize(
    ("parts", "gib", "says"),
    [
        (GGUF, 48, "fits: 24.1 of 48 GiB: all on the device"),
        (GGUF, 24, "fits: 18.1 of 24 GiB: tiled decode above 1024²"),
        (GGUF, 12, "fits: 9.0 of 12 GiB: text encoders offloaded, tiled decode above 1024²"),
        (GGUF, 8, "text encoders offloaded, tiled decode above 704² in tiles of 512²"),
        (GGUF, 4, "fits: 2.5 of 4 GiB: all weights offloaded, tiled decode above 1024²"),
        (FLUX, 24, "text encoders offloaded"),
        (FLUX, 12, "all weights offloaded"),
    ],
)
def test_models_fit_in_what_costs_least(parts: list[Part], gib: float, says: str) -> None:
    assert says in str(plan(parts, gib))
    assert "float8" not in str(plan(parts, gib))


def test_float8_is_for_where_the_hosts_memory_lacks() -> None:
    found = plan(FLUX, 16, host_gib=24)
    assert "fits" in str(found)
    assert found.shrunk == {"transformer", "text_encoder", "text_encoder_2"}
    assert "transformer" not in found.streamed


def test_what_is_certain_refuses_and_what_is_estimated_warns() -> None:
    assert plan(GGUF, 1.6).verdict == "may not fit"
    refused = plan(GGUF, 0.6)
    assert refused.verdict == "cannot fit"
    assert "wanted memory of" in refused.reason


def test_the_cards_own_word_is_kept() -> None:
    own = EndpointCard(id="flux", offload="group", guidance=CARD.guidance)
    assert "all weights offloaded" in str(plan(GGUF, 80, own))
    tiled = EndpointCard(id="flux", tiles_from=512 * 512, guidance=CARD.guidance)
    assert plan(GGUF, 80, tiled).tiles_from == 512 * 512
    together = EndpointCard(id="flux", batch_invariant=True, sizes=Sizes(max=1024))
    assert plan(GGUF, 80, together).work_bytes > 5 * plan(GGUF, 80).work_bytes / 4


def test_a_decoder_never_gets_more_than_is_left() -> None:
    found = plan(GGUF, 12)
    left = found.bound_bytes - found.weights_bytes
    cost = found.costs["vae"]
    assert cost.pixels(left) * cost.pixel_bytes <= left
    assert cost.pixels(left) >= 1024**2


def test_scaled_files_and_parts_from_elsewhere_are_sized_as_they_are_loaded(tmp_path: Path) -> None:
    tiny.build("sd").save_pretrained(tmp_path)
    card = EndpointCard(id="sd", path=tmp_path / "card.toml", dtype="bfloat16")
    sizes = {one.name: one.size_bytes("gpu") for one in parts_of(card)}
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    assert sizes["unet"] == pytest.approx(file.stat().st_size / 2, rel=0.05)
    scaled = {"a.weight": torch.zeros(64, 64, dtype=torch.float8_e4m3fn)}
    save_file(scaled, file)
    assert {one.name: one.size_bytes("gpu") for one in parts_of(card)}["unet"] == 2 * 64 * 64


def test_what_people_write_is_read() -> None:
    assert written_bytes("12GiB") == 12 * 2**30
    assert written_bytes("800 mb") == 800_000_000
    assert read_settings({"memory": "0.5GiB"}, {}).memory == "0.5GiB"
    for wrong in ("12", "0GiB", "lots", "-1GiB"):
        with pytest.raises(SettingsError, match="memory"):
            read_settings({"memory": wrong}, {})


def test_the_table_has_a_line_of_each_plan_where_a_bound_is_named(tmp_path: Path) -> None:
    tiny.save("sd", tmp_path, id="mine")
    lines = CliRunner().invoke(models, ["--models", str(tmp_path), "--memory", "8GiB"]).output
    assert "mine: fits: " in lines
    assert " of 8 GiB: all on the device" in lines
    lines = CliRunner().invoke(models, ["--models", str(tmp_path), "--memory", "64KiB"]).output
    assert "mine: its weights alone take " in lines
