"""Trees that touch: one piece of graph is parted into the trees of its trunks.

Strategy. Away from its trunk a vessel only gets thinner, and it forks forwards. Whoever walks from the trunk of one tree
through a contact into another tree walks up there: the vessel gets wider and the way turns back. So from every wide place the
cheapest ways to all others are found, dear where they climb (the logarithm of the radius over the least radius so far) or turn
sharply. The wide place from which the mean climb is least is the first trunk; another one is a trunk of its own if with both,
each piece going to the cheaper one, the mean climb falls by a stated amount. Where pieces of different trunks meet, the node
is doubled.

Costs and amount were chosen on phantoms of seeds 0, 31 and 33, a real liver and single trees of other generators, which stay
whole.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.edit import merge_degree_two, split_edges
from vesselgraph.graph import VesselGraph
from vesselgraph.topology import component_labels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

# Pieces this long have one radius and one direction, mm.
_PIECE = 5.0
# What costs as much as how many mm of way: an e-fold of climb, and a turn by 60 degrees more than the free 60.
_CLIMB_COST, _TURN_COST = 100.0, 100.0
_FREE_TURN = 0.5
# Radii rise by so much along a vessel without being a climb: they are measured.
_FREE_CLIMB = 1.25
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
    return merge_degree_two(_doubled(pieces, label))[0]


def _doubled(graph: VesselGraph, label: IntArray) -> VesselGraph:
    """Return the graph with one node for each label that meets there."""
    alone = np.flatnonzero(graph.degree == 0)
    keys = np.stack([graph.edge_nodes, np.broadcast_to(label[:, None], graph.edge_nodes.shape)], axis=-1).reshape(-1, 2)
    unique, inverse = np.unique(np.concatenate([keys, np.stack([alone, alone * 0], axis=1)]), axis=0, return_inverse=True)
    old = unique[:, 0]
    doubled = replace(
        graph,
        node_position=graph.node_position[old],
        node_radius=graph.node_radius[old],
        edge_nodes=inverse.ravel()[: len(keys)].reshape(-1, 2),
        node_data={name: column[old] for name, column in graph.node_data.items()},
    )
    return doubled.with_columns(node={"contact": np.bincount(old, minlength=graph.n_nodes)[old] > 1})


@dataclass(frozen=True)
class _Ways:
    """What walking along pieces needs, as lists: half ``2 e`` walks piece ``e`` forwards, ``2 e + 1`` backwards.

    Attributes
    ----------
    leaving : list of lists
        The halves that leave each node.
    end : list
        The node where each half arrives.
    direction : list of (x, y, z)
        Unit chord of each half.
    length, width : lists
        Of each piece: mm, and the natural logarithm of its median radius.
    """

    leaving: list[list[int]]
    end: list[int]
    direction: list[tuple[float, float, float]]
    length: list[float]
    width: list[float]

    @classmethod
    def of(cls, graph: VesselGraph, radius: FloatArray) -> _Ways:
        chord = graph.node_position[graph.edge_nodes[:, 1]] - graph.node_position[graph.edge_nodes[:, 0]]
        chord = chord / np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-9)
        leaving: list[list[int]] = [[] for _ in range(graph.n_nodes)]
        for half, node in enumerate(graph.edge_nodes.ravel().tolist()):
            leaving[node].append(half)
        both = np.stack([chord, -chord], axis=1).reshape(-1, 3)
        end = graph.edge_nodes[:, ::-1].ravel().tolist()
        directions = [(x, y, z) for x, y, z in both.tolist()]
        return cls(leaving, end, directions, graph.edge_length.tolist(), np.log(radius).tolist())


def _cheapest_ways(ways: _Ways, start: int) -> tuple[FloatArray, FloatArray]:
    """Return the cost of the cheapest way from piece ``start`` to each piece and its climb, (E,); infinite if not reached."""
    n_halves = len(ways.end)
    cost, climb = [np.inf] * n_halves, [np.inf] * n_halves
    free = float(np.log(_FREE_CLIMB))
    # Cost so far, half, least log radius so far, climb so far, cost without the climb.
    queue = [(0.0, 2 * start, ways.width[start], 0.0, 0.0), (0.0, 2 * start + 1, ways.width[start], 0.0, 0.0)]
    while queue:
        here, half, least, climbed, plain = heapq.heappop(queue)
        if cost[half] < np.inf:
            continue
        cost[half], climb[half] = here, climbed
        x, y, z = ways.direction[half]
        for ahead in ways.leaving[ways.end[half]]:
            piece = ahead >> 1
            if piece == half >> 1 or cost[ahead] < np.inf:
                continue
            a, b, c = ways.direction[ahead]
            width = ways.width[piece]
            higher = max(climbed, width - least - free)
            way = plain + ways.length[piece] + _TURN_COST * max(_FREE_TURN - (x * a + y * b + z * c), 0.0)
            heapq.heappush(queue, (way + _CLIMB_COST * higher, ahead, min(least, width), higher, way))
    both = np.array(cost).reshape(-1, 2)
    rows, side = np.arange(len(both)), both.argmin(axis=1)
    return both[rows, side], np.array(climb).reshape(-1, 2)[rows, side]


def _labels(graph: VesselGraph) -> tuple[IntArray, bool]:
    """Return the tree of each piece, (E,), and whether any component has more than one."""
    radius = np.array(
        [_median(graph.path_radius[a:b]) for a, b in zip(graph.path_offset[:-1], graph.path_offset[1:], strict=True)]
    )
    ways = _Ways.of(graph, radius)
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


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 1.0


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
