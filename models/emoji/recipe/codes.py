"""Codes: what the text encoder tells the denoiser, as numbers that both can learn.

A state of the text encoder holds 376 numbers for the subject, 4 for the colour it is asked in
and 4 for the background's. The subject's are the principal components of its pictures in every
style: where codes are alike so are pictures, and a picture is, but for colours asked for,
linear in its code. The denoiser therefore need not learn a thousand subjects by heart, nor the
text encoder how to draw.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from autoencoder import STYLE_SHARES
from compose import Drawings
from diffusers import AutoencoderTiny
from paint import Paint
from torch import Tensor
from training import load_weights, save_weights
from words import Wishes

STATE = 384
SUBJECT = 376
EXPORTED = Path(__file__).resolve().parent / "codes.safetensors"
"""Kept beside the recipe: text encoder and denoiser were trained on these very codes."""


def read_codes(drawings: Drawings, vae: AutoencoderTiny) -> Tensor:
    """The codes `[N, 376]` of all subjects, each of length √376; made where there are none."""
    if not EXPORTED.exists():
        save_weights(EXPORTED, {"codes": _principal(drawings, vae).half()})
    return of_length(load_weights(EXPORTED)["codes"].float()[:, :SUBJECT]).to(drawings.device)


def states(codes: Tensor, wished: Wishes) -> Tensor:
    """What is to be said `[batch, 384]` of subjects, and of colours where they are named."""
    return torch.cat([codes[wished.index], paint_states(wished).to(codes)], 1)


def paint_states(wished: Wishes) -> Tensor:
    """What is to be said `[batch, 8]` of the colours of things and of backgrounds."""
    return torch.cat([_as_said(wished.paint), _as_said(wished.ground)], 1)


def _as_said(paint: Paint) -> Tensor:
    """Colours as numbers `[batch, 4]`, nought where none is asked for."""
    asked = paint.asked[:, None].float()
    return torch.cat([2 * (2 * paint.colours - 1) * asked, 2 * asked], 1)


def blurred(states: Tensor, codes: Tensor) -> Tensor:
    """States as they are said where words are unsure: a little of another subject, some noise."""
    count, unsure = len(states), torch.rand(2, len(states), 1, device=states.device)
    other = codes[torch.randint(len(codes), (count,), device=states.device)]
    mixed = states[:, :SUBJECT] + 0.4 * unsure[0] * other * (unsure[0] > 0.5)
    mixed = mixed + 0.3 * unsure[1] * torch.randn_like(mixed)
    colours = states[:, SUBJECT:] + 0.05 * torch.randn_like(states[:, SUBJECT:])
    return torch.cat([of_length(mixed), colours], 1)


def of_length(codes: Tensor) -> Tensor:
    """Codes `[batch, 376]` brought to the length √376 that all have."""
    return F.normalize(codes, dim=1) * SUBJECT**0.5


@torch.no_grad()
def _principal(drawings: Drawings, vae: AutoencoderTiny) -> Tensor:
    """The first components of every subject's latents on grey and on its outline."""
    seen = []
    for part in torch.arange(len(drawings)).split(64):
        grey = torch.full((len(part), 3), 0.5)
        latents = [
            vae.encode(drawings.compose(style, part, grey, variation=0.0)).latents
            for style in STYLE_SHARES
        ]
        outline = F.avg_pool2d(drawings.alpha("flat", part), 8) * 2
        seen.append(torch.cat([*latents, outline], 1).flatten(1))
    pictures = torch.cat(seen)
    left, scale, _ = torch.linalg.svd(pictures - pictures.mean(0), full_matrices=False)
    return of_length((left * scale)[:, :SUBJECT])
