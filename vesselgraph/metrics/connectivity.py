"""NetMets: errors of geometry and of connectivity of two networks, with or without loops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vesselgraph.errors import RangeError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.matching import match_nearest_first, pairs_within, plain_value
from vesselgraph.metrics.routes import nearest_place
from vesselgraph.metrics.sampling import clip_graph, sample_graph
from vesselgraph.topology import chains
from vesselgraph.volume import Volume


@dataclass(frozen=True)
class NetMets:
    """Rates of error, 0 (none) to 1.

    Parameters
    ----------
    gfpr, gfnr : float
        Geometric false positive and false negative rate: mean of 1 - exp(-d^2 / (2 sigma^2)) over the points of the
        prediction and of the truth, d the distance to the other graph.
    cfpr, cfnr : float
        Connectivity: share of the runs of the prediction, and of the truth, that the other graph has not.
    """

    gfpr: float
    gfnr: float
    cfpr: float
    cfnr: float

    def to_dict(self) -> dict[str, float | None]:
        """Return plain values for JSON."""
        return {name: plain_value(getattr(self, name)) for name in ("gfpr", "gfnr", "cfpr", "cfnr")}


def netmets(
    predicted: VesselGraph,
    truth: VesselGraph,
    *,
    sigma: float = 2.0,
    node_tolerance: float = 3.0,
    step: float = 0.5,
    region: Volume | None = None,
) -> NetMets:
    """Return the NetMets error rates of two graphs.

    Geometry is as published: each point counts with 1 - exp(-d^2 / (2 sigma^2)), 0 on the other graph, near 1 from 3 sigma
    on. Connectivity follows the published idea of a core graph with rules of its own, all symmetric:

    - Nodes that end runs (of degree other than 2) are paired nearest first within ``node_tolerance``; the others are unpaired.
    - Runs that end in an unpaired tip are wrong and are taken away; unpaired nodes left with two runs are passed through;
      both are repeated.
    - A remaining run between two paired nodes is right if the other graph joins their partners by a run, or through unpaired
      nodes only; as many of parallel runs are right as the other graph has. All others are wrong.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm. Without branches in either all rates are 0. If one of them has none, the rates of the other are 1, and
        its own 0: nothing it says is wrong.
    sigma : mm
        Width of the geometric tolerance.
    node_tolerance : mm
        Largest distance of paired nodes.
    step : mm
        Distance of the points along the branches.
    region : Volume, optional
        Bool mask; branches of both graphs are cut where they leave it.

    Raises
    ------
    RangeError
        A distance is not positive.

    References
    ----------
    Mayerich, Bjornsson, Taylor and Roysam, NetMets, BMC Bioinformatics 13 (Suppl 8): S7, 2012.

    Examples
    --------
    A side branch too much. Without it the main line passes the fork: one run is wrong, one right.

    >>> truth = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]]])
    >>> spur = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]], [[10, 0, 0], [20, 0, 0]], [[10, 0, 0], [10, 8, 0]]])
    >>> rates = netmets(spur, truth)
    >>> rates.cfpr, rates.cfnr, rates.gfnr
    (0.5, 0.0, 0.0)
    """
    if not all(np.isfinite(value) and value > 0 for value in (sigma, node_tolerance, step)):
        raise RangeError(
            "sigma, node_tolerance and step > 0 mm", f"{sigma}, {node_tolerance}, {step}", "pass values like 2, 3 and 0.5"
        )
    if region is not None:
        predicted, truth = clip_graph(predicted, region), clip_graph(truth, region)
    ours, theirs = _Runs.of(predicted), _Runs.of(truth)
    partner = match_nearest_first(
        pairs_within(predicted.node_position[ours.nodes], truth.node_position[theirs.nodes], node_tolerance)
    )
    paired = np.flatnonzero(partner >= 0)
    # Paired nodes are named by their number in the pairing, unpaired ones by negative numbers.
    ours.name(ours.nodes[paired])
    theirs.name(theirs.nodes[partner[paired]])
    return NetMets(
        gfpr=_geometry(predicted, truth, sigma, step),
        gfnr=_geometry(truth, predicted, sigma, step),
        cfpr=ours.wrong_share(theirs),
        cfnr=theirs.wrong_share(ours),
    )


def _geometry(graph: VesselGraph, other: VesselGraph, sigma: float, step: float) -> float:
    points = sample_graph(graph, step).position
    if not len(points):
        return 0.0
    return float(np.mean(-np.expm1(-0.5 * (nearest_place(other, points)[1] / sigma) ** 2)))


class _Runs:
    """The runs of a graph between its nodes of degree other than 2, then reduced to what joins paired nodes."""

    def __init__(self, nodes: IntArray, ends: list[tuple[int, int]]) -> None:
        self.nodes = nodes
        self.n_wrong = 0
        self._ends = ends

    @classmethod
    def of(cls, graph: VesselGraph) -> _Runs:
        if not graph.n_edges:
            return cls(np.zeros(0, np.int64), [])
        runs = chains(graph.edge_nodes, graph.n_nodes)
        first, last = runs.offset[:-1], runs.offset[1:] - 1
        side = np.where(runs.is_forward, 0, 1)
        head = graph.edge_nodes[runs.edge[first], side[first]]
        tail = graph.edge_nodes[runs.edge[last], 1 - side[last]]
        return cls(np.unique([head, tail]), list(zip(head.tolist(), tail.tolist(), strict=True)))

    def name(self, paired: IntArray) -> None:
        """Rename the nodes: paired ones by their place in the list, others below 0; then reduce the graph."""
        number = {node: i for i, node in enumerate(paired.tolist())}
        name = {node: number.get(node, -1 - node) for node in self.nodes.tolist()}
        self._reduce(dict(enumerate((name[a], name[b]) for a, b in self._ends)))

    def _reduce(self, ends: dict[int, tuple[int, int]]) -> None:
        """Take away runs that end in unpaired tips and pass through unpaired nodes with two runs, until there are none."""
        at: dict[int, list[int]] = {}
        for run, (a, b) in ends.items():
            at.setdefault(a, []).append(run)
            at.setdefault(b, []).append(run)
        waiting, new = [node for node in at if node < 0], len(ends)
        while waiting:
            node = waiting.pop()
            runs = at[node]
            if len(runs) == 1:
                self.n_wrong += 1
                other = sum(ends.pop(runs[0])) - node
                at[other].remove(runs[0])
                at[node] = []
                if other < 0:
                    waiting.append(other)
            elif len(runs) == 2 and runs[0] != runs[1]:
                ends[new] = (sum(ends[runs[0]]) - node, sum(ends[runs[1]]) - node)
                for run, other in zip(runs, ends[new], strict=True):
                    del ends[run]
                    at[other][at[other].index(run)] = new
                at[node] = []
                new += 1
        self._ends = list(ends.values())

    def links(self) -> Counter[tuple[int, int]]:
        """Return how often two paired nodes are joined by a run."""
        return Counter((min(ends), max(ends)) for ends in self._ends if min(ends) >= 0)

    def joined_through_unpaired(self) -> list[set[int]]:
        """Return the sets of paired nodes that meet in one cluster of unpaired nodes."""
        cluster: dict[int, int] = {}

        def root(node: int) -> int:
            while cluster.setdefault(node, node) != node:
                cluster[node] = cluster[cluster[node]]
                node = cluster[node]
            return node

        for a, b in self._ends:
            if max(a, b) < 0:
                cluster[root(a)] = root(b)
        sets: dict[int, set[int]] = {}
        for a, b in self._ends:
            if min(a, b) < 0 <= max(a, b):
                sets.setdefault(root(min(a, b)), set()).add(max(a, b))
        return list(sets.values())

    def wrong_share(self, other: _Runs) -> float:
        """Return which share of these runs the other graph has not."""
        total = self.n_wrong + len(self._ends)
        if not total:
            return 0.0
        there, clusters = other.links(), other.joined_through_unpaired()
        n_right = 0
        for (a, b), count in self.links().items():
            through = sum(a in nodes and b in nodes and a != b for nodes in clusters)
            n_right += min(count, there[a, b] + through)
        return 1.0 - n_right / total
