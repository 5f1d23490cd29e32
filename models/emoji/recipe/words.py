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
FURTHER = 0.4
"""How often a subject is called by what else means it, rather than by its name and keywords."""


@dataclass(frozen=True)
class Wishes:
    """Subjects `[count]`, backgrounds `[count, 3]` as RGB in [0, 1], and prompts for them."""

    index: Tensor
    colours: Tensor
    named: Tensor
    """Whether the prompt names the background, `[count]`."""
    prompts: list[str]


class Asker:
    """Draws subjects by lot and words prompts for them."""

    def __init__(self, subjects: list[Subject], meanings: list[list[str]] | None = None) -> None:
        self._subjects = subjects
        self._meanings: list[list[str]] = meanings or [[] for _ in subjects]
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
        named = torch.rand(count) < 0.6
        colours = torch.where(named[:, None], PALETTE[chosen], random_colours(count))
        prompts = [
            self._ask(int(i), COLOUR_NAMES[c] if n else None)
            for i, c, n in zip(index, chosen, named, strict=True)
        ]
        return Wishes(index, colours, named, prompts)

    def _ask(self, index: int, colour: str | None) -> str:
        """A prompt for a subject, naming its background colour unless it is None."""
        further = self._meanings[index] if random.random() < FURTHER else []
        thing = with_article(random.choice(further)) if further else self.thing(index)
        words = random.choice(PLAIN).format(thing)
        return random.choice(ON_COLOUR).format(words, colour) if colour else words

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


def _some(words: tuple[str, ...], least: int, most: int) -> list[str]:
    return random.sample(words, random.randint(least, min(most, len(words))))


def with_article(thing: str) -> str:
    """ "apple" becomes "an apple"; plurals and names with an article stay."""
    if thing.startswith(("a ", "an ", "the ")) or (thing[-1] == "s" and thing[-2:] != "ss"):
        return thing
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
