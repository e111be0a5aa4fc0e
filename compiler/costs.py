"""Cost of a (Program, Plan) pair, computed without lowering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from compressc.array_types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        macs: multiply-accumulates for a batch of 1 (FLOPs are twice as many).
        params: elements of all parameters.
        size_bytes: bytes of all parameters and buffers.
    """

    macs: int
    params: int
    size_bytes: int


@dataclass(frozen=True, eq=False)
class Terms:
    """Sums of products of kept counts: ``sum(weights * prod(counts[factors], axis=1))``.

    Attributes:
        weights: shape (terms,).
        factors: row of the count matrix per factor, padded with the row of the constant 1 (the
            last; -1 is it, too), shape (terms, most factors).
    """

    weights: FloatArray
    factors: IntArray

    def values(self, counts: FloatArray) -> FloatArray:
        """Return the value of every term, shape (terms,)."""
        products: FloatArray = self.weights * counts[self.factors].prod(axis=1)
        return products

    def restricted(self, stays: Sequence[bool]) -> Terms:
        """Return the sum of some terms; the others keep their places with weight 0."""
        return replace(self, weights=np.where(np.asarray(stays, dtype=bool), self.weights, 0.0))

    def exchanged(self, gone: Sequence[int], weights: FloatArray, factors: IntArray) -> Terms:
        """Return the sum without some terms and with others.

        Args:
            gone: terms that leave.
            weights: of the new terms, shape (new,).
            factors: rows of the count matrix of the new terms; -1 is the constant 1. Shape
                (new, factors).
        """
        width = max(self.factors.shape[1], factors.shape[1])
        both = [
            np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1)
            for rows in (self.factors, factors)
        ]
        weights = np.concatenate([self.weights, weights])
        weights[list(gone)] = 0.0
        return Terms(weights, np.concatenate(both))


@dataclass(frozen=True, eq=False)
class CostModel:
    """Cost as a function of the classes that stay.

    Attributes:
        matrix: positions per class on every distinct axis, shape (axes + 1, classes); the last row
            stands for the constant 1.
        macs_terms, params_terms, bytes_terms: what is summed.
    """

    matrix: csr_array
    macs_terms: Terms
    params_terms: Terms
    bytes_terms: Terms

    def restricted(
        self, macs: Sequence[bool], params: Sequence[bool], size_bytes: Sequence[bool]
    ) -> CostModel:
        """Return the model of some of the terms; the others cost nothing and keep their places."""
        return replace(
            self,
            macs_terms=self.macs_terms.restricted(macs),
            params_terms=self.params_terms.restricted(params),
            bytes_terms=self.bytes_terms.restricted(size_bytes),
        )

    def counts(self, kept: BoolArray) -> FloatArray:
        """Return the kept positions of every distinct axis, the constant 1 last."""
        counts = self.matrix @ kept.astype(np.float64)
        counts[-1] = 1.0
        return np.asarray(counts)

    def macs(self, kept: BoolArray) -> float:
        """Return MACs per sample when the given classes stay."""
        return float(self.macs_terms.values(self.counts(kept)).sum())

    def params(self, kept: BoolArray) -> float:
        """Return parameter elements when the given classes stay."""
        return float(self.params_terms.values(self.counts(kept)).sum())

    def size_bytes(self, kept: BoolArray) -> float:
        """Return parameter and buffer bytes when the given classes stay."""
        return float(self.bytes_terms.values(self.counts(kept)).sum())

    def cost(self, kept: BoolArray) -> Cost:
        """Return every cost at once."""
        counts = self.counts(kept)
        return Cost(
            macs=round(float(self.macs_terms.values(counts).sum())),
            params=round(float(self.params_terms.values(counts).sum())),
            size_bytes=round(float(self.bytes_terms.values(counts).sum())),
        )


class CostBuilder:
    """Collects terms over id arrays; equal arrays share one row of the count matrix."""

    def __init__(self, class_of: IntArray, classes: int) -> None:
        self._class_of = class_of
        self._classes = classes
        self._rows: dict[bytes, int] = {}
        self._arrays: list[IntArray] = []

    def row(self, ids: IntArray) -> int:
        """Return the row that counts the kept positions of ``ids``."""
        classes = np.sort(self._class_of[ids])
        key = classes.tobytes()
        if key not in self._rows:
            self._rows[key] = len(self._arrays)
            self._arrays.append(classes)
        return self._rows[key]

    def terms(self, entries: Sequence[tuple[float, Sequence[IntArray]]]) -> list[list[int]]:
        """Return the rows of each entry's factors."""
        return [[self.row(ids) for ids in factors] for _, factors in entries]

    def build(
        self,
        macs: Sequence[tuple[float, Sequence[IntArray]]],
        params: Sequence[tuple[float, Sequence[IntArray]]],
        size_bytes: Sequence[tuple[float, Sequence[IntArray]]],
    ) -> CostModel:
        """Return the model of entries (amount at full size, id arrays it scales with)."""
        rows = [self.terms(entries) for entries in (macs, params, size_bytes)]
        last = len(self._arrays)
        terms = [
            self._scaled(entries, term_rows, last)
            for entries, term_rows in zip((macs, params, size_bytes), rows, strict=True)
        ]
        lengths = np.array([len(array) for array in self._arrays], dtype=np.int64)
        row_of = np.repeat(np.arange(last), lengths)
        columns = np.concatenate(self._arrays) if self._arrays else np.zeros(0, dtype=np.int64)
        matrix = csr_array(
            (np.ones(len(columns)), (row_of, columns)), shape=(last + 1, self._classes)
        )
        return CostModel(matrix, *terms)

    def _scaled(
        self, entries: Sequence[tuple[float, Sequence[IntArray]]], rows: list[list[int]], last: int
    ) -> Terms:
        width = max((len(term_rows) for term_rows in rows), default=0) or 1
        factors = np.full((len(entries), width), last, dtype=np.int64)
        weights = np.zeros(len(entries))
        for index, ((amount, arrays), term_rows) in enumerate(zip(entries, rows, strict=True)):
            factors[index, : len(term_rows)] = term_rows
            full = 1.0
            for ids in arrays:
                full *= len(ids)
            weights[index] = amount / full
        return Terms(weights, factors)
