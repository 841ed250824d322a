"""Which pieces of an over-complete graph are true: how much of them follows clear truth, every stretch of it followed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.sampling import Samples, sample_graph
from vesselgraph.space import FloatArray

_TOLERANCE, _PER_RADIUS = 1.5, 0.5
_LEAST_SHARE = 0.3
_STEP = 0.5
# Of two pieces along one vessel the nearer one goes first; a longer one may lie this much farther away, mm per mm of length.
_FOR_LENGTH = 0.02


def label_pieces(pieces: VesselGraph, truth: VesselGraph) -> NDArray[np.float32]:
    """Return how much of every piece is real and how clearly it is shown, (P,), 0 to 1.

    A point of a piece follows the truth if a point of it lies within the larger of 1.5 mm and half the true radius. The pieces
    take their stretches of truth one after the other, the best first: near to the truth all along, and long. So of two
    lines along one vessel only the better is right. The label is the mean over the points of a piece of the clarity of the
    truth they take, 0 where they take none. Clarity counts as the chance that an observer would draw the vessel, so the label
    is the chance that a point of the piece belongs to a drawn vessel.

    Parameters
    ----------
    pieces : VesselGraph
        Every branch a piece.
    truth : VesselGraph
        With the edge column ``clarity``, 0 to 1.
    """
    n = pieces.n_edges
    ours, own_piece = _sampled(pieces)
    theirs, their_branch = _sampled(truth)
    total = np.maximum(np.bincount(own_piece, minlength=n), 1)
    partner, distance = _nearest(ours, theirs)
    partner = _taken_once(partner, distance, own_piece, total, pieces.edge_length, their_branch)
    right = partner >= 0
    clarity = truth.edge_data["clarity"][their_branch[partner[right]]]
    return np.asarray(np.bincount(own_piece[right], clarity, n) / total, np.float32)


def _nearest(ours: Samples, theirs: Samples) -> tuple[IntArray, FloatArray]:
    """Return the nearest point of the truth for each of ours, -1 where it is too far, and its distance."""
    if not len(theirs.position) or not len(ours.position):
        return np.full(len(ours.position), -1, np.int64), np.zeros(len(ours.position))
    distance, partner = cKDTree(theirs.position).query(ours.position)
    reach = np.maximum(_TOLERANCE, _PER_RADIUS * np.nan_to_num(theirs.radius, nan=0.0))
    return np.where(distance <= reach[partner], partner, -1), distance


def _taken_once(
    partner: IntArray, distance: FloatArray, piece: IntArray, total: IntArray, length: FloatArray, their_branch: IntArray
) -> IntArray:
    """Return the partner of each of our points, -1 where a better piece has taken it."""
    n = len(total)
    near = partner >= 0
    cover = np.bincount(piece[near], minlength=n) / total
    off = np.bincount(piece[near], distance[near], n) / np.maximum(np.bincount(piece[near], minlength=n), 1)
    cost = off + _TOLERANCE * (1.0 - cover) - _FOR_LENGTH * length
    start = np.concatenate([[0], np.cumsum(np.bincount(piece, minlength=n))])
    taken = np.zeros(len(their_branch), np.bool_)
    result = np.full(len(partner), -1, np.int64)
    candidates = np.flatnonzero(cover >= _LEAST_SHARE)
    for p in candidates[np.argsort(cost[candidates], kind="stable")]:
        mine = np.arange(start[p], start[p + 1])
        mine = mine[near[mine]]
        mine = mine[~taken[partner[mine]]]
        # What follows less than that is a duplicate, or only crosses: it takes nothing from others.
        if len(mine) < _LEAST_SHARE * total[p]:
            continue
        result[mine] = partner[mine]
        for shift in (-1, 0, 1):
            beside = np.clip(partner[mine] + shift, 0, len(taken) - 1)
            taken[beside[their_branch[beside] == their_branch[partner[mine]]]] = True
    return result


def _sampled(graph: VesselGraph) -> tuple[Samples, IntArray]:
    """Return equally spaced points and the edge each lies on."""
    count = np.maximum(1, np.round(graph.edge_length / _STEP)).astype(np.int64)
    return sample_graph(graph, _STEP), np.repeat(np.arange(graph.n_edges), count)
