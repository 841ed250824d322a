"""Graph in, graph out: subset, split, merge, resample, turn and reorder branches. Nothing is changed in place."""

from __future__ import annotations

from vesselgraph.edit.merge import merge_degree_two
from vesselgraph.edit.parts import Kept, connected_components, orient, relabel, reverse, subset
from vesselgraph.edit.paths import resample, split_edges
from vesselgraph.edit.roots import find_roots, given_roots, require_near_region, root_points, root_trees, roots_of_branches

__all__ = [
    "Kept",
    "connected_components",
    "find_roots",
    "given_roots",
    "merge_degree_two",
    "orient",
    "relabel",
    "require_near_region",
    "resample",
    "reverse",
    "root_points",
    "root_trees",
    "roots_of_branches",
    "split_edges",
    "subset",
]
