"""What the learned pruner is told about every piece of a branch, in named groups that can be switched off one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.errors import InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.polyline import mean_along, tortuosity
from vesselgraph.pruning.branch_graph import BranchGraph, mean_width
from vesselgraph.space import FloatArray
from vesselgraph.volume import Heatmap, Volume

GROUPS = ("heat", "geometry", "position", "evidence", "contrast", "region", "network")
"""Feature groups in the order of their columns."""

_GENERATOR_BITS = (1, 2, 4, 8)
_BORDER = 10.0
_FAR = 50.0
_STICKS_OUT = 30.0


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What else is known where a graph was traced.

    Attributes
    ----------
    noise : float
        Robust standard deviation of the image inside the organ, in its units; contrast is counted in it. 0 if unknown.
    depth : Volume or None
        mm to the border of the organ, positive inside.
    maps : NDArray or None
        (C, planes, rows, columns) identity and features of the heatmap network.
    maps_space : Volume or None
        A volume on the grid of ``maps``.
    """

    noise: float = 0.0
    depth: Volume | None = None
    maps: NDArray[np.floating] | None = None
    maps_space: Volume | None = None


def measure_surroundings(image: Volume | None, organ: Volume | None, heatmap: Heatmap | None = None) -> Surroundings:
    """Return the noise of an image inside an organ, the distance to the organ's border, and what a network saw.

    Parameters
    ----------
    image : Volume, optional
        CT.
    organ : Volume, optional
        bool on the grid of the image; without one the noise is that of the whole image and ``depth`` is None.
    heatmap : Heatmap, optional
        Of a network: its identity and feature maps are taken.

    Raises
    ------
    InputError
        The organ is empty.
    """
    depth = None
    inside = np.ones((), np.bool_)
    if organ is not None:
        inside = organ.array.astype(np.bool_)
        if not inside.any():
            raise InputError("an organ mask with voxels in it", "an empty mask", "check the mask")
        depth = _signed_depth(organ)
    noise = 0.0
    if image is not None:
        values = image.array[np.broadcast_to(inside, image.shape)]
        noise = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    if heatmap is None or heatmap.features is None or heatmap.identity is None:
        return Surroundings(noise, depth)
    return Surroundings(noise, depth, np.concatenate([heatmap.identity, heatmap.features]), heatmap.heat)


def _signed_depth(organ: Volume) -> Volume:
    """Return mm to the border of the organ, positive inside, cut to -10..50, on the box around it."""
    spacing = organ.space.spacing
    pad = np.ceil(_BORDER / spacing).astype(np.int64) + 1
    first, last = [], []
    for axis, axes in enumerate(((1, 2), (0, 2), (0, 1))):
        occupied = np.flatnonzero(organ.array.any(axis=axes))
        first.append(max(0, int(occupied[0] - pad[axis])))
        last.append(min(organ.shape[axis], int(occupied[-1] + 1 + pad[axis])))
    box = organ.crop((first[0], first[1], first[2]), (last[0], last[1], last[2]))
    inside = box.array.astype(np.bool_)
    if inside.all():
        # The whole field of view: there is no border.
        return box.with_array(np.full(box.shape, _FAR, np.float32))
    signed = ndimage.distance_transform_edt(inside, sampling=spacing)
    signed -= ndimage.distance_transform_edt(~inside, sampling=spacing)
    return box.with_array(np.clip(signed, -_BORDER, _FAR).astype(np.float32))


def piece_features(
    graph: BranchGraph, surroundings: Surroundings, groups: Sequence[str] = GROUPS[:-1]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the features of every piece, (P, F), and their names: group, dot, feature.

    Parameters
    ----------
    graph : BranchGraph
        Pieces with the columns the tracer writes.
    surroundings : Surroundings
        Noise, organ border, network maps.
    groups : sequence of str
        Which of :data:`GROUPS`; "contrast" needs an image, "region" an organ, "network" feature maps.

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
        "contrast": lambda: _contrast(graph.pieces, surroundings),
        "region": lambda: _region(graph.pieces, surroundings),
        "network": lambda: _network(graph.pieces, surroundings),
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
    child_node = np.where(graph.parent_node == pieces.edge_nodes[:, 0], pieces.edge_nodes[:, 1], pieces.edge_nodes[:, 0])
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


def _contrast(pieces: VesselGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    if "contrast" not in pieces.path_data or not surroundings.noise > 0:
        raise InputError(
            "the contrast along the paths and the noise of the image",
            f"path columns {sorted(pieces.path_data)}, noise {surroundings.noise:g}",
            "trace with an image, or leave out the feature group `contrast`",
        )
    columns = _spread(np.clip(pieces.path_data["contrast"] / surroundings.noise, -10.0, 10.0), pieces)
    return {**columns, "rank": _rank(columns["mean"], pieces.edge_length)}


def _region(pieces: VesselGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    if surroundings.depth is None:
        raise InputError("an organ mask", "none", "give a mask, or leave out the feature group `region`")
    depth = sample(surroundings.depth.array[None], surroundings.depth, pieces.path_position)[:, 0]
    mean = mean_along(depth, pieces.path_position, pieces.path_offset)
    outside = mean_along((depth < 0).astype(np.float64), pieces.path_position, pieces.path_offset)
    return {"border": np.clip(mean, -_BORDER, _BORDER), "organ_depth": mean, "outside": outside}


def _network(pieces: VesselGraph, surroundings: Surroundings) -> dict[str, FloatArray]:
    if surroundings.maps is None or surroundings.maps_space is None:
        raise InputError("feature maps of the heatmap network", "none", "use a heatmap of the network")
    values = sample(surroundings.maps, surroundings.maps_space, pieces.path_position)
    start, size = pieces.path_offset[:-1], np.diff(pieces.path_offset)[:, None]
    mean, highest = np.add.reduceat(values, start, axis=0) / size, np.maximum.reduceat(values, start, axis=0)
    ends = 0.5 * (values[start] + values[pieces.path_offset[1:] - 1])
    columns = {}
    for name, block in (("mean", mean), ("max", highest), ("ends", ends)):
        columns.update({f"{k}_{name}": block[:, k] for k in range(values.shape[1])})
    return columns


def sample(maps: NDArray[np.floating], grid: Volume, position: FloatArray) -> FloatArray:
    """Return the trilinear values of maps (C, planes, rows, columns) at world points, (M, C); the border goes on outside."""
    index = grid.space.to_index(position).T
    # The maps of the network are halves, which the interpolation does not take.
    columns = [ndimage.map_coordinates(np.asarray(one, np.float32), index, order=1, mode="nearest") for one in maps]
    return np.stack(columns, axis=1).astype(np.float64)
