"""Graph in, graph out: subset, split, merge, resample, turn and reorder branches. Nothing is changed in place."""

from __future__ import annotations

from vesselgraph.edit.merge import merge_degree_two
from vesselgraph.edit.parts import Kept, connected_components, orient, relabel, reverse, subset
from vesselgraph.edit.paths import resample, split_edges

__all__ = [
    "Kept",
    "connected_components",
    "merge_degree_two",
    "orient",
    "relabel",
    "resample",
    "reverse",
    "split_edges",
    "subset",
]
