"""The autoencoder: 128×128×3 pixels to 16×16×8 latents, kept near unit variance."""

from pathlib import Path

import torch
import torch.nn.functional as F
from compose import Drawings, random_colours
from diffusers import AutoencoderTiny
from torch import Tensor
from training import begin, log, start_from, train

EXPORTED = Path(__file__).resolve().parent.parent / "vae"
LATENT_CHANNELS = 8
STYLE_SHARES = {"flat": 3, "3d": 2, "line": 1}


def new_autoencoder() -> AutoencoderTiny:
    """An untrained autoencoder; all widths 32."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(1, 2, 3, 3),
        num_decoder_blocks=(3, 3, 2, 1),
        latent_channels=LATENT_CHANNELS,
    )


def train_autoencoder(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    drawings = Drawings(work, device)
    model = new_autoencoder()
    start_from(model, EXPORTED)
    model.to(device, memory_format=torch.channels_last)
    batch = 6 if device.type == "cpu" else 32

    def losses(_progress: float) -> Tensor:
        pixels = torch.cat(
            [
                drawings.compose(
                    style,
                    torch.randint(len(drawings), (batch * share // 6,)),
                    random_colours(batch * share // 6),
                    variation=1.0,
                )
                for style, share in STYLE_SHARES.items()
            ]
        ).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            latents = model.encoder(pixels)
            decoded = model.decoder(latents)
        return _distance(decoded.float(), pixels) + 0.01 * _spread(latents.float())

    def samples(weights: dict[str, Tensor], step: int) -> None:
        log(work, stage="autoencoder", step=step, psnr=measure(weights, drawings, device))

    train(
        "autoencoder",
        model,
        losses,
        work=work,
        minutes=minutes,
        learning_rate=1e-3,
        samples=samples,
    )


@torch.no_grad()
def measure(weights: dict[str, Tensor], drawings: Drawings, device: torch.device) -> dict:
    """Peak signal-to-noise ratio in dB per style, over 48 pictures each."""
    model = new_autoencoder().to(device).eval()
    model.load_state_dict(weights)
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(len(drawings), (48,), generator=generator)
    colours = torch.rand(48, 3, generator=generator)
    found = {}
    for style in STYLE_SHARES:
        pixels = drawings.compose(style, index, colours, variation=0.0)
        error = (model.decode(model.encode(pixels).latents).sample - pixels).div(2)
        found[style] = round(float(-10 * torch.log10(error.square().mean())), 2)
    return found


def _distance(got: Tensor, wanted: Tensor) -> Tensor:
    """L1, squared error and the L1 of edges."""
    error = got - wanted
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return F.l1_loss(got, wanted) + 2 * error.square().mean() + edges


def _spread(latents: Tensor) -> Tensor:
    """How far each channel is from zero mean and unit variance."""
    mean = latents.mean((0, 2, 3))
    return (mean.square() + (latents.std((0, 2, 3)) - 1).square()).mean()
