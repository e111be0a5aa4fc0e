"""Cost of factorised layers as a function of the channels that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from compressc.axes import Axis
from compressc.costs import CostBuilder, CostModel
from compressc.factor_sites import Amount, FactorSites
from compressc.propagation import Propagation

Entry = tuple[float, list[int]]


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
