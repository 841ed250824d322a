"""A predicted graph or mask against the truth: definitions in ``docs/metrics.md``.

Names are loaded on first use: the command line reads its options without numba and scikit-image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesselgraph.metrics.connectivity import NetMets as NetMets
    from vesselgraph.metrics.connectivity import netmets as netmets
    from vesselgraph.metrics.diadem import Diadem as Diadem
    from vesselgraph.metrics.diadem import diadem_score as diadem_score
    from vesselgraph.metrics.evaluation import evaluate_graphs as evaluate_graphs
    from vesselgraph.metrics.figure import draw_scores as draw_scores
    from vesselgraph.metrics.graph_scores import GraphScores as GraphScores
    from vesselgraph.metrics.graph_scores import RadiusError as RadiusError
    from vesselgraph.metrics.graphs import betti_of_graph as betti_of_graph
    from vesselgraph.metrics.graphs import compare_graphs as compare_graphs
    from vesselgraph.metrics.identity import IdentityScore as IdentityScore
    from vesselgraph.metrics.masks import MaskScores as MaskScores
    from vesselgraph.metrics.masks import betti_of_mask as betti_of_mask
    from vesselgraph.metrics.masks import mask_cldice as mask_cldice
    from vesselgraph.metrics.masks import mask_scores as mask_scores
    from vesselgraph.metrics.matching import Pairs as Pairs
    from vesselgraph.metrics.matching import Score as Score
    from vesselgraph.metrics.matching import match_nearest_first as match_nearest_first
    from vesselgraph.metrics.matching import match_one_to_one as match_one_to_one
    from vesselgraph.metrics.matching import pairs_within as pairs_within
    from vesselgraph.metrics.mover import street_mover_distance as street_mover_distance
    from vesselgraph.metrics.orders import OrderRecall as OrderRecall
    from vesselgraph.metrics.orders import recall_by_order as recall_by_order
    from vesselgraph.metrics.path_similarity import Apls as Apls
    from vesselgraph.metrics.path_similarity import apls as apls
    from vesselgraph.metrics.rivulet import RivuletScore as RivuletScore
    from vesselgraph.metrics.rivulet import rivulet_score as rivulet_score
    from vesselgraph.metrics.sampling import Samples as Samples
    from vesselgraph.metrics.sampling import sample_graph as sample_graph
    from vesselgraph.metrics.skeleton import skeleton_graph as skeleton_graph
    from vesselgraph.metrics.summary import Interval as Interval
    from vesselgraph.metrics.summary import figures as figures
    from vesselgraph.metrics.summary import mean_interval as mean_interval
    from vesselgraph.metrics.summary import summarise as summarise

_HOME = {
    "Apls": "vesselgraph.metrics.path_similarity",
    "Diadem": "vesselgraph.metrics.diadem",
    "GraphScores": "vesselgraph.metrics.graph_scores",
    "IdentityScore": "vesselgraph.metrics.identity",
    "Interval": "vesselgraph.metrics.summary",
    "MaskScores": "vesselgraph.metrics.masks",
    "NetMets": "vesselgraph.metrics.connectivity",
    "OrderRecall": "vesselgraph.metrics.orders",
    "Pairs": "vesselgraph.metrics.matching",
    "RadiusError": "vesselgraph.metrics.graph_scores",
    "RivuletScore": "vesselgraph.metrics.rivulet",
    "Samples": "vesselgraph.metrics.sampling",
    "Score": "vesselgraph.metrics.matching",
    "apls": "vesselgraph.metrics.path_similarity",
    "betti_of_graph": "vesselgraph.metrics.graphs",
    "betti_of_mask": "vesselgraph.metrics.masks",
    "compare_graphs": "vesselgraph.metrics.graphs",
    "diadem_score": "vesselgraph.metrics.diadem",
    "draw_scores": "vesselgraph.metrics.figure",
    "evaluate_graphs": "vesselgraph.metrics.evaluation",
    "figures": "vesselgraph.metrics.summary",
    "mask_cldice": "vesselgraph.metrics.masks",
    "mask_scores": "vesselgraph.metrics.masks",
    "match_nearest_first": "vesselgraph.metrics.matching",
    "match_one_to_one": "vesselgraph.metrics.matching",
    "mean_interval": "vesselgraph.metrics.summary",
    "netmets": "vesselgraph.metrics.connectivity",
    "pairs_within": "vesselgraph.metrics.matching",
    "recall_by_order": "vesselgraph.metrics.orders",
    "rivulet_score": "vesselgraph.metrics.rivulet",
    "sample_graph": "vesselgraph.metrics.sampling",
    "skeleton_graph": "vesselgraph.metrics.skeleton",
    "street_mover_distance": "vesselgraph.metrics.mover",
    "summarise": "vesselgraph.metrics.summary",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import the home module of a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'vesselgraph.metrics' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return __all__
