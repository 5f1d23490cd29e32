"""Pictures brought to other sizes, however long and thin they are."""

import msgspec
from PIL import Image

from gateway.images.decode import MAX_PIXELS, to_pixels
from gateway.images.encode import to_picture
from gateway.job import Job, Pixels


def scaled(
    picture: Image.Image,
    size: tuple[int, int],
    method: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """The picture at another `(width, height)`.

    Pillow scales rows before columns, and of a pillar would make a hall in between: there
    columns come first, so that no more than `MAX_PIXELS` lie between two pictures that have
    no more.
    """
    if size[0] * picture.height > MAX_PIXELS:
        picture = picture.resize((picture.width, size[1]), method)
    return picture.resize(size, method)


def within(picture: Image.Image, edge: int) -> Image.Image:
    """The picture, scaled down where one of its edges is longer than this many pixels."""
    factor = edge / max(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(length * factor)) for length in picture.size)
    return scaled(picture, (width, height), Image.Resampling.LANCZOS)


def at_own_size(job: Job) -> Job:
    """The job with its pictures and its mask at the size it is rendered at."""
    size = job.width, job.height
    images = tuple(_brought(pixels, size, Image.Resampling.LANCZOS) for pixels in job.images)
    mask = job.mask and _brought(job.mask, size, Image.Resampling.NEAREST)
    return msgspec.structs.replace(job, images=images, mask=mask)


def _brought(pixels: Pixels, size: tuple[int, int], method: Image.Resampling) -> Pixels:
    if (pixels.width, pixels.height) == size:
        return pixels
    return to_pixels(scaled(to_picture(pixels), size, method))
