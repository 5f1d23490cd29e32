"""The pictures of one run while it is drawn: few of them in memory, none sooner than wanted."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from functools import partial

import msgspec
from PIL import Image

from gateway.images.darkroom import PIXEL_BYTES, WORKING_COPIES, Darkroom, Share
from gateway.images.decode import decode, size_of
from gateway.images.encode import to_picture
from gateway.job import Pixels
from gateway.outages import PATIENCE_SECONDS, patiently
from gateway.remarks import Remark
from gateway.runs.drawing.pictures import changed, check_pixels
from gateway.runs.graph.values import (
    Change,
    Draft,
    Gathered,
    Loaded,
    Picture,
    Plan,
    Rendered,
    Resize,
    size_after,
)
from gateway.runs.library.sources import Sources


class Shot(msgspec.Struct, frozen=True):
    """A sample as it was drawn: its pixels, its seed, and the text that its PNG carries.

    `remarks` are what its pipeline told of what was not done as asked.
    """

    pixels: Pixels
    seed: int
    text: dict[str, str] = msgspec.field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


class Frame(msgspec.Struct, frozen=True):
    """One picture, made; those from outside have no seed."""

    picture: Image.Image
    seed: int | None = None
    text: dict[str, str] = msgspec.field(default_factory=dict)


class Negative(msgspec.Struct, frozen=True):
    """A picture not made yet: what of, what is done to it in order, and how large it will be.

    `size` is `(width, height)` in pixels, `most` the pixels of the largest on the way.
    """

    source: Shot | Loaded
    size: tuple[int, int]
    most: int
    changes: tuple[Change, ...] = ()

    def then(self, change: Change) -> "Negative":
        """The same with one more change.

        Raises:
            TooLarge: nothing so large is made.
        """
        size = size_after(change, self.size)
        check_pixels(size)
        most = max(self.most, size[0] * size[1])
        return Negative(self.source, size, most, (*self.changes, change))


class Album:
    """Shots and loaded files of one run, and every picture that can be made of them."""

    def __init__(self, owner: str, sources: Sources, darkroom: Darkroom, share: Share) -> None:
        self.owner = owner
        self.darkroom = darkroom
        self.share = share
        self._sources = sources
        self._loaded: dict[str, bytes] = {}
        self._shots: dict[int, list[Shot]] = {}

    def add(self, draft: int, shots: list[Shot], taken_bytes: int) -> None:
        """Keep what a draft drew; so much memory was taken for it before."""
        self._shots[draft] = shots
        self.share.give(taken_bytes - sum(len(shot.pixels.data) for shot in shots))

    def keep_only(self, drafts: Collection[int]) -> None:
        """Forget the shots of all other drafts: nothing is made of them any more."""
        for draft in self._shots.keys() - drafts:
            shots = self._shots.pop(draft)
            self.share.give(sum(len(shot.pixels.data) for shot in shots))

    async def frames(self, picture: Picture) -> AsyncGenerator[Frame]:
        """The pictures that a graph means by one of its own, each gone when the next is made.

        Raises:
            InvalidRequest: one of them cannot be had, or is no picture.
            TooLarge: one of them would be beyond all measure.
        """
        for negative in await self._negatives(picture):
            async with self.share.holding(WORKING_COPIES * PIXEL_BYTES * negative.most):
                yield await self._developed(negative)

    async def size(self, picture: Picture | None) -> tuple[int, int]:
        """The size of a picture, or of the first of several, which need not be made for it."""
        assert picture is not None
        return (await self._negatives(picture))[0].size

    async def first(self, picture: Picture, number: int = 0) -> Image.Image:
        """One of the pictures; the first where there are fewer."""
        negatives = await self._negatives(picture)
        negative = negatives[number if number < len(negatives) else 0]
        async with self.share.holding(WORKING_COPIES * PIXEL_BYTES * negative.most):
            return (await self._developed(negative)).picture

    async def _developed(self, negative: Negative) -> Frame:
        match negative.source:
            case Shot(pixels, seed, text):
                frame = Frame(await self.darkroom.do(to_picture, pixels), seed, text)
            case Loaded(source):
                data = await self._data(source)
                frame = Frame(await self.darkroom.do(decode, data, source))
        picture = frame.picture
        for change in negative.changes:
            picture = await self.darkroom.do(changed, picture, change)
        return Frame(picture, frame.seed, frame.text)

    async def _negatives(self, picture: Picture) -> list[Negative]:
        match picture.origin:
            case Rendered(draft):
                found = [_negative(shot, _size(shot.pixels)) for shot in self._shots[draft]]
            case Loaded(source):
                size = await self.darkroom.do(size_of, await self._data(source), source)
                found = [_negative(picture.origin, size)]
            case Gathered(pictures):
                found = _at_one_size([n for each in pictures for n in await self._negatives(each)])
        for change in picture.changes:
            found = [negative.then(change) for negative in found]
        return found

    async def _data(self, source: str) -> bytes:
        """A file from outside, loaded once."""
        if source not in self._loaded:
            load = partial(self._sources.load, source, self.owner)
            data = await patiently(load, "store", seconds=PATIENCE_SECONDS)
            await self.share.take(len(data))
            self._loaded[source] = data
        return self._loaded[source]


def drafts_in(pictures: Iterable[Picture | None]) -> set[int]:
    """The drafts that pictures are made of."""
    found: set[int] = set()
    for picture in pictures:
        match picture.origin if picture else None:
            case Rendered(draft):
                found.add(draft)
            case Gathered(parts):
                found |= drafts_in(parts)
    return found


def pictures_of(draft: Draft) -> list[Picture | None]:
    """The pictures that a draft is drawn from."""
    mask = draft.mask.picture if draft.mask else None
    shown = (control.picture for control in draft.controls)
    return [draft.picture, draft.canvas, mask, *draft.references, *shown]


def drafts_needed(plan: Plan, after: int) -> set[int]:
    """The drafts that are still made something of when draft number `after` has been drawn."""
    later = [picture for draft in plan.drafts[after + 1 :] for picture in pictures_of(draft)]
    kept = [output.picture for output in plan.outputs if not output.temporary]
    return drafts_in([*later, *kept])


def _negative(source: Shot | Loaded, size: tuple[int, int]) -> Negative:
    return Negative(source, size, size[0] * size[1])


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.width, pixels.height


def _at_one_size(negatives: Sequence[Negative]) -> list[Negative]:
    """Pictures as one batch, which has the size of the first."""
    width, height = negatives[0].size
    alike = Resize(method="bicubic", width=width, height=height)
    return [each if each.size == (width, height) else each.then(alike) for each in negatives]
