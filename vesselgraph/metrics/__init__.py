"""A predicted graph or mask against the truth: definitions in ``docs/metrics.md``."""

from __future__ import annotations

from vesselgraph.metrics.apls import Apls, apls
from vesselgraph.metrics.graph_scores import GraphScores, RadiusError
from vesselgraph.metrics.graphs import betti_of_graph, compare_graphs
from vesselgraph.metrics.identity import IdentityScore
from vesselgraph.metrics.masks import MaskScores, betti_of_mask, mask_cldice, mask_scores
from vesselgraph.metrics.matching import Pairs, Score, match_nearest_first, match_one_to_one, pairs_within
from vesselgraph.metrics.sampling import Samples, sample_graph
from vesselgraph.metrics.skeleton import skeleton_graph

__all__ = [
    "Apls",
    "GraphScores",
    "IdentityScore",
    "MaskScores",
    "Pairs",
    "RadiusError",
    "Samples",
    "Score",
    "apls",
    "betti_of_graph",
    "betti_of_mask",
    "compare_graphs",
    "mask_cldice",
    "mask_scores",
    "match_nearest_first",
    "match_one_to_one",
    "pairs_within",
    "sample_graph",
    "skeleton_graph",
]
