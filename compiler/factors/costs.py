"""Cost of factorised layers as a function of the channels that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from compressc.array_types import FloatArray, IntArray
from compressc.channels.axes import Axis
from compressc.costs import CostBuilder, CostModel
from compressc.factors.sites import Amount, FactorSite, FactorSites
from compressc.rules.propagation import Propagation


@dataclass(frozen=True)
class _Place:
    """Where a layer stands in a cost model: its terms, and the rows that count its channels.

    Rows are lists because an axis of size 1 is counted by none. In factors a layer has three terms:
    of its inputs, of its outputs and of the core.

    Attributes:
        macs, params, size_bytes: index of the term of the whole layer.
        element_bytes: of its weight.
        leading: positions before the channels when all stay. Amounts of MACs count them, and their
            terms multiply by those that stay.
        lead, inputs, outputs: rows of the count matrix.
        macs_rows, params_rows: the same for the three terms, shape (3, factors); -1 is none.
    """

    macs: int
    params: int
    size_bytes: int
    element_bytes: int
    leading: int
    lead: list[int]
    inputs: list[int]
    outputs: list[int]
    macs_rows: IntArray
    params_rows: IntArray


@dataclass(frozen=True, eq=False)
class FactorCosts:
    """Exchanges whole layers for factorised ones in a cost model."""

    sites: FactorSites
    _places: Mapping[str, _Place]

    def apply(self, model: CostModel, rank: Mapping[str, tuple[int, ...]]) -> CostModel:
        """Return the model in which the given layers are factorised.

        Raises:
            PlanError: if a layer cannot be factorised.
        """
        if not rank:
            return model
        sites = [self.sites.site(layer) for layer in rank]
        places = [self._places[layer] for layer in rank]
        chosen = list(zip(sites, rank.values(), strict=True))
        macs = _weights([site.macs(ranks) for site, ranks in chosen])
        params = _weights([site.params(ranks) for site, ranks in chosen])
        macs /= np.array([[place.leading] for place in places])
        size_bytes = params * np.array([[place.element_bytes] for place in places])
        macs_rows = np.concatenate([place.macs_rows for place in places])
        params_rows = np.concatenate([place.params_rows for place in places])
        return replace(
            model,
            macs_terms=model.macs_terms.exchanged(
                [p.macs for p in places], macs.ravel(), macs_rows
            ),
            params_terms=model.params_terms.exchanged(
                [p.params for p in places], params.ravel(), params_rows
            ),
            bytes_terms=model.bytes_terms.exchanged(
                [p.size_bytes for p in places], size_bytes.ravel(), params_rows
            ),
        )

    def savings(self, rank: Mapping[str, tuple[int, ...]]) -> FactorSavings:
        """Return what the given layers save, for rows of channel counts.

        Raises:
            PlanError: if a layer cannot be factorised.
        """
        return FactorSavings(
            tuple((self.sites.site(name), self._places[name], r) for name, r in rank.items())
        )


@dataclass(frozen=True, eq=False)
class FactorSavings:
    """What factorising saves where the channels that stay are still to be chosen.

    Ranks follow the channels as ``Coupling.fit_ranks`` has it: none above what stays, and none at
    all where the layer is cheaper whole.
    """

    _layers: tuple[tuple[FactorSite, _Place, tuple[int, ...]], ...]

    def saved(self, positions: FloatArray) -> dict[str, FloatArray]:
        """Return by how much the layers cost less than whole ones: macs, params, size_bytes.

        Shape:
            positions: (rows, axes), kept positions on every axis of the cost model; each result:
            (rows,).
        """
        total = {what: np.zeros(len(positions)) for what in ("macs", "params", "size_bytes")}
        for site, place, ranks in self._layers:
            inputs = positions[:, place.inputs].prod(axis=1)
            outputs = positions[:, place.outputs].prod(axis=1)
            # One rank of an SVD is below both counts, Tucker-2 has one for each.
            r_out, r_in = np.minimum(outputs, ranks[0]), np.minimum(inputs, ranks[-1])
            if site.modes == 1:
                r_out = r_in = np.minimum(r_out, r_in)
            ends = (inputs, outputs, r_in, r_out)
            macs = _saving(site, ends, site.written if site.modes == 1 else site.read, site.written)
            share = positions[:, place.lead].prod(axis=1) / place.leading
            elements = np.where(macs > 0, _saving(site, ends, 1, 1), 0.0)
            total["macs"] += np.maximum(macs, 0.0) * share
            total["params"] += elements
            total["size_bytes"] += elements * place.element_bytes
        return total


def _saving(site: FactorSite, ends: tuple[FloatArray, ...], read: int, written: int) -> FloatArray:
    inputs, outputs, r_in, r_out = ends
    core = r_in * r_out * (site.kernel * written if site.modes > 1 else 0)
    parts = r_in * inputs * read + r_out * outputs * written + core
    difference: FloatArray = inputs * outputs * (site.kernel * written) - parts
    return difference


def _weights(amounts: Sequence[Amount]) -> FloatArray:
    rows = [(amount.per_input, amount.per_output, amount.constant) for amount in amounts]
    return np.array(rows, dtype=np.float64)


def place_sites(sites: FactorSites, propagation: Propagation, builder: CostBuilder) -> FactorCosts:
    """Find the terms and rows of every site in the model that ``builder`` has built."""
    macs = {term.node: index for index, term in enumerate(propagation.records.macs)}
    names = list(propagation.parameters)
    parameters = [name for name in names if propagation.is_parameter(name)]
    params = {name: index for index, name in enumerate(parameters)}
    size_bytes = {name: index for index, name in enumerate(names)}
    rows = {
        layer: (
            [builder.row(ids) for ids in site.lead],
            _rows(site.in_axis, builder),
            _rows(site.out_axis, builder),
        )
        for layer, site in sites.sites.items()
    }
    width = max((len(a) + max(len(b), len(c)) for a, b, c in rows.values()), default=0)
    places = {}
    for layer, site in sites.sites.items():
        weight = propagation.canonical[site.weight]
        lead, inputs, outputs = rows[layer]
        places[layer] = _Place(
            macs=macs[site.node],
            params=params[weight],
            size_bytes=size_bytes[weight],
            element_bytes=propagation.tensors[weight].element_size(),
            leading=prod(len(ids) for ids in site.lead),
            lead=lead,
            inputs=inputs,
            outputs=outputs,
            macs_rows=_padded([[*lead, *inputs], [*lead, *outputs], lead], width),
            params_rows=_padded([inputs, outputs, []], width),
        )
    return FactorCosts(sites, places)


def _padded(rows: Sequence[Sequence[int]], width: int) -> IntArray:
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows], dtype=np.int64)


def _rows(axis: Axis, builder: CostBuilder) -> list[int]:
    return [builder.row(factor.ids) for factor in axis if factor.ids is not None]
