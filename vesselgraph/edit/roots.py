"""Where trees start: by rule, by the user's clicks, or by labels of known vessels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import cKDTree

from vesselgraph.errors import InputError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.topology import component_labels
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
        World LPS positions a user clicked: each takes the nearest node with a branch.
    labels : Volume, optional
        Integers; every value but 0 names a vessel (a portal trunk, a cava). Each takes the widest node in its voxels, or the
        nearest one.
    organ : Volume, optional
        bool. The rule then prefers ends near its border, where trunks come in: an end counts its calibre over
        1 + depth / 20 mm.
    max_distance : mm
        Farthest a given point or label may be from its node.

    Returns
    -------
    roots : (R,)
        Node ids. By rule the free end with the largest calibre (median radius of the last 5 mm); in a piece without free ends
        the node with the largest radius. Unknown radii count as 0.

    Raises
    ------
    InputError
        A point or label is farther from every node than ``max_distance``.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [9, 0, 0]]], radii=[[1.0, 2.0]])
    >>> find_roots(graph).tolist(), find_roots(graph, points=[[1, 0, 0]]).tolist()
    ([1], [0])
    """
    usable = np.flatnonzero(graph.degree > 0)
    given: list[int] = []
    if points is not None and np.size(points):
        clicks = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        given += [
            _nearest(graph, usable, click[None], f"the point {click.round(1).tolist()}", max_distance) for click in clicks
        ]
    if labels is not None:
        for value in np.unique(labels.array[labels.array != 0]).tolist():
            voxels = labels.space.to_world(np.argwhere(labels.array == value).astype(np.float64))
            given.append(_in_label(graph, usable, voxels, labels, f"label {value}", max_distance))
    piece = component_labels(graph.edge_nodes, graph.n_nodes)
    open_pieces = ~np.isin(piece, piece[given]) & (graph.degree > 0)
    return np.unique(np.array([*given, *_by_rule(graph, piece, open_pieces, organ)], dtype=np.int64))


def _nearest(graph: VesselGraph, usable: IntArray, where: FloatArray, what: str, max_distance: float) -> int:
    distance = cKDTree(where).query(graph.node_position[usable])[0] if len(usable) else np.array([np.inf])
    if distance.min() > max_distance:
        raise InputError(
            f"a vessel within {max_distance:g} mm of {what}",
            f"the nearest is {distance.min():.1f} mm away",
            "check that it is in world LPS millimetres of the same patient",
        )
    return int(usable[np.argmin(distance)])


def _in_label(graph: VesselGraph, usable: IntArray, voxels: FloatArray, labels: Volume, what: str, max_distance: float) -> int:
    half = 0.5 * float(np.linalg.norm(labels.space.spacing))
    inside = usable[cKDTree(voxels).query(graph.node_position[usable])[0] <= half] if len(usable) else usable
    if len(inside):
        return int(inside[np.argmax(np.nan_to_num(graph.node_radius[inside]))])
    return _nearest(graph, usable, voxels, what, max_distance)


def _by_rule(graph: VesselGraph, piece: IntArray, wanted: np.ndarray, organ: Volume | None) -> list[int]:
    score = np.where(graph.degree == 1, _end_calibre(graph), -1.0 + np.tanh(np.nan_to_num(graph.node_radius)))
    if organ is not None:
        depth = ndimage.distance_transform_edt(organ.array != 0, sampling=organ.space.spacing)
        index = np.rint(organ.space.to_index(graph.node_position)).astype(np.int64)
        on_grid = ((index >= 0) & (index < np.array(organ.shape))).all(axis=1)
        deep = np.zeros(graph.n_nodes)
        deep[on_grid] = depth[tuple(index[on_grid].T)]
        score = np.where(score > 0, score / (1.0 + deep / _HALF_DEPTH), score)
    nodes = np.flatnonzero(wanted)
    order = nodes[np.lexsort((nodes, -score[nodes], piece[nodes]))]
    return order[np.unique(piece[order], return_index=True)[1]].tolist()


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
