"""Which pieces of an over-complete graph are true: by how much of them follows the truth, every stretch of it followed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.sampling import Samples, sample_graph
from vesselgraph.space import FloatArray

_TOLERANCE, _PER_RADIUS = 1.5, 0.5
_SURE, _UNSURE = 0.7, 0.3
_STEP = 0.5
# Of two pieces along one vessel the nearer one goes first; a longer one may lie this much farther away, mm per mm of length.
_FOR_LENGTH = 0.02


@dataclass(frozen=True, eq=False)
class Labels:
    """Truth for every piece.

    Attributes
    ----------
    share : (P,)
        Share of the piece's length that follows a stretch of sure truth no better piece follows.
    doubtful : (P,)
        The same for truth that is not sure.
    presence : (P,) float32
        1 real, 0 not, NaN to be ignored (in between).
    tree : (P,) int64
        Tree of most of the truth it follows (its edge column ``tree``), sure or not; 0 where unknown or not real.
    """

    share: FloatArray
    doubtful: FloatArray
    presence: NDArray[np.float32]
    tree: IntArray


def label_pieces(pieces: VesselGraph, truth: VesselGraph, is_sure: NDArray[np.bool_] | None = None) -> Labels:
    """Return which pieces are real.

    A point of a piece follows the truth if a point of it lies within the larger of 1.5 mm and half the true radius. The pieces
    take their stretches of truth one after the other, the best first: near to the truth all along, and long. So of two
    lines along one vessel only the better is right. A piece is real if at least 70 % of it takes sure truth, not
    real if less than 30 % takes any, and ignored otherwise.

    Parameters
    ----------
    pieces : VesselGraph
        Every branch a piece.
    truth : VesselGraph
        With the edge column ``tree`` (int) for the identity; without one all are 0.
    is_sure : (E,) bool, optional
        Branches of the truth whose finding is right; finding the others counts neither way. All if left out.
    """
    n = pieces.n_edges
    ours, own_piece = _sampled(pieces)
    theirs, their_branch = _sampled(truth)
    tree_of = truth.edge_data.get("tree", np.zeros(truth.n_edges, np.int64))
    tree_of = tree_of if tree_of.dtype.kind in "iu" else np.zeros(truth.n_edges, np.int64)
    sure = np.ones(truth.n_edges, np.bool_) if is_sure is None else is_sure
    total = np.maximum(np.bincount(own_piece, minlength=n), 1)
    partner, distance = _nearest(ours, theirs)
    partner = _taken_once(partner, distance, own_piece, total, pieces.edge_length, their_branch)
    right = partner >= 0
    branch = their_branch[partner[right]]
    on_sure = right.copy()
    on_sure[right] = sure[branch]
    share = np.bincount(own_piece[on_sure], minlength=n) / total
    doubtful = np.bincount(own_piece[right & ~on_sure], minlength=n) / total
    presence = np.where(share >= _SURE, 1.0, np.where(share + doubtful < _UNSURE, 0.0, np.nan)).astype(np.float32)
    votes = np.zeros((n, int(tree_of.max(initial=0)) + 1))
    np.add.at(votes, (own_piece[right], tree_of[branch]), 1.0)
    tree = np.where(share + doubtful >= _SURE, votes.argmax(axis=1), 0)
    return Labels(share, doubtful, presence, tree.astype(np.int64))


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
    candidates = np.flatnonzero(cover >= _UNSURE)
    for p in candidates[np.argsort(cost[candidates], kind="stable")]:
        mine = np.arange(start[p], start[p + 1])
        mine = mine[near[mine]]
        mine = mine[~taken[partner[mine]]]
        # What follows less than that is a duplicate, or only crosses: it takes nothing from others.
        if len(mine) < _UNSURE * total[p]:
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
