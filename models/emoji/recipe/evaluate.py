"""How well the exported model draws what it is asked: figures and contact sheets.

A generated picture is embedded by the model's own VAE and must be nearest, among all
subjects drawn in the same style, to one that answers the prompt. Both are compared on white
and in one frame, since a prompt says nothing of place, size and, mostly, background.
"""

import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from autoencoder import EXPORTED, new_autoencoder
from coloured import read_colour_prompts, score_colours
from compose import COLOUR_NAMES, Drawings
from diffusers import DiffusionPipeline
from pictures import border, nearest_colour, on_white, percent
from PIL import Image
from subjects import Subject, fetch, read_subjects
from torch import Tensor
from training import restore
from words import with_article

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent
ADAPTERS = MODEL.parents[1] / "adapters" / "emoji"
STEPS = (1, 2, 4, 8)
NUM_NAMES = 96
NUM_UNSEEN = 64
BATCH = 16
Prompts = list[tuple[str, set[int], int | None]]
"""Each prompt, the subjects that answer it, and the background it names."""


def evaluate(work: Path) -> None:
    """Measure the exported model and write `figures.json` and the sheets beside it."""
    subjects = read_subjects(fetch(work))
    judge = Judge(work)
    pipe = DiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    lists, asked = prompt_lists(subjects), read_colour_prompts(subjects)
    figures: dict[str, dict] = {"flat": {}}
    for steps in STEPS:
        figures["flat"][str(steps)] = {
            name: judge.score(pipe, prompts, steps, "flat") for name, prompts in lists.items()
        }
        figures["flat"][str(steps)]["colours"] = score_colours(
            lambda texts, seed, steps=steps: draw(pipe, texts, steps, seed), asked, judge.drawings
        )
        print(steps, figures["flat"][str(steps)], flush=True)
    steps_sheet(pipe).save(MODEL / "steps.webp", quality=85)
    for style in ("flat", "3d", "line"):
        if style != "flat":
            pipe.load_lora_weights(ADAPTERS / style, weight_name=f"{style}.safetensors")
            figures[style] = {"4": {"names": judge.score(pipe, lists["names"], 4, style)}}
            print(style, figures[style], flush=True)
        contact_sheet(pipe).save(MODEL / f"sheet-{style}.webp", quality=85)
        if style != "flat":
            pipe.unload_lora_weights()
    figures["seconds_on_one_thread"] = speed(pipe)
    (MODEL / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


def prompt_lists(subjects: list[Subject]) -> dict[str, Prompts]:
    """Training names, the same on named backgrounds, and free words."""
    chosen = random.Random(0).sample(range(len(subjects)), NUM_NAMES)
    names: Prompts = [(with_article(subjects[i].name), {i}, None) for i in chosen]
    coloured: Prompts = []
    for number, index in enumerate(chosen):
        colour = number % len(COLOUR_NAMES)
        text = f"{with_article(subjects[index].name)} on a {COLOUR_NAMES[colour]} background"
        coloured.append((text, {index}, colour))
    return {"names": names, "backgrounds": coloured, "free words": free_prompts(subjects)}


def free_prompts(subjects: list[Subject]) -> Prompts:
    """The prompts of `free_prompts.txt`."""
    position = {subject.icon: index for index, subject in enumerate(subjects)}
    prompts: Prompts = []
    for line in (HERE / "free_prompts.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            text, _, icons = line.partition(" => ")
            prompts.append((text, {position[icon] for icon in icons.split()}, None))
    return prompts


class Judge:
    """Embeds pictures by the VAE and finds the subject they are nearest to."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.drawings = Drawings(work, torch.device("cpu"))
        self.vae = new_autoencoder().eval()
        restore(self.vae, work / "autoencoder.safetensors", EXPORTED)
        self._references: dict[str, Tensor] = {}

    def score(self, pipe: DiffusionPipeline, prompts: Prompts, steps: int, style: str) -> dict:
        """Top-1 and top-5 retrieval, and how many backgrounds are as asked, in percent."""
        ranked: list[list[int]] = []
        as_asked: list[bool] = []
        for start in range(0, len(prompts), BATCH):
            part = prompts[start : start + BATCH]
            pictures = draw(pipe, [text for text, _, _ in part], steps, seed=start)
            for picture, (_, _, colour) in zip(pictures, part, strict=True):
                ranked.append(self._ranked(picture, style))
                if colour is not None:
                    as_asked.append(nearest_colour(border(picture)) == colour)
        found = retrieval(ranked, prompts)
        return found | ({"background": percent(as_asked)} if as_asked else {})

    def _ranked(self, picture: Tensor, style: str) -> list[int]:
        distances = torch.cdist(self._features(picture[None]), self._reference(style))[0]
        return [int(index) for index in distances.topk(5, largest=False).indices]

    def _reference(self, style: str) -> Tensor:
        """The features `[N, 2048]` of every subject."""
        if style not in self._references:
            white = torch.ones(64, 3)
            parts = torch.arange(len(self.drawings)).split(64)
            drawn = (
                self.drawings.compose(style, part, white[: len(part)], variation=0.0)
                for part in parts
            )
            self._references[style] = torch.cat([self._features(p.add(1).div(2)) for p in drawn])
        return self._references[style]

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> Tensor:
        framed = torch.stack([on_white(picture) for picture in pictures])
        latents: Tensor = self.vae.encode(framed * 2 - 1).latents
        return latents.flatten(1)


def draw(pipe: DiffusionPipeline, prompts: list[str], steps: int, seed: int = 0) -> Tensor:
    """Pictures `[batch, 3, 128, 128]` in [0, 1], without guidance."""
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    return pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=generators,
        output_type="pt",
    ).images


def retrieval(ranked: list[list[int]], prompts: Prompts) -> dict[str, float]:
    """How often an answer to a prompt is first, and among the five first, in percent."""
    pairs = list(zip(ranked, (answers for _, answers, _ in prompts), strict=True))
    return {
        "top-1": percent([five[0] in answers for five, answers in pairs]),
        "top-5": percent([bool(answers & {*five}) for five, answers in pairs]),
    }


def contact_sheet(pipe: DiffusionPipeline) -> Image.Image:
    """64 of the free-worded prompts, eight a row."""
    lines = (HERE / "free_prompts.txt").read_text().splitlines()
    prompts = [line.partition(" => ")[0] for line in lines if line and line[0] != "#"]
    prompts = prompts[::2][:NUM_UNSEEN]
    pictures = torch.cat([draw(pipe, prompts[start : start + 8], 4) for start in range(0, 64, 8)])
    return grid(pictures, 8)


def steps_sheet(pipe: DiffusionPipeline) -> Image.Image:
    """Eight prompts across, 1, 2, 4 and 8 steps down."""
    prompts = [
        "a red apple",
        "a cat on a blue background",
        "a rocket on a purple background",
        "a puppy",
        "a smiling face",
        "a hamburger",
        "a sailboat",
        "a cactus",
    ]
    return grid(torch.cat([draw(pipe, prompts, steps) for steps in STEPS]), 8)


def grid(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures in rows."""
    rows = [torch.cat(list(row), 2) for row in pictures.split(columns)]
    whole = torch.cat(rows, 1).permute(1, 2, 0).mul(255).round().byte().numpy()
    return Image.fromarray(np.ascontiguousarray(whole))


def speed(pipe: DiffusionPipeline) -> dict[str, float]:
    """Median seconds for one picture at 1, 4 and 10 steps on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for steps in (1, 4, 10):
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            draw(pipe, ["a red apple"], steps)
            taken.append(time.perf_counter() - began)
        found[str(steps)] = round(sorted(taken)[2], 3)
    torch.set_num_threads(threads)
    return found
