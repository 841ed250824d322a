"""Trees that touch: one piece of graph is parted into the trees of its trunks.

Strategy. From every wide place the cheapest ways to all others are found, dear where they climb (the logarithm of the radius
over the least radius so far) or turn sharply. The wide place from which the mean climb is least is the first trunk; another one
is a trunk of its own if with both, each piece going to the cheaper one, the mean climb falls by a stated amount. Where pieces
of different trunks meet, the node is doubled.

Costs and amount were chosen on phantoms of seeds 0, 31 and 33, a real liver and single trees of other generators, which stay
whole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.edit import merge_degree_two, split_edges
from vesselgraph.graph import VesselGraph
from vesselgraph.pruning.ways import WayCosts, Ways, median_radius
from vesselgraph.topology import component_labels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Pieces this long have one radius and one direction, mm.
_PIECE = 5.0
_COSTS = WayCosts(length=1.0, climb=100.0, free_climb=1.25, turn=100.0, free_turn=0.5)
# Wide places looked at, and how far apart, mm.
_N_PLACES, _APART = 16, 15.0
# A trunk must lower the mean climb (natural logarithm) by this much; smaller pieces of graph, in pieces, are one tree.
_LEAST_GAIN, _FEWEST, _MOST_TREES = 0.05, 30, 5


def part_contacts(graph: VesselGraph) -> VesselGraph:
    """Return the graph with the trees that touch taken apart where they do.

    Parameters
    ----------
    graph : VesselGraph
        Believed branches, joined where nothing forks, with radii.

    Returns
    -------
    graph : VesselGraph
        The same paths. Node column ``contact`` (bool): an end or fork of one tree where it touched another. Where a branch ran
        from tree to tree it is cut.
    """
    pieces, _ = split_edges(graph, max_length=_PIECE)
    label, is_parted = _labels(pieces)
    if not is_parted:
        return graph.with_columns(node={"contact": np.zeros(graph.n_nodes, np.bool_)})
    return merge_degree_two(doubled(pieces, label))[0]


def doubled(graph: VesselGraph, label: IntArray) -> VesselGraph:
    """Return the graph with one node for each label of a branch, (E,), that meets there; node column ``contact`` marks them."""
    alone = np.flatnonzero(graph.degree == 0)
    keys = np.stack([graph.edge_nodes, np.broadcast_to(label[:, None], graph.edge_nodes.shape)], axis=-1).reshape(-1, 2)
    unique, inverse = np.unique(np.concatenate([keys, np.stack([alone, alone * 0], axis=1)]), axis=0, return_inverse=True)
    old = unique[:, 0]
    apart = replace(
        graph,
        node_position=graph.node_position[old],
        node_radius=graph.node_radius[old],
        edge_nodes=inverse.ravel()[: len(keys)].reshape(-1, 2),
        node_data={name: column[old] for name, column in graph.node_data.items()},
    )
    return apart.with_columns(node={"contact": np.bincount(old, minlength=graph.n_nodes)[old] > 1})


def _cheapest_ways(ways: Ways, start: int) -> tuple[FloatArray, FloatArray]:
    """Return the cost of the cheapest way from piece ``start`` to each piece and its climb, (E,); infinite if not reached."""
    begin = np.full(len(ways.end), np.inf)
    begin[[2 * start, 2 * start + 1]] = 0.0
    return ways.cheapest(begin, _COSTS)


def _labels(graph: VesselGraph) -> tuple[IntArray, bool]:
    """Return the tree of each piece, (E,), and whether any component has more than one."""
    radius = median_radius(graph)
    ways = Ways.of(graph, radius)
    component = component_labels(graph.edge_nodes, graph.n_nodes)[graph.edge_nodes[:, 0]]
    label = np.zeros(graph.n_edges, np.int64)
    is_parted = False
    for one in np.unique(component):
        members = np.flatnonzero(component == one)
        if len(members) < _FEWEST:
            continue
        places = _wide_places(graph, radius, members)
        found = [_cheapest_ways(ways, place) for place in places]
        cost, climb = (np.array([both[k][members] for both in found]) for k in (0, 1))
        trunks = _trunks(cost, climb, graph.edge_length[members])
        if len(trunks) > 1:
            is_parted = True
            label[members] = cost[trunks].argmin(axis=0)
            _join_strays(graph, label, members, np.array(places)[trunks])
    return label, is_parted


def _wide_places(graph: VesselGraph, radius: FloatArray, members: IntArray) -> list[int]:
    """Return the widest of the ``members`` that lie apart, the widest first."""
    middle = graph.node_position[graph.edge_nodes].mean(axis=1)
    places: list[int] = []
    for piece in members[np.argsort(-radius[members], kind="stable")].tolist():
        if len(places) == _N_PLACES:
            break
        if not places or np.linalg.norm(middle[places] - middle[piece], axis=1).min() > _APART:
            places.append(piece)
    return places


def _trunks(cost: FloatArray, climb: FloatArray, length: FloatArray) -> list[int]:
    """Return which places (rows of ``cost`` and ``climb``, one column a piece) are trunks."""
    trunks: list[int] = []
    before = np.inf
    while len(trunks) < min(_MOST_TREES, len(cost)):
        trials = [(_mean_climb(cost, climb, length, [*trunks, k]), k) for k in range(len(cost)) if k not in trunks]
        now, best = min(trials)
        if before - now < _LEAST_GAIN:
            break
        trunks.append(best)
        before = now
    return trunks


def _mean_climb(cost: FloatArray, climb: FloatArray, length: FloatArray, trunks: list[int]) -> float:
    nearest = cost[trunks].argmin(axis=0)
    return float(np.average(climb[trunks][nearest, np.arange(len(length))], weights=length))


def _join_strays(graph: VesselGraph, label: IntArray, members: IntArray, seeds: IntArray) -> None:
    """Give what does not hang together with its own trunk to the tree it touches most, in place."""
    keys = graph.edge_nodes[members].astype(np.int64) * (int(label.max()) + 1) + label[members, None]
    _, compact = np.unique(keys, return_inverse=True)
    compact = compact.reshape(-1, 2)
    group = component_labels(compact, int(compact.max()) + 1)[compact[:, 0]]
    rooted = np.unique(group[np.isin(members, seeds)])
    for stray in np.setdiff1d(group, rooted):
        mine = members[group == stray]
        touching = members[np.isin(graph.edge_nodes[members], graph.edge_nodes[mine]).any(axis=1) & (group != stray)]
        label[mine] = np.bincount(label[touching], graph.edge_length[touching]).argmax()
