"""Inputs of the right kind for the trained files of the benchmark of imports, made on the spot.

Rendered text for the three networks of rapidocr, contents of files of this machine for magika,
tones for basic-pitch. Seeded; the same count gives the same arrays on the same machine.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_WORDS = """
    invoice total amount due date page number address street city name phone order item price tax
    receipt thank you please sign here account balance model network weight channel layer small
    fast proof 2024 1999 12:30 $45.00 99% no. A-17 B/52 (c) x=3.5 [ok] #1 @home +49 30 1234567
""".split()
_BLOCK, _PADDING = 1024, 256
_RATE, _LENGTH = 22050, 43844

Arrays = NDArray[Any]


def text_lines(count: int, height: int, width: int, *, turned: bool = False) -> Arrays:
    """Return normalised pictures of single lines, (count, 3, height, width).

    Args:
        count: how many.
        height: of each.
        width: of each.
        turned: whether every other one stands on its head, as the classifier has to tell.
    """
    rng = np.random.default_rng(0)
    pictures = []
    for index in range(count):
        picture = _render(rng, (width, height), lines=1)
        if turned and index % 2:
            picture = picture.rotate(180)
        pictures.append(_normalised(picture))
    return np.stack(pictures)


def pages(count: int, side: int) -> Arrays:
    """Return normalised pictures of pages with several lines, (count, 3, side, side)."""
    rng = np.random.default_rng(1)
    return np.stack(
        [
            _normalised(_render(rng, (side, side), lines=int(rng.integers(2, 7))))
            for _ in range(count)
        ]
    )


def _render(rng: np.random.Generator, size: tuple[int, int], lines: int) -> Image.Image:
    paper = tuple(int(v) for v in rng.integers(150, 256, 3))
    ink = tuple(int(v) for v in rng.integers(0, 100, 3))
    picture = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(picture)
    pitch = size[1] / lines
    for line in range(lines):
        height = max(10, int(pitch * rng.uniform(0.45, 0.75)))
        text = " ".join(rng.choice(_WORDS, int(rng.integers(1, 5))))
        place = (int(rng.integers(2, 12)), int(line * pitch + (pitch - height) / 2))
        draw.text(place, text, fill=ink, font=ImageFont.load_default(height * 0.8))
    noise = rng.normal(0, rng.uniform(0, 8), (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _normalised(picture: Image.Image) -> Arrays:
    # As rapidocr feeds them: blue first, from -1 to 1.
    pixels = np.asarray(picture, np.float32)[:, :, ::-1]
    return np.ascontiguousarray((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)


def file_contents(count: int) -> Arrays:
    """Return what magika reads of files on this machine: both ends, (count, 2048) of int32."""
    folders = [Path(sysconfig.get_paths()[key]) for key in ("stdlib", "purelib")]
    folders += [Path("/usr/share"), Path("/usr/bin"), Path("/etc")]
    by_ending: dict[str, list[Path]] = {}
    for path in sorted(chain.from_iterable(_files(folder) for folder in folders)):
        by_ending.setdefault(path.suffix or path.parts[1], []).append(path)
    rng = np.random.default_rng(0)
    kinds = [list(rng.permutation(np.array(paths, object))) for paths in by_ending.values()]
    chosen: list[Path] = []
    # In turns, so that no kind of file outweighs the others.
    while len(chosen) < count and kinds:
        chosen += [paths.pop() for paths in kinds]
        kinds = [paths for paths in kinds if paths]
    order = rng.permutation(count)
    return np.stack([_both_ends(chosen[place].read_bytes()) for place in order])


def _files(folder: Path, most: int = 3000) -> list[Path]:
    found_files: list[Path] = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink() and 64 < path.stat().st_size < 2**22:
                path.open("rb").close()
                found_files.append(path)
        except OSError:
            continue
        if len(found_files) >= most:
            break
    return found_files


def _both_ends(content: bytes) -> Arrays:
    first, last = content[: 4 * _BLOCK].lstrip(), content[-4 * _BLOCK :].rstrip()
    whole = np.full(2 * _BLOCK, _PADDING, np.int32)
    head, tail = first[:_BLOCK], last[-_BLOCK:]
    whole[: len(head)] = np.frombuffer(head, np.uint8)
    if tail:
        whole[-len(tail) :] = np.frombuffer(tail, np.uint8)
    return whole


def tones(count: int) -> Arrays:
    """Return chords of decaying notes with overtones, (count, 43844, 1) at 22050 Hz."""
    rng = np.random.default_rng(2)
    time = np.arange(_LENGTH) / _RATE
    sounds = []
    for _ in range(count):
        sound = rng.normal(0, 0.002, _LENGTH)
        for _ in range(int(rng.integers(2, 9))):
            pitch = 440 * 2 ** ((int(rng.integers(36, 85)) - 69) / 12)
            start, length = rng.uniform(0, 1.6), rng.uniform(0.2, 1.0)
            envelope = np.where(time >= start, np.exp(-(time - start) / length * 3), 0.0)
            for overtone in range(1, 6):
                phase = 2 * np.pi * pitch * overtone * (time - start)
                sound += envelope * np.sin(phase) * 0.2 / overtone**1.5
        sounds.append(sound / max(1.0, np.abs(sound).max()))
    return np.stack(sounds).astype(np.float32)[:, :, None]


# Keys of files, their inputs, the shape that the file leaves open, and how many inputs repair it:
# enough for what it costs to run it.
INPUTS: Mapping[str, tuple[Callable[[int], Arrays], str, int]] = {
    "package:rapidocr_onnxruntime:ch_ppocr_mobile_v2.0_cls_infer": (
        lambda count: text_lines(count, 48, 192, turned=True),
        "3,48,192",
        256,
    ),
    "package:rapidocr_onnxruntime:ch_PP-OCRv4_rec_infer": (
        lambda count: text_lines(count, 48, 320),
        "3,48,320",
        64,
    ),
    "package:rapidocr_onnxruntime:ch_PP-OCRv4_det_infer": (
        lambda count: pages(count, 320),
        "3,320,320",
        64,
    ),
    "package:magika:model": (file_contents, "", 256),
    "package:basic_pitch:nmp": (tones, "", 64),
}
