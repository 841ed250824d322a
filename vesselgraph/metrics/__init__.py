"""A predicted graph or mask against the truth: definitions in ``docs/metrics.md``."""

from __future__ import annotations

from vesselgraph.metrics.graphs import GraphScores, RadiusError, betti_of_graph, compare_graphs
from vesselgraph.metrics.matching import Score, match_one_to_one
from vesselgraph.metrics.sampling import Samples, sample_graph

__all__ = [
    "GraphScores",
    "RadiusError",
    "Samples",
    "Score",
    "betti_of_graph",
    "compare_graphs",
    "match_one_to_one",
    "sample_graph",
]
