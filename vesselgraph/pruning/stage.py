"""The pruning stage: over-complete graph in, believed graph out."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from vesselgraph import __version__
from vesselgraph.config import PruneConfig
from vesselgraph.edit import connected_components, find_roots, merge_degree_two, orient, split_edges, subset
from vesselgraph.errors import InputError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.progress import Progress, silent
from vesselgraph.pruning.choice import choose_judge
from vesselgraph.pruning.contacts import part_contacts
from vesselgraph.pruning.decision import Decision, decide
from vesselgraph.pruning.junctions import settle_junctions
from vesselgraph.pruning.naming import can_name, name_trees
from vesselgraph.pruning.swelling import swollen_points, without_bulbs
from vesselgraph.volume import Heatmap, Volume

KEPT, COLD, SPUR = "kept", "too little heat", "bump of a wider vessel"
ISOLATED, LOOP, TUNNEL = "separate and too short", "cold loop", "loop around no hole"
SWOLLEN = "swollen end"


def judge(
    graph: VesselGraph,
    config: PruneConfig | None = None,
    *,
    image: Volume | None = None,
    organ: Volume | None = None,
    heatmap: Heatmap | None = None,
    progress: Progress = silent,
) -> VesselGraph:
    """Return the graph, long branches cut into pieces, with a verdict on every branch.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete, with the path column ``heat`` in [0, 1].
    config : PruneConfig, optional
        Method, thresholds and costs.
    image, organ, heatmap : optional
        What the graph was traced from: the image, the organ (bool, on its grid) without the rim of the region, the heatmap. For
        the learned judge, as far as its weights were trained with features of them; without a heatmap "auto" means the rules
        (:func:`choose_judge`).
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    graph : VesselGraph
        Edge columns ``score`` (mean heat, or the learned presence, in [0, 1]), ``keep`` (bool) and ``reason`` (text: why it
        stays or goes). Learned: also ``presence``.

    Raises
    ------
    InputError
        The graph has no ``heat`` along its paths, or something the learned judge needs was not given.
    CheckpointError
        The weights of the learned judge are missing, damaged, or trained on other features.
    """
    config = config or PruneConfig()
    if graph.n_edges == 0:
        nothing = {"score": np.zeros(0), "keep": np.zeros(0, np.bool_), "reason": np.zeros(0, np.str_)}
        return graph.with_columns(edge=nothing)
    if "heat" not in graph.path_data:
        raise InputError("a path column `heat`", f"{sorted(graph.path_data)}", "make the graph with vesselgraph.trace")
    if choose_judge(config, graph, image, heatmap)[0] == "learned":
        # Loads torch and torch-geometric, which the rules do without.
        learned = import_module("vesselgraph.pruning.learned")
        judged = learned.judge_learned(graph, config, image=image, organ=organ, heatmap=heatmap, progress=progress)
        return _without_swollen_ends(judged)
    progress("weigh branches", 0.0)
    pieces, _ = split_edges(graph, max_length=config.piece_length)
    heat = pieces.path_data["heat"]
    decision = decide(pieces, heat, config, config.min_heat)
    reason = _reasons(pieces, decision, config)
    judged = pieces.with_columns(edge={"score": _mean_per_branch(pieces, heat), "keep": decision.keep, "reason": reason})
    if "wall_step" not in pieces.edge_data:
        # The wall of a mask bounds its ends.
        judged = _without_swollen_ends(judged)
    progress("weigh branches", 1.0)
    return judged


def _without_swollen_ends(judged: VesselGraph) -> VesselGraph:
    """Return the judged graph cut where free ends begin to swell, their tails no longer kept."""
    swollen = swollen_points(judged, judged.edge_data["keep"])
    if not swollen.any():
        return judged
    inner = np.ones(judged.n_points, np.bool_)
    inner[judged.path_offset[:-1]] = inner[judged.path_offset[1:] - 1] = False
    beside = np.zeros(judged.n_points, np.bool_)
    beside[:-1] |= swollen[1:]
    beside[1:] |= swollen[:-1]
    marked = judged.with_columns(path={"swollen": swollen})
    pieces, _ = split_edges(marked, at=np.flatnonzero(inner & beside & ~swollen))
    # The point where a piece was cut is not swollen itself.
    tail = pieces.edge_data["keep"] & (np.bincount(pieces.edge_of_point, pieces.path_data["swollen"], pieces.n_edges) > 0)
    reason = np.where(tail, SWOLLEN, pieces.edge_data["reason"])
    path = {name: column for name, column in pieces.path_data.items() if name != "swollen"}
    return replace(pieces, path_data=path).with_columns(
        edge={"keep": pieces.edge_data["keep"] & ~tail, "reason": reason.astype(np.str_)}
    )


def prune(
    graph: VesselGraph,
    config: PruneConfig | None = None,
    *,
    organ: Volume | None = None,
    heatmap: Heatmap | None = None,
    progress: Progress = silent,
) -> VesselGraph:
    """Return the rooted trees of the branches that are believed.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete; one that :func:`judge` has returned (with a ``keep`` column) is taken as judged.
    config : PruneConfig, optional
        Thresholds and costs.
    organ, heatmap : optional
        The whole liver (bool, without the rim of the region) and the heatmap. With both, and a heatmap of a network, the trees
        are named (:func:`~vesselgraph.pruning.naming.can_name`).
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    graph : VesselGraph
        Branches run away from their root. Node columns ``root`` and, if not from a mask, ``contact``: where trees that
        touched were parted. Edge columns ``tree_id`` (1... by falling length) and ``score``; learned also ``presence``. Named
        trees have the edge columns ``tree`` (1 portal, 2 hepatic, 3 artery, 0 not clear) and ``tree_confidence``, and trees
        of different names do not meet. Of the rules, loops whose every point is hot stay, unless they
        are too narrow for a hole between their vessels.

    Raises
    ------
    InputError
        The graph has no ``heat`` along its paths.
    """
    config = config or PruneConfig()
    judged = graph if "keep" in graph.edge_data else judge(graph, config, progress=progress)
    kept, _ = subset(judged, edges=judged.edge_data["keep"].astype(bool), drop_isolated=True)
    kept = _without(kept, {"keep", "reason"})
    merged = settle_junctions(merge_degree_two(kept)[0])
    if "wall_step" not in merged.edge_data:
        # What a mask shows to hang together is one tree.
        merged = without_bulbs(merged)
        if organ is not None and heatmap is not None and can_name(organ, heatmap):
            merged = name_trees(merged, organ, heatmap)
        else:
            merged = part_contacts(merged)
    root = np.zeros(merged.n_nodes, np.bool_)
    root[find_roots(merged)] = True
    component = connected_components(merged)
    tree = component[merged.edge_nodes[:, 0]] + 1
    rooted = orient(merged.with_columns(node={"root": root}, edge={"tree_id": tree}))
    return rooted.with_step(Step("prune", config.digest(), __version__))


def _without(graph: VesselGraph, names: set[str]) -> VesselGraph:
    columns = {name: column for name, column in graph.edge_data.items() if name not in names}
    return replace(graph, edge_data=columns)


def _mean_per_branch(graph: VesselGraph, values: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.bincount(graph.edge_of_point, values, graph.n_edges)
    return np.asarray(total / np.maximum(np.diff(graph.path_offset), 1))


def _reasons(graph: VesselGraph, decision: Decision, config: PruneConfig) -> NDArray[np.str_]:
    keep = decision.keep
    alive = np.zeros(graph.n_nodes, np.bool_)
    alive[graph.edge_nodes[keep].ravel()] = True
    warm = _mean_per_branch(graph, graph.path_data["heat"]) >= config.min_heat
    attached = alive[graph.edge_nodes].any(axis=1)
    cases = [keep, decision.tunnel, ~decision.forest.is_tree_edge, warm & attached, warm]
    reason = np.select(cases, [KEPT, TUNNEL, LOOP, SPUR, ISOLATED], default=COLD)
    return np.asarray(reason, dtype=np.str_)
