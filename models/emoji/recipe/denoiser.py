"""The denoiser: rectified flow on latents, guided by the prompt alone, one call per step.

A noise level t in [0, 1] mixes `x_t = (1 - t) x_0 + t ε`; the network learns the velocity
`ε - x_0` (Liu et al. 2022, arXiv:2209.03003). The picture for a known prompt is nearly
unique, so few steps suffice without a teacher: there is no guidance to distil, because
none is used in training.
"""

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from autoencoder import EXPORTED as EXPORTED_VAE
from autoencoder import LATENT_CHANNELS, new_autoencoder
from codes import STATE, SUBJECT, blurred, read_codes, states
from coloured import own_colours
from compose import Drawings, random_colours
from diffusers import AutoencoderTiny, UNet2DConditionModel
from nouns import read_nouns
from paint import Paint, to_oklab
from PIL import Image
from prior import likeness
from subjects import fetch, read_subjects
from text_encoder import NUM_TOKENS, Reader, read_prior
from torch import Tensor
from training import begin, log, restore, start_from, train
from words import UNPAINTED, Asker, Wishes

EXPORTED = Path(__file__).resolve().parent.parent / "unet"
SAMPLE_PROMPTS = (
    "a red apple",
    "a cat on a blue background",
    "a rocket on a purple background",
    "a puppy",
    "a red circle",
    "a blue circle",
    "hamburger",
    "a smiling face",
    "a tree on yellow",
    "a fish",
    "a car on a green background",
    "a crown",
)


NUM_PREPARED = 1024
LEARNING_RATE = 1e-3
COLOUR = 0.1
"""What an error of colour weighs beside the error of latents."""
PAINTED = ("flat", "3d")
"""Styles in which a subject takes the colour that is asked for; lines stay black."""
RENEWED = 4
"""After so many batches, as many latents as one has are made anew."""
VISITED = {1.0: 0.5, 0.75: 0.2, 0.5: 0.15, 0.25: 0.15}
"""The noise levels that four steps visit, and how much each weighs in lessons."""
SAID = 0.6
"""How often colours are told as the prior says them, unless it is mistaken; else exactly."""
TAKEN = 0.5
"""How often a lesson is what the prior takes a prompt for, in its words; else a blurred code."""
MISTAKEN = 1.0
"""By how much a number that the prior says of colours is wrong where it is mistaken."""
ON_VISITED = 0.6
"""How often a lesson has one of these; the others have any."""


def new_denoiser() -> UNet2DConditionModel:
    """An untrained UNet; the prompt's state modulates every block.

    Most weights work at 4x4, where a convolution's padding tells it where it is: shapes are
    learned there, in a fraction of the time that as many weights at 16x16 take. The embedding
    is wide enough to carry a whole state.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 256),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1,
        cross_attention_dim=STATE,
        attention_head_dim=8,
        addition_embed_type="text",
        time_embedding_dim=1024,
        resnet_time_scale_shift="scale_shift",
    )


class Lessons:
    """Batches of latents, states and noise levels; in varied places at the end.

    Preparing a picture costs half as much as learning from it, so each serves a few times,
    with other noise.
    """

    def __init__(self, work: Path, device: torch.device, style: str = "flat") -> None:
        self.device = device
        self.style = style
        self.drawings = Drawings(work, device)
        folders = fetch(work)
        subjects = read_subjects(folders)
        self.reader = Reader(device)
        self.asker = Asker(
            subjects, read_nouns(folders["nouns"], subjects, self.reader), is_brief=True
        )
        self.prior = read_prior(work).to(device).eval()
        self.vae = new_autoencoder().to(device, memory_format=torch.channels_last).eval()
        restore(self.vae, work / "autoencoder.safetensors", EXPORTED_VAE)
        self.codes = read_codes(self.drawings, self.vae)
        self.seen = seen_colours(self.drawings, self.vae)
        self._latents = torch.empty(NUM_PREPARED, LATENT_CHANNELS, 16, 16, device=device)
        self._states = torch.empty(NUM_PREPARED, STATE, device=device)
        self._num_added = self._num_batches = 0
        self._own = own_colours(self.drawings)
        self._unpainted = torch.tensor([subject.name in UNPAINTED for subject in subjects])

    def batch(self, count: int, progress: float) -> tuple[Tensor, Tensor, Tensor]:
        """`x_0` `[count, 8, 16, 16]`, states `[count, 20, 384]`, levels `[count]`."""
        while self._num_added < NUM_PREPARED:
            self._add(128, progress)
        if self._num_batches % RENEWED == 0:
            self._add(count, progress)
        self._num_batches += 1
        chosen = torch.randint(NUM_PREPARED, (count,), device=self.device)
        level = levels(count).to(self.device)
        told = self._states[chosen][:, None].expand(-1, NUM_TOKENS, -1)
        return self._latents[chosen], told, level

    def _add(self, count: int, progress: float) -> None:
        """Prepare pictures in place of the oldest."""
        places = torch.arange(self._num_added, self._num_added + count) % NUM_PREPARED
        self._latents[places], self._states[places] = self._prepared(count, progress)
        self._num_added += count

    @torch.no_grad()
    def _prepared(self, count: int, progress: float) -> tuple[Tensor, Tensor]:
        wished, told = self._told(self.asker.wishes(count))
        paint = self._paint(wished) if self.style in PAINTED else Paint.none(count)
        ground = torch.where(
            wished.ground.asked[:, None],
            wished.ground.colours,
            self.drawings.standing_out(self.style, wished.index, paint),
        )
        variation = 0.0 if progress < 0.8 else 0.35 * random.random()
        pixels = self.drawings.compose(
            self.style, wished.index, ground, variation=variation, paint=paint
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            clean = self.vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latents
        return clean.float(), told

    def _told(self, wished: Wishes) -> tuple[Wishes, Tensor]:
        """Wishes, some of them for what the prior takes them for, and states `[count, 384]`.

        A code that it is unsure of lies between several; what it takes it for is the nearest.
        """
        said = self.reader.read(wished.prompts, self.prior).mean(1)
        taken = likeness(said, self.codes).argmax(1).cpu()
        is_taken = torch.rand(len(taken)) < TAKEN
        is_taken &= ~(wished.paint.asked & self._unpainted[taken])
        wished = replace(wished, index=torch.where(is_taken, taken, wished.index))
        told = blurred(states(self.codes, wished), self.codes)
        subject, colours = told.split((SUBJECT, STATE - SUBJECT), 1)
        is_right = (said[:, SUBJECT:] - colours).abs().amax(1) < MISTAKEN
        is_said = is_right & (torch.rand(len(taken), device=self.device) < SAID)
        return wished, torch.cat(
            [
                torch.where(is_taken[:, None].to(self.device), said[:, :SUBJECT], subject),
                torch.where(is_said[:, None], said[:, SUBJECT:], colours),
            ],
            1,
        )

    def _paint(self, wished: Wishes) -> Paint:
        """The colours asked for, but where most of a subject has its colour as it is drawn."""
        is_own = (wished.paint.colours == self._own[wished.index]).all(1)
        return Paint(wished.paint.colours, wished.paint.asked & ~is_own)


def levels(count: int) -> Tensor:
    """Noise levels `[count]`: mostly those that few steps visit, pure noise above all.

    There the prompt alone decides; with less noise, much can be seen of what was decided.
    """
    shares = torch.tensor(list(VISITED.values()))
    visited = torch.tensor(list(VISITED))[torch.multinomial(shares, count, replacement=True)]
    return torch.where(torch.rand(count) < ON_VISITED, visited, 1 - torch.rand(count).pow(1.4))


def velocity_loss(
    model: torch.nn.Module, seen: Tensor, clean: Tensor, states: Tensor, level: Tensor
) -> Tensor:
    """Mean squared error of the predicted velocity, and of what is seen of it as colour.

    `seen` `[3, 8]` is `seen_colours`'.
    """
    noise = torch.randn_like(clean)
    t = level[:, None, None, None]
    mixed = (1 - t) * clean + t * noise
    with torch.autocast(clean.device.type, torch.bfloat16):
        predicted = model(
            mixed.contiguous(memory_format=torch.channels_last), level * 1000, states
        ).sample
    error = predicted.float() - (noise - clean)
    amiss = torch.einsum("ij,bjhw->bihw", seen, error)
    return error.square().mean() + COLOUR * amiss.square().mean()


@torch.no_grad()
def seen_colours(drawings: Drawings, vae: AutoencoderTiny) -> Tensor:
    """What lightness and hue of pictures are of their latents, `[3, 8]`, each of variance 1.

    Six sevenths of it are linear: an error there is a wrong colour, others are wrong edges.
    """
    index = torch.randint(len(drawings), (256,))
    paint = Paint(random_colours(256), torch.rand(256) < 0.5)
    pixels = drawings.compose("flat", index, random_colours(256), variation=0.0, paint=paint)
    latents = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latents
    pools = F.avg_pool2d(to_oklab((pixels + 1) / 2), 8), latents.float()
    colours, told = (pool.permute(0, 2, 3, 1).flatten(0, 2) for pool in pools)
    colours, told = colours - colours.mean(0), told - told.mean(0)
    return (torch.linalg.lstsq(told, colours).solution / colours.std(0)).T


def train_denoiser(work: Path, minutes: float, device: torch.device) -> None:
    """Train, or train on, for a number of minutes."""
    begin()
    lessons = Lessons(work, device)
    model = new_denoiser()
    start_from(model, EXPORTED)
    model.to(device, memory_format=torch.channels_last)
    count = 16 if device.type == "cpu" else 128
    log(work, stage="denoiser", parameters=sum(p.numel() for p in model.parameters()))

    def samples(weights: dict[str, Tensor], step: int) -> None:
        averaged = new_denoiser().to(device).eval()
        averaged.load_state_dict(weights)
        path = work / f"denoiser-{step:06d}.png"
        sheet(averaged, lessons, SAMPLE_PROMPTS).save(path)
        log(work, stage="denoiser", step=step, sheet=str(path))

    train(
        "denoiser",
        model,
        lambda progress: velocity_loss(model, lessons.seen, *lessons.batch(count, progress)),
        work=work,
        minutes=minutes,
        learning_rate=LEARNING_RATE,
        samples=samples,
    )


@torch.no_grad()
def sheet(
    model: torch.nn.Module, lessons: Lessons, prompts: tuple[str, ...], num_steps: int = 4
) -> Image.Image:
    """A row of pictures by plain Euler steps, one a prompt."""
    told = lessons.reader.read(list(prompts), lessons.prior)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(prompts), LATENT_CHANNELS, 16, 16, generator=generator).to(lessons.device)
    edges = torch.linspace(1, 0, num_steps + 1)
    for level, following in pairwise(edges):
        t = torch.full((len(prompts),), float(level) * 1000, device=lessons.device)
        x = x + (following - level) * model(x, t, told).sample
    pixels = lessons.vae.decode(x).sample.add(1).div(2).clamp(0, 1)
    row = pixels.permute(2, 0, 3, 1).reshape(128, -1, 3).mul(255).byte().cpu().numpy()
    return Image.fromarray(row)
