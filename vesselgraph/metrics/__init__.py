"""A predicted graph or mask against the truth: definitions in ``docs/metrics.md``."""

from __future__ import annotations

from vesselgraph.metrics.apls import Apls, apls
from vesselgraph.metrics.diadem import Diadem, diadem_score
from vesselgraph.metrics.graph_scores import GraphScores, RadiusError
from vesselgraph.metrics.graphs import betti_of_graph, compare_graphs
from vesselgraph.metrics.identity import IdentityScore
from vesselgraph.metrics.masks import MaskScores, betti_of_mask, mask_cldice, mask_scores
from vesselgraph.metrics.matching import Pairs, Score, match_nearest_first, match_one_to_one, pairs_within
from vesselgraph.metrics.mover import street_mover_distance
from vesselgraph.metrics.netmets import NetMets, netmets
from vesselgraph.metrics.orders import OrderRecall, recall_by_order
from vesselgraph.metrics.rivulet import RivuletScore, rivulet_score
from vesselgraph.metrics.sampling import Samples, sample_graph
from vesselgraph.metrics.skeleton import skeleton_graph

__all__ = [
    "Apls",
    "Diadem",
    "GraphScores",
    "IdentityScore",
    "MaskScores",
    "NetMets",
    "OrderRecall",
    "Pairs",
    "RadiusError",
    "RivuletScore",
    "Samples",
    "Score",
    "apls",
    "betti_of_graph",
    "betti_of_mask",
    "compare_graphs",
    "diadem_score",
    "mask_cldice",
    "mask_scores",
    "match_nearest_first",
    "match_one_to_one",
    "netmets",
    "pairs_within",
    "recall_by_order",
    "rivulet_score",
    "sample_graph",
    "skeleton_graph",
    "street_mover_distance",
]
