"""Prompts: how people might ask for a subject, with or without a background."""

import random
from collections import Counter
from dataclasses import dataclass

import torch
from compose import COLOUR_NAMES, PALETTE, random_colours
from subjects import Subject
from torch import Tensor

PLAIN = (
    "{}",
    "{}",
    "{}",
    "a picture of {}",
    "an emoji of {}",
    "{} emoji",
    "a drawing of {}",
    "{} icon",
)
ON_COLOUR = (
    "{} on a {} background",
    "{} on {}",
    "{}, {} background",
    "{} with a {} background",
    "{} in front of a {} background",
)
MAX_SHARED = 3
NOUNS = 0.6
"""How often, where nouns are given, a prompt is for one of them."""


@dataclass(frozen=True)
class Wishes:
    """Subjects `[count]`, backgrounds `[count, 3]` as RGB in [0, 1], and prompts for them."""

    index: Tensor
    colours: Tensor
    on_colour: Tensor
    """Whether the prompt names the background, `[count]`."""
    things: list[str]
    """What the prompts call the subjects."""
    known: Tensor
    """Whether that is surely the subject: its name, or a kind of it, `[count]`."""
    prompts: list[str]


class Asker:
    """Draws subjects by lot and words prompts for them."""

    def __init__(self, subjects: list[Subject], nouns: dict[str, int | None] | None = None) -> None:
        self._subjects = subjects
        self._nouns = list((nouns or {}).items())
        shared = Counter(word for subject in subjects for word in subject.keywords)
        names = {subject.name for subject in subjects}
        self._telling = [
            [word for word in subject.keywords if shared[word] <= MAX_SHARED and word not in names]
            for subject in subjects
        ]
        # Plain shapes weigh more: their colour is all there is to them.
        self._weights = torch.tensor([4.0 if subject.is_shape else 1.0 for subject in subjects])

    def wishes(self, count: int) -> Wishes:
        """So many prompts; three in five name a background."""
        index = torch.multinomial(self._weights, count, replacement=True)
        chosen = torch.randint(len(PALETTE), (count,))
        on_colour = torch.rand(count) < 0.6
        colours = torch.where(on_colour[:, None], PALETTE[chosen], random_colours(count))
        meant, things, known = zip(*map(self._asked, index.tolist()), strict=True)
        prompts = [
            _ask(thing, COLOUR_NAMES[c] if n else None)
            for thing, c, n in zip(things, chosen, on_colour, strict=True)
        ]
        return Wishes(
            torch.tensor(meant), colours, on_colour, list(things), torch.tensor(known), prompts
        )

    def _asked(self, index: int) -> tuple[int, str, bool]:
        """A subject, what to call it, and whether that is sure; a noun instead now and then."""
        if self._nouns and random.random() < NOUNS:
            noun, kind = random.choice(self._nouns)
            return index if kind is None else kind, with_article(noun), kind is not None
        thing = self.thing(index)
        return index, thing, self._subjects[index].name in thing

    def thing(self, index: int) -> str:
        """What to call a subject: its name, words that go with it, or both."""
        subject, telling = self._subjects[index], self._telling[index]
        name, keywords = subject.name, subject.keywords
        chance = random.random()
        if telling and chance < 0.3:
            return with_article(random.choice(telling))
        if len(keywords) > 2 and chance < 0.55:
            return random.choice((", ", " ")).join(_some(keywords, 2, 4))
        if keywords and chance < 0.7:
            some = ", ".join(_some(keywords, 1, 3))
            return random.choice((f"{with_article(name)}, {some}", f"{some} {name}"))
        return with_article(name) if chance < 0.9 else name


def _ask(thing: str, colour: str | None) -> str:
    """A prompt for a thing, naming its background's colour unless it is None."""
    words = random.choice(PLAIN).format(thing)
    return random.choice(ON_COLOUR).format(words, colour) if colour else words


def _some(words: tuple[str, ...], least: int, most: int) -> list[str]:
    return random.sample(words, random.randint(least, min(most, len(words))))


def with_article(thing: str) -> str:
    """ "apple" becomes "an apple"; plurals and names with an article stay."""
    if thing.startswith(("a ", "an ", "the ")) or (thing[-1] == "s" and thing[-2:] != "ss"):
        return thing
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
