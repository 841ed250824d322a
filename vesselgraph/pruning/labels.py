"""Which pieces of an over-complete graph are true: by how much of them lies on the truth, every stretch of it used once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.matching import Pairs, match_nearest_first, pairs_within
from vesselgraph.metrics.sampling import Samples, sample_graph
from vesselgraph.space import FloatArray

_TOLERANCE, _PER_RADIUS = 1.5, 0.5
_SURE, _UNSURE = 0.7, 0.3
_STEP = 0.5


@dataclass(frozen=True, eq=False)
class Labels:
    """Truth for every piece.

    Attributes
    ----------
    share : (P,)
        Share of the piece's length that lies on a stretch of truth nobody nearer lies on.
    presence : (P,) float32
        1 real, 0 not, NaN to be ignored (in between).
    tree : (P,) int64
        Tree of most of the matched truth (its edge column ``tree``); 0 where unknown or not real.
    """

    share: FloatArray
    presence: NDArray[np.float32]
    tree: IntArray


def label_pieces(pieces: VesselGraph, truth: VesselGraph) -> Labels:
    """Return which pieces are real.

    A point of a piece is right if a point of the truth lies within the larger of 1.5 mm and half the true radius and no
    other point has taken it, the nearest first. So of two lines along one vessel only the nearer is right. A piece is real
    if at least 70 % of it is right, not real below 30 %, and in between it is ignored.

    Parameters
    ----------
    pieces : VesselGraph
        Every branch a piece.
    truth : VesselGraph
        With the edge column ``tree`` (int) for the identity; without one all are 0.
    """
    ours, own_piece = _sampled(pieces)
    theirs, their_branch = _sampled(truth)
    tree_of = truth.edge_data.get("tree", np.zeros(truth.n_edges, np.int64))
    tree_of = tree_of if tree_of.dtype.kind in "iu" else np.zeros(truth.n_edges, np.int64)
    reach = np.maximum(_TOLERANCE, _PER_RADIUS * np.nan_to_num(theirs.radius, nan=0.0))
    pairs = pairs_within(ours.position, theirs.position, float(reach.max(initial=_TOLERANCE)))
    near = pairs.distance <= reach[pairs.truth]
    pairs = Pairs(pairs.n_predicted, pairs.n_truth, pairs.predicted[near], pairs.truth[near], pairs.distance[near])
    partner = match_nearest_first(pairs)
    right = partner >= 0
    total = np.maximum(np.bincount(own_piece, minlength=pieces.n_edges), 1)
    share = np.bincount(own_piece[right], minlength=pieces.n_edges) / total
    presence = np.where(share >= _SURE, 1.0, np.where(share < _UNSURE, 0.0, np.nan)).astype(np.float32)
    votes = np.zeros((pieces.n_edges, int(tree_of.max(initial=0)) + 1))
    np.add.at(votes, (own_piece[right], tree_of[their_branch[partner[right]]]), 1.0)
    tree = np.where(share >= _SURE, votes.argmax(axis=1), 0)
    return Labels(share, presence, tree.astype(np.int64))


def _sampled(graph: VesselGraph) -> tuple[Samples, IntArray]:
    """Return equally spaced points and the edge each lies on."""
    count = np.maximum(1, np.round(graph.edge_length / _STEP)).astype(np.int64)
    return sample_graph(graph, _STEP), np.repeat(np.arange(graph.n_edges), count)
