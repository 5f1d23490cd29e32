"""Prompts: how people might ask for a subject, with or without a background."""

import random
from collections import Counter
from dataclasses import dataclass

import torch
from compose import COLOURS, SHADES
from paint import Paint
from subjects import Subject
from torch import Tensor

PLAIN = (
    *["{}"] * 8,
    "a picture of {}",
    "an emoji of {}",
    "{} emoji",
    "a drawing of {}",
    "{} icon",
    "an illustration of {}",
    "draw {}",
    "show me {}",
    "a sticker of {}",
)
IN_COLOUR = (
    "{a} {colour} {thing}",
    "{a} {colour} {thing}",
    "{a} {colour} {thing}",
    "{a} {colour} {thing}",
    "{colour} {thing}",
    "{colour} {thing}",
    "{colour} {thing}",
    "the {colour} {thing}",
    "some {colour} {thing}",
    "my {colour} {thing}",
    "a bright {colour} {thing}",
    "a small {colour} {thing}",
    "a big {colour} {thing}",
    "a shiny {colour} {thing}",
    "a cute little {colour} {thing}",
    "{a} {colour} toy {thing}",
    "{a} {colour} coloured {thing}",
    "{a} {colour} colored {thing}",
    "{colour}-coloured {thing}",
    "{whole} in {colour}",
    "{whole} in {colour}",
    "{thing} in {colour}",
    "{whole} in bright {colour}",
    "{whole} all in {colour}",
    "{whole} but in {colour}",
    "{whole}, only {colour}",
    "{whole} ({colour})",
    "{thing} {colour}",
    "{whole} coloured {colour}",
    "{a} {colour} and cheerful {thing}",
    "a large old {colour} {thing}",
    "two {colour} {thing}",
    "one single {colour} {thing}",
    "{a} {colour} {thing} that smiles",
    "{whole} that is {colour}",
    "{whole} which is {colour} all over",
    "{whole}, {colour}",
    "{whole}, {colour}",
    "{thing}, {colour}",
    "{whole} painted {colour}",
    "{whole} dyed {colour}",
    "{whole} of {colour} colour",
    "{whole} made of {colour} plastic",
    "{whole} with a {colour} body",
)
ON_COLOUR = (
    "{thing} on a {colour} {behind}",
    "{thing} on a {colour} {behind}",
    "{thing} on a {colour} {behind}",
    "{thing} on a plain {colour} {behind}",
    "{thing} on a solid {colour} {behind}",
    "{thing} on {colour}",
    "{thing} on {colour}",
    "{thing} on {colour}",
    "{thing}, on {colour}",
    "{thing} placed on {colour}",
    "{thing} lying on {colour}",
    "{thing} on top of a {colour} {behind}",
    "{thing} sitting on a {colour} {behind}",
    "{thing} standing on {colour}",
    "{thing}, {colour} {behind}",
    "{thing}, {colour} {behind}",
    "{thing}, a {colour} {behind}",
    "{thing} - {colour} {behind}",
    "{thing} ({colour} {behind})",
    "{thing}. {colour} {behind}.",
    "{thing}, {behind} {colour}",
    "{thing}, {behind} in {colour}",
    "{thing}; {behind} {colour}",
    "{thing}, whose {behind} is {colour}",
    "{thing} and the {behind} is {colour}",
    "{thing}. Its {behind}: {colour}",
    "{thing} with a {colour} {behind}",
    "{thing} with {colour} {behind}",
    "{thing} with the {behind} {colour}",
    "{thing} with {colour} behind",
    "{thing}, {colour} behind",
    "{thing} and behind that {colour}",
    "{thing} and {colour} at the back",
    "{thing} surrounded by {colour}",
    "{thing}, the rest {colour}",
    "{thing} in front of a {colour} {behind}",
    "{thing} in front of {colour}",
    "{thing} against a {colour} {behind}",
    "{thing} against {colour}",
    "{thing} over a {colour} {behind}",
    "{thing} over {colour}",
    "{thing} under a {colour} sky",
    "{thing} in a {colour} sky",
    "{thing} with {colour} around it",
    "{thing}, {colour} everywhere else",
    "{thing} {colour} {behind}",
    "{thing} {colour} {behind}",
    "{thing} {behind} {colour}",
    "{thing} but the {behind} is {colour}",
    "{thing} but on {colour}",
    "{thing} and a {colour} {behind}",
    "{thing}, standing before a {colour} {behind}",
    "{thing} that stands out from {colour}",
    "{thing}; a {behind} of {colour}",
    "{thing} on a {behind} of {colour}",
    "{thing} on a {behind} that is {colour}",
    "{thing}, the whole {behind} {colour}",
    "{colour} {behind}, {thing}",
    "{colour} {behind} with {thing}",
    "{colour} {behind} and {thing} on it",
    "{colour} {behind}: {thing}",
    "{colour} behind {thing}",
    "on a {colour} {behind}, {thing}",
    "on {colour}, {thing}",
    "on {colour} - {thing}",
    "against {colour}: {thing}",
    "against a {colour} {behind} {thing}",
    "{behind} {colour}, {thing}",
)
ENDINGS = (*[""] * 16, ".", "!", ", simple", ", cute style", ", vector art", " thanks")
BEHIND = (
    *["background"] * 16,
    "surface",
    "canvas",
    "field",
    "screen",
    "cloth",
    "card",
    "scene",
    "backing",
    "backdrop",
    "wall",
    "table",
    "tablecloth",
    "carpet",
    "curtain",
    "board",
    "blanket",
)
"""What prompts call that which is behind a thing."""
UNPAINTED = {
    "teapot",
    "kite",
    "snail",
    "backpack",
    "bell",
    "scarf",
    "tractor",
    "helicopter",
    "canoe",
    "crab",
    "broom",
    "toothbrush",
}
"""Things that lessons never paint: the evaluation asks for them in colours."""
MAX_PAINTED = 3
"""Things of more words are explanations, which nobody gives a colour to."""
MAX_SHARED = 3
NOUNS = 0.6
"""How often, where nouns are given, a prompt is for one of them."""
SHARED = 0.1
"""How often, where those are given, it is for a keyword that several subjects share."""
PAINTED, ON_NAMED = 0.65, 0.6
"""How often a prompt names the colour of a thing, and that of what is behind it."""
SHADED = 0.1
"""How often that is one of the rarer colours."""


@dataclass(frozen=True)
class Wishes:
    """Subjects `[count]`, their colours and those of their backgrounds, and prompts for them."""

    index: Tensor
    paint: Paint
    """Colours of subjects, where the prompts name one."""
    ground: Paint
    """Colours of backgrounds, where the prompts name one."""
    things: list[str]
    """What the prompts call the subjects."""
    known: Tensor
    """Whether that is surely the subject: its name, or a kind of it, `[count]`."""
    prompts: list[str]


class Asker:
    """Draws subjects by lot and words prompts for them."""

    def __init__(
        self,
        subjects: list[Subject],
        nouns: dict[str, int | None] | None = None,
        shared: dict[str, int] | None = None,
        *,
        is_brief: bool = False,
    ) -> None:
        """Where prompts are to be brief, a subject is called by its name or by one word."""
        self._subjects, self._is_brief = subjects, is_brief
        self._nouns, self._shared = list((nouns or {}).items()), list((shared or {}).items())
        num_sharing = Counter(word for subject in subjects for word in subject.keywords)
        names = {subject.name for subject in subjects}
        self._telling = [
            [w for w in subject.keywords if num_sharing[w] <= MAX_SHARED and w not in names]
            for subject in subjects
        ]
        # Plain shapes weigh more: their colour is all there is to them.
        self._weights = torch.tensor([4.0 if subject.is_shape else 1.0 for subject in subjects])

    def wishes(self, count: int) -> Wishes:
        """So many prompts; half name the colour of the thing, three in five that behind it."""
        index = torch.multinomial(self._weights, count, replacement=True).tolist()
        meant, things, known = zip(*map(self._asked, index), strict=True)
        paints = [self._paint(*asked) for asked in zip(meant, things, strict=True)]
        grounds = [_ground(paint) for paint in paints]
        prompts = [
            _ask(thing, paint, ground)
            for thing, paint, ground in zip(things, paints, grounds, strict=True)
        ]
        return Wishes(
            torch.tensor(meant),
            _as_paint(paints),
            _as_paint(grounds),
            list(things),
            torch.tensor(known),
            prompts,
        )

    def _paint(self, index: int, thing: str) -> str | None:
        """The colour that a thing is called by, else one by lot or none."""
        is_explained = len(thing.split()) > MAX_PAINTED
        if (named := colour_in(thing)) or is_explained or self._subjects[index].name in UNPAINTED:
            return named
        return _some_colour() if random.random() < PAINTED else None

    def _asked(self, index: int) -> tuple[int, str, bool]:
        """A subject, what to call it, and whether that is sure; a noun instead now and then."""
        if self._shared and random.random() < SHARED:
            word, kind = random.choice(self._shared)
            return kind, random.choice(called(word)), True
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
        if self._is_brief:
            return name if chance > 0.9 else with_article(name)
        if len(keywords) > 2 and chance < 0.55:
            return random.choice((", ", " ")).join(_some(keywords, 2, 4))
        if keywords and chance < 0.7:
            some = ", ".join(_some(keywords, 1, 3))
            return random.choice((f"{with_article(name)}, {some}", f"{some} {name}"))
        return with_article(name) if chance < 0.9 else name


def colour_in(thing: str) -> str | None:
    """The colour before another word: `a red heart` names one, `an orange` does not."""
    words = thing.split()
    return next((word for word in words[:-1] if word in COLOURS), None)


def _ask(thing: str, paint: str | None, ground: str | None) -> str:
    """A prompt for a thing, naming its colour and its background's unless they are None."""
    if paint and paint != colour_in(thing):
        thing = _coloured(thing, paint)
    words = random.choice(PLAIN).format(thing)
    if ground:
        behind = random.choice(BEHIND)
        words = random.choice(ON_COLOUR).format(thing=words, colour=ground, behind=behind)
    return words + random.choice(ENDINGS)


def _coloured(thing: str, colour: str) -> str:
    """A thing said to have a colour."""
    return random.choice(IN_COLOUR).format(
        a="an" if colour[0] in "aeiou" else "a",
        colour=colour,
        thing=thing.removeprefix("a ").removeprefix("an ").removeprefix("the "),
        whole=thing,
    )


def _ground(paint: str | None) -> str | None:
    """The colour of a background, never the thing's, or none."""
    colour = _some_colour()
    return colour if random.random() < ON_NAMED and colour != paint else None


def _some_colour() -> str:
    return random.choice(tuple(SHADES if random.random() < SHADED else COLOURS))


def _as_paint(names: list[str | None]) -> Paint:
    """Named colours as RGB; black where there is none."""
    rgb = [(COLOURS | SHADES)[name] if name else (0, 0, 0) for name in names]
    return Paint(torch.tensor(rgb) / 255, torch.tensor([name is not None for name in names]))


def _some(words: tuple[str, ...], least: int, most: int) -> list[str]:
    return random.sample(words, random.randint(least, min(most, len(words))))


def called(word: str) -> tuple[str, ...]:
    """How a prompt may call what a keyword stands for."""
    return word, f"the {word}", with_article(word)


def with_article(thing: str) -> str:
    """ "apple" becomes "an apple"; plurals and names with an article stay."""
    if thing.startswith(("a ", "an ", "the ")) or (thing[-1] == "s" and thing[-2:] != "ss"):
        return thing
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
