"""A card's tiny autoencoder decodes previews, and the pipeline's own the picture."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from gateway.catalog.cards import CardError
from gateway.catalog.folders import load_catalog
from gateway.catalog.survey.survey import faults_of
from gateway.engine import sample as sample_module
from gateway.engine.loading.loading import load
from gateway.job import Finished, Pixels, Preview
from tests.engine import tiny
from tests.engine.workbench import CPU, Workbench, alone, failures, job

CHANNELS = {"sd": 4, "sdxl": 4, "flux": 1, "z_image": 16, "flux2_klein": 4}


def autoencoder(channels: int) -> Any:
    """A random one that enlarges edges by two, as the families' own do."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=channels,
        ).eval()


def saved(family: str, folder: Path, channels: int, **card: Any) -> Path:
    target = tiny.save(family, folder, **{"previews": "quick"} | card)
    autoencoder(channels).save_pretrained(target / "quick")
    return target


@pytest.fixture
def last_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model predicts at the last step is the picture's latents."""
    monkeypatch.setattr(sample_module, "preview_steps", lambda steps, _: [steps])


def drawn(folder: Path, family: str) -> tuple[Pixels, Pixels]:
    """A preview and the picture, of an endpoint that is loaded from its card."""
    catalog = load_catalog((folder,), ())
    assert not faults_of(catalog)
    bench = Workbench({}, catalog=catalog)
    bench.add(job(family, "a cat", 1, 2, num_previews=1))
    bench.add(job(family, "a neighbour", 2, 2, num_previews=1))
    bench.run()
    bench.close()
    assert not failures(bench.events)
    mine = [event for event in bench.events if getattr(event, "sample", 0) == 0]
    previews = [event.pixels for event in mine if isinstance(event, Preview)]
    pictures = [event.pixels for event in mine if isinstance(event, Finished)]
    return previews[0], pictures[0]


def is_near(pixels: Pixels, image: Tensor) -> bool:
    got = torch.frombuffer(bytearray(pixels.data), dtype=torch.uint8).int()
    wanted = image.float().mul(255).round().clamp(0, 255).int().permute(1, 2, 0).flatten()
    return got.shape == wanted.shape and int((got - wanted).abs().max()) <= 1


@pytest.mark.usefixtures("last_step_too")
@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "z_image"])
def test_previews_are_the_tiny_decoders_and_the_picture_is_not(
    family: str, tmp_path: Path
) -> None:
    saved(family, tmp_path, CHANNELS[family])
    preview, image = drawn(tmp_path, family)
    one = job(family, "a cat", 1, 2)
    assert is_near(image, alone(tiny.build(family), one))
    quick = tiny.build(family)
    quick.vae = autoencoder(CHANNELS[family])
    assert is_near(preview, alone(quick, one))
    assert not is_near(preview, alone(tiny.build(family), one))


@pytest.mark.usefixtures("last_step_too")
def test_a_family_that_wants_more_of_its_decoder_previews_by_its_own(tmp_path: Path) -> None:
    family = "flux2_klein"
    own: int = tiny.build(family).vae.config.latent_channels
    saved(family, tmp_path, own)
    preview, image = drawn(tmp_path, family)
    wanted = alone(tiny.build(family), job(family, "a cat", 1, 2))
    assert is_near(image, wanted)
    assert is_near(preview, wanted)


def test_a_tiny_decoder_may_be_the_pictures_own(tmp_path: Path) -> None:
    saved("sd", tmp_path, 4, previews="", components={"vae": "quick"})
    loaded = load(load_catalog((tmp_path,), ()).endpoints["sd"], CPU)
    quick = tiny.build("sd")
    quick.vae = autoencoder(4)
    one = job("sd", "a cat", 1, 2)
    assert torch.allclose(alone(loaded.base, one), alone(quick, one), atol=1e-4)


def test_a_decoder_of_other_latents_is_refused(tmp_path: Path) -> None:
    saved("sd", tmp_path, 16)
    with pytest.raises(CardError, match="key 'previews': it decodes latents of 16 channels, not"):
        load(load_catalog((tmp_path,), ()).endpoints["sd"], CPU)


@pytest.mark.parametrize("given", ["nowhere.safetensors", "./nowhere"])
def test_a_decoder_that_is_not_there_is_told_before_loading(given: str, tmp_path: Path) -> None:
    tiny.save("sd", tmp_path, previews=given)
    [fault] = faults_of(load_catalog((tmp_path,), ())).values()
    assert "key 'previews': source = " in fault.reason
