"""What the learned pruner is told about every piece of a branch, in named groups that can be switched off one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesselgraph import encoders
from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.polyline import mean_along, tortuosity
from vesselgraph.pruning.branch_graph import BranchGraph, mean_width
from vesselgraph.pruning.surroundings import BORDER, Surroundings, sample
from vesselgraph.space import FloatArray

MEASURED = ("heat", "geometry", "position", "evidence", "contrast", "region", "place")
"""Feature groups that need no learned maps, in the order of their columns."""

GROUPS = (*MEASURED, "network", "encoder")
"""All feature groups in the order of their columns."""

_GENERATOR_BITS = (1, 2, 4, 8)
_STICKS_OUT = 30.0
_CONTRAST = 10.0
# Pieces are compared with those of about their radius, in so many classes.
_N_WIDTHS = 12
# The weight of a piece without heat, beside 1 of a hot one.
_COLD = 1e-3
# What lies one piece further up towards the root counts this much less.
_FADE = 0.9
_BODY = 100.0
_N_TREES = 3


def piece_features(
    graph: BranchGraph, surroundings: Surroundings, groups: Sequence[str] = MEASURED
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the features of every piece, (P, F), and their names: group, dot, feature.

    Parameters
    ----------
    graph : BranchGraph
        Pieces with the columns the tracer writes.
    surroundings : Surroundings
        Noise, organ border, network and encoder maps.
    groups : sequence of str
        Which of :data:`GROUPS`; "contrast" needs an image, "region" an organ, "network" the heatmap network's maps, "encoder"
        those of a frozen encoder.

    Raises
    ------
    InputError
        A group does not exist or what it needs is missing; features are never filled with zeros instead.
    """
    unknown = set(groups) - set(GROUPS)
    if unknown:
        raise InputError(f"feature groups among {', '.join(GROUPS)}", ", ".join(sorted(unknown)), "correct the names")
    makers = {
        "heat": lambda: _heat(graph.pieces),
        "geometry": lambda: _geometry(graph),
        "position": lambda: _position(graph),
        "evidence": lambda: _evidence(graph),
        "contrast": lambda: _contrast(graph, surroundings),
        "region": lambda: _region(graph.pieces, surroundings),
        "place": lambda: _place(graph, surroundings),
        "network": lambda: _network(graph, surroundings),
        "encoder": lambda: _encoder(graph, surroundings),
    }
    columns: dict[str, FloatArray] = {}
    for group in GROUPS:
        if group in groups:
            columns.update({f"{group}.{name}": column for name, column in makers[group]().items()})
    values = np.stack([np.asarray(column, np.float32) for column in columns.values()], axis=1)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), tuple(columns)


def _spread(values: FloatArray, graph: VesselGraph) -> dict[str, FloatArray]:
    """Return quartiles, extremes and the mean of a point value over every piece."""
    owner, n = graph.edge_of_point, graph.n_edges
    order = np.lexsort((values, owner))
    ranked, start, size = values[order], graph.path_offset[:-1], np.diff(graph.path_offset)

    def at(share: float) -> FloatArray:
        return np.asarray(ranked[start + np.floor(share * (size - 1) + 0.5).astype(np.int64)])

    mean = np.bincount(owner, values, n) / size
    return {
        "mean": mean,
        "min": at(0.0),
        "q25": at(0.25),
        "q75": at(0.75),
        "max": at(1.0),
    }


def _heat(pieces: VesselGraph) -> dict[str, FloatArray]:
    columns = _spread(pieces.path_data["heat"], pieces)
    return {**columns, "rank": _rank(columns["mean"], pieces.edge_length)}


def _rank(values: FloatArray, length: FloatArray) -> FloatArray:
    """Return which share of the whole length has smaller values, (P,): a figure that contrast and noise do not shift."""
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values))
    rank[order] = np.cumsum(length[order]) / max(float(length.sum()), 1e-9)
    return rank


def _geometry(graph: BranchGraph) -> dict[str, FloatArray]:
    pieces = graph.pieces
    branch_length = np.bincount(graph.branch, pieces.edge_length)[graph.branch]
    degree = pieces.degree[pieces.edge_nodes]
    start, end = pieces.path_radius[pieces.path_offset[:-1]], pieces.path_radius[pieces.path_offset[1:] - 1]
    down = np.where(graph.parent_node == pieces.edge_nodes[:, 0], 1.0, -1.0)
    parent_radius = pieces.node_radius[graph.parent_node]
    return {
        "length": np.log1p(pieces.edge_length),
        "branch_length": np.log1p(branch_length),
        "radius": np.log(mean_width(pieces)),
        "taper": down * np.log(end / start),
        "radius_share": np.log(mean_width(pieces) / parent_radius),
        "length_share": np.minimum(branch_length / parent_radius, 20.0),
        "tortuosity": np.minimum(tortuosity(pieces.path_position, pieces.path_offset), 3.0),
        "free_ends": (degree == 1).sum(axis=1),
        "meeting": np.minimum(degree.sum(axis=1), 8),
    }


def _position(graph: BranchGraph) -> dict[str, FloatArray]:
    """Return where a piece stands in its tree: how far from the root, how much hangs on it, how large the tree is."""
    pieces, forest = graph.pieces, graph.forest
    length, hot = pieces.edge_length, pieces.edge_length * _spread(pieces.path_data["heat"], pieces)["mean"]
    below, hot_below, depth = np.zeros(pieces.n_nodes), np.zeros(pieces.n_nodes), np.zeros(pieces.n_nodes)
    root = np.arange(pieces.n_nodes)
    for node in forest.order.tolist():
        edge = forest.parent_edge[node]
        if edge >= 0:
            above = forest.parent_node[node]
            depth[node], root[node] = depth[above] + length[edge], root[above]
    for node in forest.order[::-1].tolist():
        edge = forest.parent_edge[node]
        if edge >= 0:
            above = forest.parent_node[node]
            below[above] += below[node] + length[edge]
            hot_below[above] += hot_below[node] + hot[edge]
    child_node = _child_node(graph)
    in_tree = forest.is_tree_edge
    return {
        "depth": np.log1p(depth[graph.parent_node]),
        "below": np.log1p(np.where(in_tree, below[child_node], 0.0)),
        "hot_below": np.log1p(np.where(in_tree, hot_below[child_node], 0.0)),
        "tree_size": np.log1p(hot_below[root[graph.parent_node]]),
        "in_tree": in_tree.astype(np.float64),
    }


def _evidence(graph: BranchGraph) -> dict[str, FloatArray]:
    pieces = graph.pieces
    branch_length = np.bincount(graph.branch, pieces.edge_length)[graph.branch]
    generator = pieces.edge_data["generator"].astype(np.int64)
    columns = {f"generator_{bit}": ((generator & bit) > 0).astype(np.float64) for bit in _GENERATOR_BITS}
    columns["gap_length"] = np.log1p(pieces.edge_data["gap_length"])
    columns["branch_min_heat"] = pieces.edge_data["min_heat"]
    columns["branch_mean_heat"] = pieces.edge_data["mean_heat"]
    columns["cost"] = np.log1p(pieces.edge_data["path_cost"] / np.maximum(branch_length, 1e-3))
    columns["protrusion"] = np.clip(pieces.edge_data["protrusion"], -_STICKS_OUT, _STICKS_OUT)
    columns["curvature"] = _mean_of_points(pieces.path_data["curvature"], pieces)
    if "radius_measured" in pieces.path_data:
        columns["measured"] = _mean_of_points(pieces.path_data["radius_measured"].astype(np.float64), pieces)
    return columns


def _mean_of_points(values: FloatArray, graph: VesselGraph) -> FloatArray:
    return np.asarray(np.add.reduceat(values, graph.path_offset[:-1]) / np.diff(graph.path_offset))


def _contrast(graph: BranchGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    pieces = graph.pieces
    if "contrast" not in pieces.path_data or surroundings.image is None or not surroundings.noise > 0:
        raise InputError(
            "the contrast along the paths and the noise of the image",
            f"path columns {sorted(pieces.path_data)}, noise {surroundings.noise:g}",
            "trace with an image, or leave out the feature group `contrast`",
        )
    columns = _spread(np.clip(pieces.path_data["contrast"] / surroundings.noise, -_CONTRAST, _CONTRAST), pieces)
    columns["rank"] = _rank(columns["mean"], pieces.edge_length)
    image = surroundings.image
    value = _spread(sample(image.array[None], image, pieces.path_position)[:, 0], pieces)["q75"]
    brighter = np.clip((value - _usual(value, graph)) / surroundings.noise, -_CONTRAST, _CONTRAST)
    around = _along_forest(graph, brighter[:, None])
    return {**columns, "brighter": brighter, **{f"brighter_{where}": mean[:, 0] for where, mean in around.items()}}


def _usual(value: FloatArray, graph: BranchGraph) -> FloatArray:
    """Return the mean of a value over the hot pieces of about the same radius, (P,)."""
    log_radius, weight = np.log(mean_width(graph.pieces)), _weight(graph)
    order = np.argsort(log_radius, kind="stable")
    share = np.cumsum(weight[order])
    which = np.minimum((share / max(share[-1], 1e-9) * _N_WIDTHS).astype(np.int64), _N_WIDTHS - 1)
    total = np.maximum(np.bincount(which, weight[order], _N_WIDTHS), 1e-9)
    middle = np.bincount(which, weight[order] * log_radius[order], _N_WIDTHS) / total
    mean = np.bincount(which, weight[order] * value[order], _N_WIDTHS) / total
    used = np.bincount(which, minlength=_N_WIDTHS) > 0
    return np.asarray(np.interp(log_radius, middle[used], mean[used]))


def _weight(graph: BranchGraph) -> FloatArray:
    """Return what a piece counts among others, (P,): its length, by its heat squared."""
    return np.asarray(graph.pieces.edge_length * (_spread(graph.pieces.path_data["heat"], graph.pieces)["mean"] ** 2 + _COLD))


def _along_forest(graph: BranchGraph, values: FloatArray) -> dict[str, FloatArray]:
    """Return the weighted means of values (P, C) over a piece and all that hangs on it, and over its way to the root."""
    forest, n = graph.forest, graph.pieces.n_nodes
    weight = _weight(graph)[:, None]
    weighted = np.concatenate([values * weight, weight], axis=1)
    below, above = np.zeros((n, weighted.shape[1])), np.zeros((n, weighted.shape[1]))
    edge, parent = forest.parent_edge, forest.parent_node
    for node in forest.order[::-1].tolist():
        if edge[node] >= 0:
            below[node] += weighted[edge[node]]
            below[parent[node]] += below[node]
    for node in forest.order.tolist():
        if edge[node] >= 0:
            above[node] = _FADE * above[parent[node]] + weighted[edge[node]]
    child = _child_node(graph)
    in_tree = forest.is_tree_edge[:, None]
    sums = {"below": np.where(in_tree, below[child], weighted), "above": np.where(in_tree, above[child], weighted)}
    return {name: total[:, :-1] / np.maximum(total[:, -1:], 1e-9) for name, total in sums.items()}


def _child_node(graph: BranchGraph) -> IntArray:
    """Return the end of each piece that is farther from its root, (P,)."""
    ends = graph.pieces.edge_nodes
    return np.where(graph.parent_node == ends[:, 0], ends[:, 1], ends[:, 0])


def _region(pieces: VesselGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    if surroundings.depth is None:
        raise InputError("an organ mask", "none", "give a mask, or leave out the feature group `region`")
    depth = sample(surroundings.depth.array[None], surroundings.depth, pieces.path_position)[:, 0]
    mean = mean_along(depth, pieces.path_position, pieces.path_offset)
    outside = mean_along((depth < 0).astype(np.float64), pieces.path_position, pieces.path_offset)
    return {"border": np.clip(mean, -BORDER, BORDER), "organ_depth": mean, "outside": outside}


def _place(graph: BranchGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    """Return where in the organ a piece and its root lie and where it runs, along the patient's axes."""
    if surroundings.bounds is None:
        raise InputError("an organ mask", "none", "give a mask, or leave out the feature group `place`")
    pieces, (low, high) = graph.pieces, surroundings.bounds
    child = pieces.node_position[_child_node(graph)]
    start = pieces.node_position[graph.parent_node]
    chord = child - start
    root = np.arange(pieces.n_nodes)
    for node in graph.forest.order.tolist():
        if graph.forest.parent_edge[node] >= 0:
            root[node] = root[graph.forest.parent_node[node]]
    root_position = pieces.node_position[root[graph.parent_node]]
    vectors = {
        "from_low": (0.5 * (start + child) - low) / _BODY,
        "to_high": (high - 0.5 * (start + child)) / _BODY,
        "along": chord / np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-9),
        "from_root": (child - root_position) / _BODY,
    }
    return {f"{name}_{axis}": vector[:, k] for name, vector in vectors.items() for k, axis in enumerate("xyz")}


def _network(graph: BranchGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    pieces = graph.pieces
    if surroundings.maps is None or surroundings.maps_space is None:
        raise InputError("feature maps of the heatmap network", "none", "use a heatmap of the network")
    values = sample(surroundings.maps, surroundings.maps_space, pieces.path_position)
    start, size = pieces.path_offset[:-1], np.diff(pieces.path_offset)[:, None]
    mean, highest = np.add.reduceat(values, start, axis=0) / size, np.maximum.reduceat(values, start, axis=0)
    ends = 0.5 * (values[start] + values[pieces.path_offset[1:] - 1])
    blocks = {"mean": mean, "max": highest, "ends": ends}
    # The maps of identity come first.
    blocks |= _along_forest(graph, mean[:, :_N_TREES])
    return {f"{k}_{name}": block[:, k] for name, block in blocks.items() for k in range(block.shape[1])}


def _encoder(graph: BranchGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    if surroundings.encoded is None:
        raise InputError("what a frozen encoder sees in the image", "none", "give the image, or leave out the group `encoder`")
    # Loads torch, which the other groups do without.
    values, names = encoders.branch_features(surroundings.encoded, graph.pieces, outside="nearest")
    return dict(zip(names, values.T.astype(np.float64), strict=True))
