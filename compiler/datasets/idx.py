"""IDX files, MNIST's format, gzipped or not.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998; the file format
is described there: two zero bytes, the element type, the number of axes, the size of each axis as
a big-endian 32-bit integer, then the elements.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from compressc.models.training_data import Labeled

_UNSIGNED_BYTE = 8


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes.

    Returns:
        A uint8 tensor in the shape the file states.

    Raises:
        FileNotFoundError: if there is neither the file nor the same name with ``.gz``.
        ValueError: if the file is no IDX file of unsigned bytes, or is cut short.
    """
    packed = path.with_name(path.name + ".gz")
    if not path.is_file() and not packed.is_file():
        raise FileNotFoundError(f"neither {path} nor {packed.name} exists")
    try:
        content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{packed} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path} is cut short within its header")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content) - start} elements, but its header states {shape}"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def read_pair(images_path: Path, labels_path: Path) -> Labeled:
    """Read images as (N, 1, H, W) and their labels.

    Raises:
        ValueError: if the two files do not belong together.
    """
    images = read_idx(images_path)
    labels = read_idx(labels_path)
    if images.dim() != 3 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{images_path} has the shape {tuple(images.shape)} and {labels_path.name} "
            f"{tuple(labels.shape)}; one label for each image is needed"
        )
    return Labeled(images.unsqueeze(1), labels.long())
