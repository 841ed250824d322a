"""Ways along vessels as blood could take them: dear where a vessel gets wider again or the way turns back.

Away from its trunk a vessel only gets thinner, and it forks forwards. Whoever walks from the trunk of one tree through a
contact into another tree walks up there.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class WayCosts:
    """What ways cost, mm.

    Parameters
    ----------
    length : per mm
        Of way.
    climb : per e-fold
        How much the radius is above the least one so far, at the worst place.
    free_climb : ratio
        Radii rise by so much along a vessel without being a climb: they are measured.
    turn : per unit of cosine
        Each turn whose cosine is below ``free_turn``.
    free_turn : cosine
    """

    length: float
    climb: float
    free_climb: float
    turn: float
    free_turn: float


@dataclass(frozen=True)
class Ways:
    """What walking along pieces needs, as lists: half ``2 e`` walks piece ``e`` forwards, ``2 e + 1`` backwards.

    Attributes
    ----------
    leaving : list of lists
        The halves that leave each node.
    end : list
        The node where each half arrives.
    direction : (2 E, 3)
        Unit chord of each half.
    length, width : lists
        Of each piece: mm, and the natural logarithm of its median radius.
    """

    leaving: list[list[int]]
    end: list[int]
    direction: FloatArray
    length: list[float]
    width: list[float]

    @classmethod
    def of(cls, graph: VesselGraph, radius: FloatArray) -> Ways:
        """Return the ways of a graph of short branches; ``radius`` (E,) mm."""
        chord = graph.node_position[graph.edge_nodes[:, 1]] - graph.node_position[graph.edge_nodes[:, 0]]
        chord = chord / np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-9)
        leaving: list[list[int]] = [[] for _ in range(graph.n_nodes)]
        for half, node in enumerate(graph.edge_nodes.ravel().tolist()):
            leaving[node].append(half)
        both = np.stack([chord, -chord], axis=1).reshape(-1, 3)
        end = graph.edge_nodes[:, ::-1].ravel().tolist()
        return cls(leaving, end, both, graph.edge_length.tolist(), np.log(radius).tolist())

    def cheapest(self, start: FloatArray, costs: WayCosts) -> tuple[FloatArray, FloatArray]:
        """Return the cost of the cheapest way to each piece and its climb, (E,) each; infinite if not reached.

        Parameters
        ----------
        start : (2 E,) mm
            What it costs to begin with each half; infinite where no way begins.
        costs : WayCosts
        """
        n_halves = len(self.end)
        cost, climb = [np.inf] * n_halves, [np.inf] * n_halves
        free = float(np.log(costs.free_climb))
        direction: list[list[float]] = self.direction.tolist()
        # Cost so far, half, least log radius so far, climb so far, cost without the climb.
        begins = [(half, begin) for half, begin in enumerate(start.tolist()) if begin < np.inf]
        queue = [(begin, half, self.width[half >> 1], 0.0, begin) for half, begin in begins]
        heapq.heapify(queue)
        while queue:
            here, half, least, climbed, plain = heapq.heappop(queue)
            if cost[half] < np.inf:
                continue
            cost[half], climb[half] = here, climbed
            x, y, z = direction[half]
            for ahead in self.leaving[self.end[half]]:
                piece = ahead >> 1
                if piece == half >> 1 or cost[ahead] < np.inf:
                    continue
                a, b, c = direction[ahead]
                width = self.width[piece]
                higher = max(climbed, width - least - free)
                turned = max(costs.free_turn - (x * a + y * b + z * c), 0.0)
                way = plain + costs.length * self.length[piece] + costs.turn * turned
                heapq.heappush(queue, (way + costs.climb * higher, ahead, min(least, width), higher, way))
        both = np.array(cost).reshape(-1, 2)
        rows, side = np.arange(len(both)), both.argmin(axis=1)
        return both[rows, side], np.array(climb).reshape(-1, 2)[rows, side]


def median_radius(graph: VesselGraph) -> FloatArray:
    """Return the median of the known radii of each branch, (E,) mm; 1 where none is known."""
    bounds = zip(graph.path_offset[:-1].tolist(), graph.path_offset[1:].tolist(), strict=True)
    parts = (graph.path_radius[low:high] for low, high in bounds)
    known = (part[np.isfinite(part)] for part in parts)
    return np.array([float(np.median(part)) if len(part) else 1.0 for part in known])
