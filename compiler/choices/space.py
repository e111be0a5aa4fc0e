"""Search spaces: what they are, and how they are found by name."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar

from torch import nn

from compressc.choices.branches import Choice
from compressc.errors import ImageSizeError, SpaceError
from compressc.pictures import ArchitecturePicture

ENTRY_POINT_GROUP = "compressc.spaces"

# With fewer rows or columns a 3x3 operation sees nothing but padding around one place.
_LEAST_SIDE = 3


@dataclass(frozen=True)
class SpaceSize:
    """How large the supernet of a space is.

    Attributes:
        layers: of a macro space, or cells of a space of cells.
        channels: that layers have, or nodes of cells.
        nodes: of a cell, or memory banks; spaces without these take no notice.
        stem_stride: of the first convolution, which reads the image.

    Raises:
        SpaceError: if one is below 1.
    """

    layers: int = 6
    channels: int = 16
    nodes: int = 3
    stem_stride: int = 1

    def __post_init__(self) -> None:
        for what in ("layers", "channels", "nodes", "stem_stride"):
            if getattr(self, what) < 1:
                flag = "--" + what.replace("_", "-")
                raise SpaceError(f"{flag} {getattr(self, what)}: at least 1 is needed")


class SearchSpace(ABC):
    """A family of architectures: a supernet whose choices decide which of them it is.

    A space is one class without state, registered under the entry-point group
    ``compressc.spaces``. What it does not say itself holds for any supernet.
    """

    name: ClassVar[str]
    # What proposes its architectures where the user names nothing else.
    controller: ClassVar[str] = "reinforce"
    # How often images are halved in height and width.
    reductions: ClassVar[int] = 2

    @abstractmethod
    def build(self, size: SpaceSize, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the supernet, a module with :func:`compressc.choose` at every decision.

        Args:
            size: how large it is.
            input_shape: channels, height and width of the images.
            classes: how many logits it gives.

        Raises:
            SpaceError: if it cannot be built of that size.
        """

    def check_images(self, size: SpaceSize, input_shape: tuple[int, int, int]) -> None:
        """Check that something is left of images behind all reductions.

        Args:
            size: of the supernet.
            input_shape: channels, height and width.

        Raises:
            ImageSizeError: if not.
        """
        least = _LEAST_SIDE * size.stem_stride * 2**self.reductions
        if min(input_shape[1:]) < least:
            raise ImageSizeError(
                f"the images are {input_shape[1]}x{input_shape[2]}, and {self.name} halves them "
                f"{self.reductions} times behind a stem of stride {size.stem_stride}: at least "
                f"{least}x{least} is needed; give larger images"
            )

    def settle(
        self, choices: Sequence[Choice], strengths: Mapping[str, Sequence[float]]
    ) -> dict[str, int]:
        """Return the architecture that is left of a mixture: every candidate that is strongest.

        Args:
            choices: the decisions.
            strengths: per decision one number for each candidate.
        """
        del choices
        return {
            name: max(range(len(values)), key=values.__getitem__)
            for name, values in strengths.items()
        }

    def encode(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> Sequence[Sequence[Sequence[float]]]:
        """Return an architecture as an image, for a network that reads architectures.

        Returns:
            Numbers of shape (features, rows, columns): here one feature, a row for each decision
            and a column for each candidate.
        """
        most = max(entry.count for entry in choices)
        return [
            [[float(choice[entry.name] == place) for place in range(most)] for entry in choices]
        ]

    def draw(
        self, choices: Sequence[Choice], choice: Mapping[str, int]
    ) -> tuple[ArchitecturePicture, ...]:
        """Return pictures of an architecture: here its decisions in a row."""
        nodes = tuple(
            (entry.name, f"{entry.name}: {choice[entry.name] + 1} of {entry.count}")
            for entry in choices
        )
        edges = tuple((a[0], b[0], "") for a, b in itertools.pairwise(nodes))
        return (ArchitecturePicture("decisions", nodes, edges),)


class AnySpace(SearchSpace):
    """The space of a supernet that somebody hands over as a program."""

    name = "a supernet"

    def build(self, size: SpaceSize, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Refuse: the supernet is there already.

        Raises:
            SpaceError: always.
        """
        del size, input_shape, classes
        raise SpaceError(
            f"say which space: --space {', '.join(sorted(registered_spaces())) or 'NAME'}"
        )


def registered_spaces() -> dict[str, str]:
    """Return the installed spaces: name to ``module:attribute``, without importing them."""
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)}


def find_space(name: str) -> SearchSpace:
    """Return the space registered under a name.

    Raises:
        SpaceError: if there is none, or it cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            try:
                space: SearchSpace = entry.load()()
            except (ImportError, AttributeError) as error:
                raise SpaceError(
                    f"space '{name}' cannot be imported ({error}); repair or remove the package "
                    f"that brings {entry.value}"
                ) from error
            return space
    known = ", ".join(sorted(registered_spaces())) or "none; reinstall compressc"
    raise SpaceError(f"no search space is called '{name}'; installed spaces: {known}")
