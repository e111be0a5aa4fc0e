"""Hypothesis strategies: small networks that mix what people build networks from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from compressc.frontend.tracing import capture
from compressc.program import Program
from tests.networks import channels as _channels
from tests.networks import plain as _plain
from tests.networks import tokens as _tokens
from tests.networks import unusual as _unusual
from tests.networks.catalogue import BLOCKS, VARIANTS, conv_norm

# Importing a module of blocks registers them.
FAMILIES = (_plain, _channels, _tokens, _unusual)
HEADS = ("pooled", "flattened", "map", "dict", "pair", "normed")
STEMS = ("one", "sum", "cat", "product")


@dataclass(frozen=True)
class Recipe:
    """What a random network is made of; ``build`` makes the same one every time.

    Attributes:
        blocks: (name, variant) in the order in which they are applied.
        head: what is returned.
        stem: one input, or how two inputs are combined.
        width: channels after the stem.
    """

    blocks: tuple[tuple[str, int], ...]
    head: str = "pooled"
    stem: str = "one"
    width: int = 8

    def build(self) -> Network:
        """Return the network, its batch norms uncalibrated, in eval mode."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Network(self).eval()

    def inputs(self, batch: int = 2) -> tuple[Tensor, ...]:
        """Return example inputs, shape (batch, 3, 8, 8) each."""
        generator = torch.Generator().manual_seed(1)
        count = 1 if self.stem == "one" else 2
        return tuple(torch.randn(batch, 3, 8, 8, generator=generator) for _ in range(count))

    def capture(self) -> Program:
        """Return the captured network."""
        return capture(self.build(), self.inputs())

    def with_head(self, head: str) -> Recipe:
        """Return this recipe with another head."""
        return replace(self, head=head)


class Network(nn.Module):
    """The network of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.stem = conv_norm(3, recipe.width)
        if recipe.stem != "one":
            self.second_stem = conv_norm(3, recipe.width)
        example = torch.zeros(2, recipe.width * (1 + (recipe.stem == "cat")), 8, 8)
        self.blocks = nn.ModuleList()
        for name, variant in recipe.blocks:
            made = BLOCKS[name](example.shape[1], variant % VARIANTS[name]).eval()
            with torch.no_grad():
                example = made(example)
            self.blocks.append(made)
        _, channels, height, width = example.shape
        self.final = conv_norm(channels, 8, 1)
        if recipe.head == "flattened":
            self.classify: nn.Module = nn.Linear(8 * height * width, 5)
        elif recipe.head == "normed":
            self.classify = nn.Sequential(
                nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 5)
            )
        elif recipe.head in ("map", "pair"):
            self.classify = nn.Conv2d(8, 3, 1)
        else:
            self.classify = nn.Linear(8, 5)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Any:
        x = self.stem(x)
        if other is not None:
            second = self.second_stem(other)
            combine = {"sum": torch.add, "product": torch.mul}
            kind = self.recipe.stem
            x = torch.cat([x, second], 1) if kind == "cat" else combine[kind](x, second)
        for made in self.blocks:
            x = made(x)
        x = self.final(x)
        head = self.recipe.head
        if head == "flattened":
            return self.classify(torch.flatten(x, 1))
        if head == "map":
            return F.interpolate(self.classify(x), size=(8, 8), mode="bilinear")
        if head == "pair":
            return self.classify(x), x.mean((2, 3))
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        if head == "dict":
            return {"logits": self.classify(pooled), "probabilities": pooled.sigmoid()}
        return self.classify(pooled)


def every_block() -> list[tuple[str, int]]:
    """Return (name, variant) of every block in every spelling."""
    return [(name, variant) for name, count in VARIANTS.items() for variant in range(count)]


def networks(most: int = 3) -> st.SearchStrategy[Recipe]:
    """Draw recipes of one to ``most`` blocks."""
    blocks = st.sampled_from(sorted(every_block()))
    return st.builds(
        Recipe,
        blocks=st.lists(blocks, min_size=1, max_size=most).map(tuple),
        head=st.sampled_from(HEADS),
        stem=st.sampled_from(STEMS),
        width=st.sampled_from((8, 12)),
    )
