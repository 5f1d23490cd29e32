"""Whether colours go where the words put them: by the pixels of the thing, and of what is behind.

A pixel has the colour whose name is nearest in Oklab, where lightness weighs half: a shade of
yellow is yellow. A thing has the colour that at least half of its pixels have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from compose import COLOUR_NAMES, PALETTE, Drawings
from paint import to_oklab
from pictures import border, nearest_colour, percent, subject_share
from subjects import Subject
from torch import Tensor

PROMPTS = Path(__file__).resolve().parent / "colour_prompts.txt"
MOSTLY = 0.5
SAME_NAME = {"sky blue": "blue"}
BATCH = 16


@dataclass(frozen=True)
class ColourPrompt:
    """A prompt, the subjects that answer it, and the colours it names, if any."""

    text: str
    answers: tuple[int, ...]
    paint: str | None
    ground: str | None


def read_colour_prompts(subjects: list[Subject]) -> list[ColourPrompt]:
    """The prompts of `colour_prompts.txt`."""
    position = {subject.icon: index for index, subject in enumerate(subjects)}
    found = []
    for line in PROMPTS.read_text().splitlines():
        if not line.startswith("#"):
            text, _, described = line.partition(" => ")
            icons, *colours = (part.strip() for part in described.split("|"))
            paint, ground = (None if colour == "-" else colour for colour in colours)
            answers = tuple(position[icon] for icon in icons.split())
            found.append(ColourPrompt(text, answers, paint, ground))
    return found


def score_colours(
    draw: Callable[[list[str], int], Tensor], prompts: list[ColourPrompt], drawings: Drawings
) -> dict[str, float]:
    """Percent of prompts whose backgrounds, things' colours and own colours are right.

    `draw` makes pictures `[batch, 3, 128, 128]` in [0, 1] of prompts and a seed.
    """
    ground, paint, own = [], [], []
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        pictures = draw([prompt.text for prompt in part], start)
        for picture, prompt in zip(pictures, part, strict=True):
            if prompt.paint and prompt.ground:
                seen = COLOUR_NAMES[nearest_colour(border(picture))]
                ground.append(seen == prompt.ground)
            if prompt.paint:
                paint.append(shares(picture).get(prompt.paint, 0.0) >= MOSTLY)
            else:
                own.append(main_colour(picture) in _own(prompt, drawings))
    return {"background": percent(ground), "thing": percent(paint), "own colours": percent(own)}


def shares(picture: Tensor) -> dict[str, float]:
    """How much of a picture's subject has each colour; `picture` is `[3, 128, 128]` in [0, 1]."""
    inside = picture[:, subject_share(picture) > 0.5]
    if not inside.numel():
        return {}
    weights = torch.tensor([0.5, 1.0, 1.0])
    seen, named = (
        to_oklab(colours.T[None, :, :, None])[0, :, :, 0].T * weights
        for colours in (inside.T, PALETTE)
    )
    counts = torch.bincount(torch.cdist(seen, named).argmin(1), minlength=len(named)).tolist()
    found = dict.fromkeys(COLOUR_NAMES, 0.0)
    for name, count in zip(COLOUR_NAMES, counts, strict=True):
        found[SAME_NAME.get(name, name)] += count / len(seen)
    return found


def main_colour(picture: Tensor) -> str | None:
    """The colour that most of a picture's subject has."""
    found = shares(picture)
    return max(found, key=found.__getitem__) if found else None


def own_colours(drawings: Drawings) -> Tensor:
    """The colours `[N, 3]` that subjects mostly have as drawn; below nought where there is none."""
    found = torch.full((len(drawings), 3), -1.0)
    for part in torch.arange(len(drawings)).split(64):
        grey = torch.full((len(part), 3), 0.5)
        drawn = drawings.compose("flat", part, grey, variation=0.0).add(1).div(2)
        for index, picture in zip(part.tolist(), drawn, strict=True):
            name, share = max(shares(picture).items(), key=lambda pair: pair[1], default=("", 0.0))
            if share >= MOSTLY:
                found[index] = PALETTE[COLOUR_NAMES.index(name)]
    return found


def _own(prompt: ColourPrompt, drawings: Drawings) -> set[str | None]:
    """The main colours of what answers a prompt, as it is drawn, before grey."""
    grey = torch.full((len(prompt.answers), 3), 0.5)
    index = torch.tensor(prompt.answers)
    drawn = drawings.compose("flat", index, grey, variation=0.0).add(1).div(2)
    return {main_colour(picture) for picture in drawn}
