"""Choosing, ordering and turning the nodes and branches of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesselgraph.errors import RangeError
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.topology import BoolArray, component_labels, grow_forest


@dataclass(frozen=True, eq=False)
class Kept:
    """Which nodes and branches of the old graph are which in the new one.

    Attributes
    ----------
    node_old, edge_old : (N_new,), (E_new,)
        The old id of each new node and branch.
    node_new, edge_new : (N_old,), (E_old,)
        The new id of each old node and branch, -1 if it is gone.
    """

    node_old: IntArray
    edge_old: IntArray
    node_new: IntArray
    edge_new: IntArray


def subset(
    graph: VesselGraph, *, nodes: ArrayLike | None = None, edges: ArrayLike | None = None, drop_isolated: bool = False
) -> tuple[VesselGraph, Kept]:
    """Return the part of a graph with the chosen nodes and branches, and the maps between old and new ids.

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.
    nodes : (N,) bool or ids, optional
        Nodes to keep; all if left out. A branch stays only if both its nodes do.
    edges : (E,) bool or ids, optional
        Branches to keep; all if left out.
    drop_isolated : bool
        Also drop nodes that have no branch in the result.

    Returns
    -------
    VesselGraph
        Compact, in the old order, with every column, the space and the history.
    Kept
        The maps.

    Raises
    ------
    RangeError
        A mask has the wrong length or an id does not exist.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [2, 0, 0]]])
    >>> part, kept = subset(graph, edges=[1], drop_isolated=True)
    >>> part.n_nodes, kept.edge_new.tolist(), kept.node_old.tolist()
    (2, [-1, 0], [1, 2])
    """
    keep_node = mask_of(nodes, graph.n_nodes, "node")
    keep_edge = mask_of(edges, graph.n_edges, "branch") & keep_node[graph.edge_nodes].all(axis=1)
    if drop_isolated:
        used = np.zeros(graph.n_nodes, bool)
        used[graph.edge_nodes[keep_edge]] = True
        keep_node &= used
    return taken(graph, np.flatnonzero(keep_node), np.flatnonzero(keep_edge))


def relabel(graph: VesselGraph, *, nodes: ArrayLike | None = None, edges: ArrayLike | None = None) -> tuple[VesselGraph, Kept]:
    """Return the graph with its nodes and branches in another order.

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.
    nodes, edges : (N,), (E,) ids, optional
        The old ids in their new order, each once.

    Raises
    ------
    RangeError
        An id is missing or named twice.
    """
    order = []
    for given, size, what in ((nodes, graph.n_nodes, "node"), (edges, graph.n_edges, "branch")):
        ids = np.arange(size) if given is None else np.asarray(given, dtype=np.int64)
        if not np.array_equal(np.sort(ids), np.arange(size)):
            raise RangeError(f"each of the {size} {what} ids once", f"{len(ids)} ids {ids[:5].tolist()}...", "pass an order")
        order.append(ids)
    return taken(graph, order[0], order[1])


def mask_of(chosen: ArrayLike | None, size: int, what: str) -> BoolArray:
    """Return a mask or ids as a fresh mask, all True for None.

    Raises
    ------
    RangeError
        It does not fit ``size``.
    """
    if chosen is None:
        return np.ones(size, bool)
    array = np.asarray(chosen)
    if array.dtype == bool:
        if array.shape != (size,):
            raise RangeError(f"a mask of {size} {what} values", f"shape {array.shape}", "pass one value each")
        return array.copy()
    ids = array.astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        raise RangeError(f"{what} ids in [0, {size})", f"{ids.min()}..{ids.max()}", "check the ids")
    mask = np.zeros(size, bool)
    mask[ids] = True
    return mask


def taken(graph: VesselGraph, node_old: IntArray, edge_old: IntArray) -> tuple[VesselGraph, Kept]:
    """Return the graph of the old nodes and branches in the given order, whose nodes must be among them."""
    node_new, edge_new = np.full(graph.n_nodes, -1, np.int64), np.full(graph.n_edges, -1, np.int64)
    node_new[node_old], edge_new[edge_old] = np.arange(len(node_old)), np.arange(len(edge_old))
    size = np.diff(graph.path_offset)[edge_old]
    points = ranges(graph.path_offset[edge_old], size)
    part = replace(
        graph,
        node_position=graph.node_position[node_old],
        node_radius=graph.node_radius[node_old],
        edge_nodes=node_new[graph.edge_nodes[edge_old]],
        path_offset=offsets(size),
        path_position=graph.path_position[points],
        path_radius=graph.path_radius[points],
        node_data=rows(graph.node_data, node_old),
        edge_data=rows(graph.edge_data, edge_old),
        path_data=rows(graph.path_data, points),
    )
    return part, Kept(node_old, edge_old, node_new, edge_new)


def rows(columns: Mapping[str, Column], ids: NDArray[np.int64]) -> dict[str, Column]:
    """Return the chosen rows of every column."""
    return {name: column[ids] for name, column in columns.items()}


def offsets(size: IntArray) -> IntArray:
    """Return 0 and the running sums of ``size``."""
    return np.concatenate([[0], np.cumsum(size)]).astype(np.int64)


def ranges(start: IntArray, size: IntArray) -> IntArray:
    """Return start[0], start[0] + 1, ... (size[0] of them), start[1], ..."""
    offset = offsets(size)
    return np.asarray(np.arange(offset[-1]) + np.repeat(start - offset[:-1], size), dtype=np.int64)


def connected_components(graph: VesselGraph) -> IntArray:
    """Return the component of each node, (N,): 0 for the longest, then by falling length, then by lowest node.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[5, 0, 0], [9, 0, 0]]])
    >>> connected_components(graph).tolist()
    [1, 1, 0, 0]
    """
    label = component_labels(graph.edge_nodes, graph.n_nodes)
    if not len(label):
        return label
    length = np.zeros(label.max() + 1)
    np.add.at(length, label[graph.edge_nodes[:, 0]], graph.edge_length)
    rank = np.empty(len(length), np.int64)
    rank[np.argsort(-length, kind="stable")] = np.arange(len(length))
    return np.asarray(rank[label])


def reverse(graph: VesselGraph, edges: ArrayLike) -> VesselGraph:
    """Return the graph with the chosen branches (mask or ids) running the other way; columns stay with their points."""
    turned = mask_of(edges, graph.n_edges, "branch")
    first, last = graph.path_offset[:-1], graph.path_offset[1:] - 1
    points = np.arange(graph.n_points)
    owner = graph.edge_of_point
    points = np.where(turned[owner], first[owner] + last[owner] - points, points)
    return replace(
        graph,
        edge_nodes=np.where(turned[:, None], graph.edge_nodes[:, ::-1], graph.edge_nodes),
        path_position=graph.path_position[points],
        path_radius=graph.path_radius[points],
        path_data=rows(graph.path_data, points),
    )


def orient(graph: VesselGraph, roots: ArrayLike | None = None) -> VesselGraph:
    """Return the graph with every branch running away from its root.

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.
    roots : (N,) bool or ids, optional
        The node column ``root`` if left out.

    Returns
    -------
    VesselGraph
        A branch that closes a loop starts at the node nearer to a root (along branches); branches no root reaches, and all
        if there are no roots, stay as they are.

    Raises
    ------
    RangeError
        A root does not exist.
    """
    given = graph.node_data.get("root", np.zeros(graph.n_nodes, bool)) if roots is None else roots
    ids = np.flatnonzero(mask_of(np.asarray(given), graph.n_nodes, "node"))
    forest = grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, ids)
    # The end a tree edge was reached by is its end, also where rounding makes both ends equally far.
    start, end = graph.edge_nodes[:, 0], graph.edge_nodes[:, 1]
    towards_start = forest.parent_edge[start] == np.arange(graph.n_edges)
    return reverse(graph, np.where(forest.is_tree_edge, towards_start, forest.distance[start] > forest.distance[end]))
