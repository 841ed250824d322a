"""All metrics of a pair of graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vesselgraph.errors import InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.metrics.connectivity import netmets
from vesselgraph.metrics.diadem import diadem_score
from vesselgraph.metrics.graphs import compare_graphs
from vesselgraph.metrics.matching import plain_value
from vesselgraph.metrics.mover import street_mover_distance
from vesselgraph.metrics.orders import recall_by_order
from vesselgraph.metrics.rivulet import rivulet_score
from vesselgraph.volume import Volume

_Metric = Callable[[VesselGraph, VesselGraph, Volume | None], Any]

_FURTHER: dict[str, _Metric] = {
    "street_mover": lambda p, t, r: plain_value(street_mover_distance(p, t, region=r)),
    "netmets": lambda p, t, r: netmets(p, t, region=r).to_dict(),
    "diadem": lambda p, t, r: diadem_score(p, t, region=r).to_dict(),
    "recall_by_order": lambda p, t, r: recall_by_order(p, t, region=r).to_dict(),
    "rivulet": lambda p, t, r: rivulet_score(p, t, region=r).to_dict(),
}


def evaluate_graphs(
    predicted: VesselGraph,
    truth: VesselGraph,
    *,
    further: Sequence[str] | None = None,
    region: Volume | None = None,
) -> dict[str, Any]:
    """Return the scores of :func:`compare_graphs` and further metrics as nested plain values for JSON.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm.
    further : sequence of str, optional
        Which of ``street_mover``, ``netmets``, ``diadem``, ``recall_by_order`` and ``rivulet`` to add, each under its name
        and at its defaults; all if left out.
    region : Volume, optional
        Bool mask; what lies outside is left out.

    Raises
    ------
    InputError
        An unknown name.

    Examples
    --------
    >>> line = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    >>> scores = evaluate_graphs(line, line, further=["netmets"])
    >>> scores["apls"]["score"], scores["netmets"]["gfpr"]
    (1.0, 0.0)
    """
    further = tuple(_FURTHER) if further is None else further
    unknown = [name for name in further if name not in _FURTHER]
    if unknown:
        raise InputError(f"metrics out of {', '.join(_FURTHER)}", ", ".join(unknown), "leave out or correct these names")
    scores = compare_graphs(predicted, truth, region=region).to_dict()
    return scores | {name: _FURTHER[name](predicted, truth, region) for name in further}
