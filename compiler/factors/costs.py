"""Cost of factorised layers as a function of the channels that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from compressc.costs import CostBuilder, CostModel
from compressc.coupling.axes import Axis
from compressc.coupling.propagation import Propagation
from compressc.factors.sites import Amount, FactorSite, FactorSites

Entry = tuple[float, list[int]]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Place:
    """Where a layer stands in a cost model: its terms, and the rows that count its channels.

    Rows are lists because an axis of size 1 is counted by none.
    """

    macs: int
    params: int
    size_bytes: int
    element_bytes: int
    lead: list[int]
    inputs: list[int]
    outputs: list[int]


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
        macs: list[Entry] = []
        params: list[Entry] = []
        size_bytes: list[Entry] = []
        places = []
        for layer, ranks in rank.items():
            site = self.sites.site(layer)
            place = self._places[layer]
            places.append(place)
            # Amounts count every leading position; the terms multiply by those that stay.
            lead = prod(len(ids) for ids in site.lead)
            macs += _entries(site.macs(ranks), place, 1 / lead, place.lead)
            elements = site.params(ranks)
            params += _entries(elements, place, 1.0, [])
            size_bytes += _entries(elements, place, float(place.element_bytes), [])
        one = model.matrix.shape[0] - 1
        return replace(
            model,
            macs_terms=model.macs_terms.exchanged([p.macs for p in places], macs, one),
            params_terms=model.params_terms.exchanged([p.params for p in places], params, one),
            bytes_terms=model.bytes_terms.exchanged(
                [p.size_bytes for p in places], size_bytes, one
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
            share = positions[:, place.lead].prod(axis=1) / prod(len(ids) for ids in site.lead)
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


def _entries(amount: Amount, place: _Place, scale: float, lead: list[int]) -> list[Entry]:
    return [
        (scale * amount.per_input, [*lead, *place.inputs]),
        (scale * amount.per_output, [*lead, *place.outputs]),
        (scale * amount.constant, lead),
    ]


def place_sites(sites: FactorSites, propagation: Propagation, builder: CostBuilder) -> FactorCosts:
    """Find the terms and rows of every site in the model that ``builder`` has built."""
    macs = {term.node: index for index, term in enumerate(propagation.records.macs)}
    names = list(propagation.parameters)
    parameters = [name for name in names if propagation.is_parameter(name)]
    params = {name: index for index, name in enumerate(parameters)}
    size_bytes = {name: index for index, name in enumerate(names)}
    places = {}
    for layer, site in sites.sites.items():
        weight = propagation.canonical[site.weight]
        places[layer] = _Place(
            macs=macs[site.node],
            params=params[weight],
            size_bytes=size_bytes[weight],
            element_bytes=propagation.tensors[weight].element_size(),
            lead=[builder.row(ids) for ids in site.lead],
            inputs=_rows(site.in_axis, builder),
            outputs=_rows(site.out_axis, builder),
        )
    return FactorCosts(sites, places)


def _rows(axis: Axis, builder: CostBuilder) -> list[int]:
    return [builder.row(factor.ids) for factor in axis if factor.ids is not None]
