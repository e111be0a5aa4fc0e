"""Decoding: from the bytes of an image file to pixels of a size."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode(
    content: bytes,
    size: tuple[int, int] | None,
    channels: int | None,
    share: float = 1.0,
    corner: Sequence[float] = (0.5, 0.5),
) -> NDArray[np.uint8] | None:
    """Decode an image, or part of it; None where it is damaged.

    Args:
        content: of the file.
        size: (height, width) of the result; None for the whole image as it is.
        channels: 1 for grey, 3 for colour; None for grey where the image is.
        share: part of the largest area of the size's form that is cut out and scaled.
        corner: where it lies, each from 0 to 1; 0.5 is the middle.

    Shape:
        (height, width, 1 or 3).
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if size is not None:
                # JPEGs are decoded at the smallest scale that is large enough.
                image.draft(None, (2 * size[1], 2 * size[0]))
            grey = channels == 1 or (channels is None and image.mode in ("1", "L"))
            picture = image.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if size is not None and (picture.size != size[::-1] or share != 1.0):
        scale = min(picture.width / size[1], picture.height / size[0]) * share**0.5
        width, height = size[1] * scale, size[0] * scale
        left, top = (picture.width - width) * corner[0], (picture.height - height) * corner[1]
        box = (left, top, left + width, top + height)
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
