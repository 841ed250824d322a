"""Where trees start: by rule, by the user's clicks, or by labels of known vessels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import cKDTree

from vesselgraph.edit.parts import orient
from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.topology import component_labels, grow_forest
from vesselgraph.volume import Volume

# Calibre of an end: the median radius over so many mm of its branch.
_END_LENGTH = 5.0
# An end this deep in the organ (mm) counts half of its calibre.
_HALF_DEPTH = 20.0


def find_roots(
    graph: VesselGraph,
    *,
    points: ArrayLike | None = None,
    labels: Volume | None = None,
    organ: Volume | None = None,
    max_distance: float = 20.0,
) -> IntArray:
    """Return the nodes trees grow from, sorted: given ones first of all, and one by rule for every piece without any.

    A piece with several given roots holds several trees that touch.

    Parameters
    ----------
    graph : VesselGraph
        Any; isolated nodes get no root.
    points : (P, 3) mm, optional
        World LPS positions a user clicked: each takes the nearer end of the nearest branch.
    labels : Volume, optional
        Integers; every value but 0 names a vessel (a portal trunk, a cava). Each takes the widest node in its voxels, or that
        of the nearest branch.
    organ : Volume, optional
        bool. The rule then prefers ends near its border, where trunks come in: an end counts its calibre over
        1 + depth / 20 mm.
    max_distance : mm
        Farthest a given point or label may be from the nearest branch.

    Returns
    -------
    roots : (R,)
        Node ids. By rule the free end with the largest calibre (median radius of the last 5 mm); in a piece without free ends
        the node with the largest radius. Unknown radii count as 0. An end where a tree was parted from another (node column
        ``contact``) is no free end.

    Raises
    ------
    InputError
        A point is not three finite numbers, a label no whole number, or one of them is farther from every branch than
        ``max_distance``.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]], radii=[[1.0, 2.0]])
    >>> find_roots(graph).tolist(), find_roots(graph, points=[[1, 0, 0]]).tolist()
    ([1], [0])
    """
    given = given_roots(graph, points=points, labels=labels, max_distance=max_distance)
    piece = component_labels(graph.edge_nodes, graph.n_nodes)
    open_pieces = ~np.isin(piece, piece[given]) & (graph.degree > 0)
    return np.unique(np.array([*given, *_by_rule(graph, piece, open_pieces, organ)], dtype=np.int64))


def given_roots(
    graph: VesselGraph, *, points: ArrayLike | None = None, labels: Volume | None = None, max_distance: float = 20.0
) -> IntArray:
    """Return the node of each root that a user gave: of the points in their order, then of the labels by rising value.

    Parameters
    ----------
    graph, points, labels, max_distance
        As of :func:`find_roots`.

    Raises
    ------
    InputError
        As :func:`find_roots`.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]])
    >>> given_roots(graph, points=[[8, 0, 0], [1, 0, 0]]).tolist()
    [1, 0]
    """
    usable = np.flatnonzero(graph.degree > 0)
    clicks = root_points(points)
    given = [_nearest(graph, click[None], f"the point {click.round(1).tolist()}", max_distance) for click in clicks]
    for value in [] if labels is None else _values(labels):
        assert labels is not None
        voxels = labels.space.to_world(np.argwhere(labels.array == value).astype(np.float64))
        given.append(_in_label(graph, usable, voxels, labels, f"label {value:g}", max_distance))
    return np.array(given, dtype=np.int64)


def root_points(points: ArrayLike | None, bounds: FloatArray | None = None) -> FloatArray:
    """Return positions as (P, 3), of one or of several, or of none.

    Parameters
    ----------
    points : (P, 3) or (3,) mm, optional
        World LPS.
    bounds : (2, 3) mm, optional
        Box they must lie in.

    Raises
    ------
    InputError
        One is not three finite numbers, or outside of the box.

    Examples
    --------
    >>> root_points([1, 2, 3]).tolist(), root_points(None).shape
    ([[1.0, 2.0, 3.0]], (0, 3))
    """
    if points is None or not np.size(points):
        return np.zeros((0, 3))
    clicks = np.atleast_2d(np.asarray(points, dtype=np.float64))
    if clicks.ndim != 2 or clicks.shape[1] != 3 or not np.isfinite(clicks).all():
        raise InputError("roots as x, y, z in world LPS millimetres", f"{clicks.tolist()}", "pass three finite numbers each")
    outside = clicks if bounds is None else clicks[((clicks < bounds[0]) | (clicks > bounds[1])).any(axis=1)]
    if bounds is not None and len(outside):
        box = ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, low, high in zip("xyz", *bounds, strict=True))
        raise InputError(
            f"roots in the image ({box} mm)",
            f"{outside[0].tolist()}",
            "give them in world LPS millimetres; from RAS negate x and y",
        )
    return clicks


def require_near_region(points: FloatArray, region: Volume, max_distance: float = 20.0) -> None:
    """Check, before any vessel is known, that roots lie where one can be: in a region or close to it.

    Parameters
    ----------
    points : (P, 3) mm
        World LPS; see :func:`root_points`.
    region : Volume
        bool. Vessels are looked for where it is True.
    max_distance : mm
        As of :func:`find_roots`: a trunk may be clicked just outside of its organ.

    Raises
    ------
    InputError
        A point is farther from the region.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> region = Volume(np.ones((4, 4, 4), np.bool_), Space.axial())
    >>> require_near_region(root_points([[9, 0, 0]]), region)
    """
    reach = np.ceil(max_distance / region.space.spacing)
    for point in points:
        place = region.space.to_index(point)
        low, high = np.clip([place - reach, place + reach + 1], 0, region.shape).astype(np.int64)
        box = region.array[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        near = np.argwhere(box) + low
        apart = np.linalg.norm(region.space.to_world(near.astype(np.float64)) - point, axis=1)
        if not (apart <= max_distance).any():
            raise InputError(
                f"roots within {max_distance:g} mm of the region in which vessels are looked for",
                f"{point.round(1).tolist()}, {_far_from(region, point)}",
                "click on a vessel of this organ, or give the mask of the organ that is meant",
            )


def _far_from(region: Volume, point: FloatArray) -> str:
    inside = np.argwhere(region.array)
    if not len(inside):
        return "and an empty region"
    apart = np.linalg.norm(region.space.to_world(inside.astype(np.float64)) - point, axis=1)
    return f"{apart.min():.1f} mm away from it"


def root_trees(
    graph: VesselGraph,
    *,
    points: ArrayLike | None = None,
    labels: Volume | None = None,
    organ: Volume | None = None,
    max_distance: float = 20.0,
) -> VesselGraph:
    """Return the graph with the roots that :func:`find_roots` finds and every branch running away from its root.

    Where touching trees form one piece with a root each, a branch belongs to the root it is nearer to along the vessels.

    Parameters
    ----------
    graph : VesselGraph
        Usually pruned; its own roots do not matter.
    points, labels, organ, max_distance
        As of :func:`find_roots`.

    Returns
    -------
    graph : VesselGraph
        Node column ``root``. Edge column ``tree_id``: as it was, but 1... by falling length if there was none or a piece
        holds several roots.

    Raises
    ------
    InputError
        As :func:`find_roots`.

    Examples
    --------
    >>> line = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]], [[9, 0, 0], [30, 0, 0]]])
    >>> both = root_trees(line, points=[[0, 0, 0], [30, 0, 0]])
    >>> both.edge_nodes.tolist(), both.edge_data["tree_id"].tolist()
    ([[0, 1], [2, 1]], [2, 1])
    """
    roots = find_roots(graph, points=points, labels=labels, organ=organ, max_distance=max_distance)
    is_root = np.zeros(graph.n_nodes, np.bool_)
    is_root[roots] = True
    rooted = orient(graph.with_columns(node={"root": is_root}))
    piece = component_labels(graph.edge_nodes, graph.n_nodes)
    if "tree_id" in graph.edge_data and len(np.unique(piece[roots])) == len(roots):
        return rooted
    return rooted.with_columns(edge={"tree_id": _tree_of_branch(rooted, roots)})


def roots_of_branches(graph: VesselGraph) -> IntArray:
    """Return the root that each branch of a rooted graph grows from, (E,): the nearest along the vessels.

    Parameters
    ----------
    graph : VesselGraph
        With the node column ``root`` and its branches running away from the roots: that of :func:`root_trees`.

    Examples
    --------
    >>> line = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]], [[9, 0, 0], [30, 0, 0]]])
    >>> roots_of_branches(root_trees(line, points=[[0, 0, 0], [30, 0, 0]])).tolist()
    [0, 2]
    """
    roots = np.flatnonzero(graph.node_data["root"])
    forest = grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, roots)
    owner = np.arange(graph.n_nodes)
    for node in forest.order:
        if forest.parent_node[node] >= 0:
            owner[node] = owner[forest.parent_node[node]]
    # The last branch between two trees may end nearer to its root than it starts.
    return owner[graph.edge_nodes[:, 0]]


def _tree_of_branch(graph: VesselGraph, roots: IntArray) -> IntArray:
    """Return the tree of each branch, (E,), by the root its start grows from: 1... by falling length."""
    tree = np.searchsorted(roots, roots_of_branches(graph))
    length = np.bincount(tree, graph.edge_length, len(roots))
    rank = np.empty(len(roots), np.int64)
    rank[np.argsort(-length, kind="stable")] = np.arange(1, len(roots) + 1)
    return rank[tree]


def _values(labels: Volume) -> list[float]:
    values = np.unique(labels.array[labels.array != 0])
    if not np.array_equal(values, np.rint(values)):
        raise InputError("root labels that are whole numbers", "fractions or NaN", "pass a label image, not probabilities")
    return values.tolist()


def _nearest(graph: VesselGraph, where: FloatArray, what: str, max_distance: float) -> int:
    """Return the end of the nearest branch that is nearer to the places."""
    tree = cKDTree(where)
    distance = tree.query(graph.path_position)[0] if graph.n_points else np.array([np.inf])
    if distance.min() > max_distance:
        far = f"the nearest vessel is {distance.min():.1f} mm away" if graph.n_points else "there is no vessel at all"
        raise InputError(
            f"a vessel within {max_distance:g} mm of {what}",
            far,
            "check that it is in world LPS millimetres of the same patient",
        )
    ends = graph.edge_nodes[graph.edge_of_point[np.argmin(distance)]]
    return int(ends[np.argmin(tree.query(graph.node_position[ends])[0])])


def _in_label(graph: VesselGraph, usable: IntArray, voxels: FloatArray, labels: Volume, what: str, max_distance: float) -> int:
    half = 0.5 * float(np.linalg.norm(labels.space.spacing))
    inside = usable[cKDTree(voxels).query(graph.node_position[usable])[0] <= half] if len(usable) else usable
    if len(inside):
        return int(inside[np.argmax(np.nan_to_num(graph.node_radius[inside]))])
    return _nearest(graph, voxels, what, max_distance)


def _by_rule(graph: VesselGraph, piece: IntArray, wanted: np.ndarray, organ: Volume | None) -> list[int]:
    contact = graph.node_data.get("contact", np.zeros(graph.n_nodes, np.bool_)).astype(bool)
    score = np.where((graph.degree == 1) & ~contact, _end_calibre(graph), -1.0 + np.tanh(np.nan_to_num(graph.node_radius)))
    if organ is not None:
        score = np.where(score > 0, score / (1.0 + _depth_in(organ, graph.node_position) / _HALF_DEPTH), score)
    nodes = np.flatnonzero(wanted)
    order = nodes[np.lexsort((nodes, -score[nodes], piece[nodes]))]
    return order[np.unique(piece[order], return_index=True)[1]].tolist()


def _depth_in(organ: Volume, positions: FloatArray) -> FloatArray:
    """Return how far positions (N, 3) in an organ are from its border, (N,) mm; 0 outside of it."""
    inside = organ.array != 0
    index = np.rint(organ.space.to_index(positions)).astype(np.int64)
    on_grid = np.flatnonzero(((index >= 0) & (index < np.array(organ.shape))).all(axis=1))
    within = on_grid[inside[tuple(index[on_grid].T)]]
    depth = np.zeros(len(positions))
    if len(within):
        border = np.argwhere(inside & ~ndimage.binary_erosion(inside))
        depth[within] = cKDTree(organ.space.to_world(border.astype(np.float64))).query(positions[within])[0]
    return depth


def _end_calibre(graph: VesselGraph) -> FloatArray:
    """Return the calibre of the branch at each free end, (N,) mm; 0 at other nodes and where no radius is known."""
    calibre = np.zeros(graph.n_nodes)
    for e, side in np.argwhere(graph.degree[graph.edge_nodes] == 1):
        path, radius = graph.path(e), np.nan_to_num(graph.radius_along(e))
        if side == 1:
            path, radius = path[::-1], radius[::-1]
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        calibre[graph.edge_nodes[e, side]] = np.median(radius[along <= _END_LENGTH])
    return calibre
