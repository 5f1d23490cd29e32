"""How much a graph may mean, however few bytes say it: counted while it is compiled.

A link costs nothing to write, and what it stands for may double from node to node. So texts,
pictures and changes are counted where they come about, before anything is made of them.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from gateway.images.decode import MAX_EDGE, MAX_PIXELS
from gateway.runs.graph.refusal import NodeFault, input_fault
from gateway.runs.graph.values import MAX_IMAGES, Latent, Picture
from gateway.settings import Settings

MAX_NODES = 2000
MAX_OUTPUTS = 64
MAX_ID_CHARACTERS = 200
MAX_BYTES = 2**20
"""Of a graph or of inputs as JSON: some thousand nodes, but no pictures."""

MAX_NESTING = 32
MAX_PICTURES = 256
"""Drawn by one run, and kept by it: four full batches."""

MAX_CARRIED = 1024
"""Pictures that stand in one request themselves: one for each run of a large batch."""

MAX_CHANGES = 256
"""Of all the pictures of a batch together."""

MAX_ALL_CHANGES = 1024
MAX_REFERENCES = 16
CHANNELS = 3


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of one run."""

    text_characters: int = 32_000
    picture_bytes: int = 2**30

    @classmethod
    def of(cls, settings: Settings) -> "Bounds":
        """The bounds of a process."""
        return cls(
            text_characters=settings.max_prompt_characters,
            picture_bytes=int(settings.run_picture_mib * 2**20),
        )


class Tally:
    """What the nodes compiled so far come to; each count raises where it passes its bound."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._num_drawn = 0
        self._drawn_bytes = 0
        self._num_kept = 0
        self._num_changes = 0

    def text(self, name: str, value: Any, most: float) -> None:
        """A literal's text, or every text in a list."""
        limit = min(most, self.bounds.text_characters)
        for text in texts_in(value):
            self.length(name, len(text), limit)

    def length(self, name: str, characters: int, limit: float | None = None) -> None:
        """A text that is, or would be, so long."""
        limit = self.bounds.text_characters if limit is None else limit
        if characters > limit:
            raise _beyond(name, characters, limit, "characters of a text")

    def drawn(self, name: str, latent: Latent, size: tuple[int, int] | None) -> None:
        """Pictures that a sampler makes, of a size that may not be known yet."""
        count = latent.num_images
        if count > MAX_IMAGES:
            raise _beyond("batch_size", count, MAX_IMAGES, "pictures of one batch", latent.node_id)
        self._num_drawn += count
        if self._num_drawn > MAX_PICTURES:
            raise _beyond(name, self._num_drawn, MAX_PICTURES, "pictures of one run")
        if size:
            self._drawn_bytes += count * size[0] * size[1] * CHANNELS
        if self._drawn_bytes > self.bounds.picture_bytes:
            limit = self.bounds.picture_bytes
            raise _beyond(name, self._drawn_bytes, limit, "bytes of a run's pictures")

    def kept(self, picture: Picture) -> None:
        """Pictures that an output takes."""
        self._num_kept += picture.num_images
        if self._num_kept > MAX_PICTURES:
            raise _beyond("images", self._num_kept, MAX_PICTURES, "pictures of a run's outputs")
        self.used("images", picture)

    def used(self, name: str, picture: Picture | None) -> None:
        """A picture that something is made of, with all that is done to it."""
        self._num_changes += picture.num_changes if picture else 0
        if self._num_changes > MAX_ALL_CHANGES:
            what = "changes to a run's pictures"
            raise _beyond(name, self._num_changes, MAX_ALL_CHANGES, what)


def check_size(name: str, size: tuple[int, int] | None, node_id: str | None = None) -> None:
    """Refuse pictures of too many pixels; `size` is None where it is not known yet.

    Raises:
        NodeFault: naming the input that made them so large.
    """
    if size and max(size) > MAX_EDGE:
        raise _beyond(name, max(size), MAX_EDGE, "pixels of an edge", node_id)
    if size and size[0] * size[1] > MAX_PIXELS:
        raise _beyond(name, size[0] * size[1], MAX_PIXELS, "pixels of a picture", node_id)


def check_picture(name: str, picture: Picture) -> Picture:
    """The picture, unless it is too large or too much is done to it.

    Raises:
        NodeFault: naming the input.
    """
    check_size(name, picture.size)
    if picture.num_changes > MAX_CHANGES:
        raise _beyond(name, picture.num_changes, MAX_CHANGES, "changes to a batch of pictures")
    return picture


def check_references(name: str, pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    """The pictures that a prompt speaks of, unless they are too many.

    Raises:
        NodeFault: naming the input.
    """
    found = tuple(pictures)
    if len(found) > MAX_REFERENCES:
        raise _beyond(name, len(found), MAX_REFERENCES, "pictures that a prompt speaks of")
    return found


def nesting(value: Any) -> int:
    """How deep lists and objects lie in each other, up to one more than is allowed."""
    level: list[Any] = [value]
    for depth in range(MAX_NESTING + 1):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return depth
    return MAX_NESTING + 1


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value of bounded nesting."""
    if isinstance(value, str):
        yield value
    else:
        yield from chain.from_iterable(map(texts_in, _parts(value)))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return chain(value, value.values())
    return value if isinstance(value, list) else ()


def _beyond(
    name: str, found: int, limit: float, what: str, node_id: str | None = None
) -> NodeFault:
    message = f"{found:,} {what} are more than the {limit:,.0f} that are allowed"
    return NodeFault(input_fault("value_bigger_than_max", message, name, found), node_id)
