"""Marks that people draw over a picture to say what is to become of it."""

import numpy as np
from PIL import Image

from gateway.errors import InvalidRequest
from gateway.images.matting import joined_to_edge


def marked(picture: Image.Image, markup: Image.Image) -> Image.Image:
    """A picture with marks drawn over it, for a model that is shown both and told what to do.

    Raises:
        InvalidRequest: the marks are all that would be seen.
    """
    return Image.alpha_composite(picture.convert("RGBA"), _checked(markup))


def region(markup: Image.Image) -> Image.Image:
    """A mask of one channel, 255 on marks and in what they enclose: who circles a thing means it.

    Raises:
        InvalidRequest: everything is marked, or nothing.
    """
    is_bare = np.asarray(_checked(markup).getchannel("A")) == 0
    return Image.fromarray(np.where(joined_to_edge(is_bare), 0, 255).astype(np.uint8))


def _checked(markup: Image.Image) -> Image.Image:
    extrema = markup.getchannel("A").getextrema() if markup.mode == "RGBA" else (255, 255)
    if extrema == (0, 0):
        raise InvalidRequest("'markup' has no marks: all of it is transparent.", param="markup")
    if extrema[0] == 255:
        raise InvalidRequest("'markup' must be transparent around its marks.", param="markup")
    return markup
