"""Joining branches where nothing forks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vesselgraph.edit.parts import Kept, offsets, reverse, rows, taken
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.space import FloatArray
from vesselgraph.topology import Chains, chains

_FLAG_COLUMNS = frozenset({"generator"})


def merge_degree_two(graph: VesselGraph) -> tuple[VesselGraph, Kept]:
    """Return the graph with branches joined where a node has exactly two branch ends.

    Nodes whose column ``root`` is True stay, and so does the lowest node of a ring. A joined branch runs the way of its
    lowest old branch and stands in that one's order. At a joint the larger of the two radii is taken.

    Edge columns of joined branches are combined by these rules, the first that fits:

    ======================================  =========================================================
    column                                  value
    ======================================  =========================================================
    name starts with ``min_`` / ``max_``    smallest / largest (NaN counts as unknown)
    bool, or the bit flags ``generator``    OR
    number, name ``n_...`` or ``..._length``  sum
    other floats                            length-weighted mean of the known values
    other integers, text                    that of the longest branch (the lowest of equal ones)
    ======================================  =========================================================

    Parameters
    ----------
    graph : VesselGraph
        Left as it is.

    Returns
    -------
    VesselGraph
        The joined graph.
    Kept
        ``edge_new`` names the branch an old one went into; ``edge_old`` the lowest old branch of each new one.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[2, 0, 0], [1, 0, 0]]])
    >>> merge_degree_two(graph)[0].path(0).tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    """
    root = graph.node_data.get("root")
    runs = chains(graph.edge_nodes, graph.n_nodes, None if root is None else root.astype(bool))
    if len(runs.offset) - 1 == graph.n_edges:
        return taken(graph, np.arange(graph.n_nodes), np.arange(graph.n_edges))
    return _join(graph, runs)


def _join(graph: VesselGraph, runs: Chains) -> tuple[VesselGraph, Kept]:
    n_runs = len(runs.offset) - 1
    run_of = np.repeat(np.arange(n_runs), np.diff(runs.offset))
    edge_new = np.empty(graph.n_edges, np.int64)
    edge_new[runs.edge] = run_of
    walked, _ = taken(reverse(graph, runs.edge[~runs.is_forward]), np.arange(graph.n_nodes), runs.edge)
    # Every piece but the last of its run gives its last point up to the first of the next piece.
    is_inner = np.zeros(graph.n_edges, bool)
    is_inner[:-1] = run_of[1:] == run_of[:-1]
    lost = walked.path_offset[1:][is_inner] - 1
    radius = walked.path_radius.copy()
    radius[lost + 1] = np.fmax(radius[lost], radius[lost + 1])
    stay = np.ones(graph.n_points, bool)
    stay[lost] = False
    first, last = runs.offset[:-1], runs.offset[1:] - 1
    nodes = np.stack([walked.edge_nodes[first, 0], walked.edge_nodes[last, 1]], axis=1)
    size = np.bincount(run_of[walked.edge_of_point[stay]], minlength=n_runs)
    joined = replace(
        graph,
        edge_nodes=nodes,
        path_offset=offsets(size),
        path_position=walked.path_position[stay],
        path_radius=radius[stay],
        edge_data={name: _combined(name, column, edge_new, graph) for name, column in graph.edge_data.items()},
        path_data=rows(walked.path_data, np.flatnonzero(stay)),
    )
    gone = np.zeros(graph.n_nodes, bool)
    gone[walked.edge_nodes[is_inner, 1]] = True
    compact, kept = taken(joined, np.flatnonzero(~gone), np.arange(n_runs))
    lowest = np.full(n_runs, graph.n_edges, np.int64)
    np.minimum.at(lowest, edge_new, np.arange(graph.n_edges))
    return compact, Kept(kept.node_old, lowest, kept.node_new, edge_new)


def _combined(name: str, column: Column, run: IntArray, graph: VesselGraph) -> Column:
    """Return one value a run by the rules of :func:`merge_degree_two`."""
    order = np.argsort(run, kind="stable")
    starts = np.flatnonzero(np.diff(run[order], prepend=-1))
    values = column[order]

    def reduced(rule: Callable[..., Column]) -> Column:
        return np.asarray(rule(values, starts), dtype=column.dtype)

    if column.dtype.kind != "U" and name.startswith(("min_", "max_")):
        return reduced(np.fmin.reduceat if name.startswith("min_") else np.fmax.reduceat)
    if column.dtype.kind == "b":
        return reduced(np.logical_or.reduceat)
    if column.dtype.kind in "iu" and name in _FLAG_COLUMNS:
        return reduced(np.bitwise_or.reduceat)
    if column.dtype.kind != "U" and (name.startswith("n_") or name.endswith("_length")):
        return reduced(np.add.reduceat)
    if column.dtype.kind == "f":
        return _weighted(values, graph.edge_length[order], starts).astype(column.dtype)
    longest = np.lexsort((np.arange(graph.n_edges), -graph.edge_length, run))
    return column[longest[starts]]


def _weighted(values: Column, length: FloatArray, starts: IntArray) -> FloatArray:
    known = ~np.isnan(values)
    # Infinities of both signs have no mean.
    with np.errstate(invalid="ignore"):
        total = np.add.reduceat(np.where(known, values.astype(np.float64), 0.0) * length, starts)
        weight = np.add.reduceat(length * known, starts)
        result = np.divide(total, weight, out=np.full(len(starts), np.nan), where=weight > 0)
    # A mean of one value is that value, not its rounded product.
    alone = np.add.reduceat(np.ones(len(values)), starts) == 1
    return np.where(alone, values[starts], result)
