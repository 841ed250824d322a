"""How nodes are joined, as plain arrays: components, chains and rooted forests behind editing, morphology and files.

Everywhere ``edge_nodes`` is (E, 2); self-loops and parallel edges are allowed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vesselgraph.graph import IntArray
from vesselgraph.space import FloatArray

BoolArray = NDArray[np.bool_]


def component_labels(edge_nodes: IntArray, n_nodes: int) -> IntArray:
    """Return the component of each node, (N,), numbered from 0 in the order of their lowest nodes.

    Examples
    --------
    >>> component_labels(np.array([[0, 2]]), 3).tolist()
    [0, 1, 0]
    """
    if n_nodes == 0:
        return np.zeros(0, np.int64)
    ones = np.ones(len(edge_nodes), np.int8)
    links = coo_array((ones, (edge_nodes[:, 0], edge_nodes[:, 1])), shape=(n_nodes, n_nodes))
    _, labels = connected_components(links, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse])


def n_loops(edge_nodes: IntArray, n_nodes: int) -> int:
    """Return the number of independent loops (first Betti number), E - N + components."""
    n_components = len(np.unique(component_labels(edge_nodes, n_nodes)))
    return len(edge_nodes) - n_nodes + n_components


@dataclass(frozen=True)
class Chains:
    """Runs of edges through nodes of degree two.

    Attributes
    ----------
    offset : (C + 1,)
        Chain ``c`` is ``edge[offset[c]:offset[c + 1]]``, in walking order.
    edge : (E,)
        Each edge once.
    is_forward : (E,) bool
        Whether the walk follows the edge from its first to its second node.
    """

    offset: IntArray
    edge: IntArray
    is_forward: BoolArray


def chains(edge_nodes: IntArray, n_nodes: int, is_stop: BoolArray | None = None) -> Chains:
    """Return the longest runs of edges that pass only through nodes of degree two.

    A run follows the direction of its lowest edge; runs are ordered by their lowest edges. A ring without a stop starts
    and ends at its lowest node.

    Parameters
    ----------
    edge_nodes : (E, 2)
        The edges.
    n_nodes : int
        Number of nodes.
    is_stop : (N,) bool, optional
        Nodes no run may pass, whatever their degree.

    Examples
    --------
    >>> runs = chains(np.array([[0, 1], [2, 1], [2, 3]]), 4)
    >>> runs.offset.tolist(), runs.edge.tolist(), runs.is_forward.tolist()
    ([0, 3], [0, 1, 2], [True, False, True])
    """
    passes = np.bincount(edge_nodes.ravel(), minlength=n_nodes) == 2
    if is_stop is not None:
        passes &= ~is_stop
    _stop_rings(edge_nodes, n_nodes, passes)
    mate = _mates(edge_nodes, passes)
    visited = [False] * len(edge_nodes)
    found: list[list[int]] = []
    for start in np.flatnonzero(mate < 0).tolist():
        if visited[start >> 1]:
            continue
        walk, half = [], start
        while True:
            walk.append(half)
            visited[half >> 1] = True
            half = int(mate[half ^ 1])
            if half < 0:
                break
        lowest = min(walk, key=lambda h: h >> 1)
        found.append([h ^ 1 for h in reversed(walk)] if lowest & 1 else walk)
    found.sort(key=lambda walk: min(h >> 1 for h in walk))
    halves = np.array([h for walk in found for h in walk], dtype=np.int64)
    offset = np.concatenate([[0], np.cumsum([len(walk) for walk in found])]).astype(np.int64)
    return Chains(offset, halves >> 1, (halves & 1) == 0)


def _stop_rings(edge_nodes: IntArray, n_nodes: int, passes: BoolArray) -> None:
    """Take the lowest node of every component that has passing nodes only out of ``passes``."""
    label = component_labels(edge_nodes, n_nodes)
    if not len(label):
        return
    has_stop = np.zeros(label.max() + 1, bool)
    has_stop[label[~passes]] = True
    _, lowest = np.unique(label, return_index=True)
    passes[lowest[~has_stop]] = False


def _mates(edge_nodes: IntArray, passes: BoolArray) -> IntArray:
    """Return for each edge end (2 e and 2 e + 1) the other end at the same passing node, -1 at other nodes."""
    node_of_half = edge_nodes.ravel()
    mate = np.full(len(node_of_half), -1, np.int64)
    halves = np.flatnonzero(passes[node_of_half])
    halves = halves[np.argsort(node_of_half[halves], kind="stable")]
    mate[halves[0::2]], mate[halves[1::2]] = halves[1::2], halves[0::2]
    return mate


@dataclass(frozen=True)
class Forest:
    """Shortest-path trees that grow from the roots along the edges.

    Attributes
    ----------
    order : (R,)
        Reached nodes by rising distance from their root.
    parent_edge : (N,)
        The edge a node was reached by, -1 at roots and unreached nodes.
    parent_node : (N,)
        The node it was reached from, -1 likewise.
    distance : (N,)
        Path length to the root, infinite where unreached.
    is_tree_edge : (E,) bool
        False for the edges that close a loop or join two trees, and for unreached ones.
    """

    order: IntArray
    parent_edge: IntArray
    parent_node: IntArray
    distance: FloatArray
    is_tree_edge: BoolArray


def grow_forest(edge_nodes: IntArray, edge_length: FloatArray, n_nodes: int, roots: IntArray) -> Forest:
    """Return the forest of shortest paths (Dijkstra) from the roots; of equally short ways the lower edge wins.

    Examples
    --------
    >>> square = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    >>> forest = grow_forest(square, np.array([1.0, 1.0, 1.0, 1.5]), 4, np.array([0]))
    >>> forest.parent_node.tolist(), forest.is_tree_edge.tolist()
    ([-1, 0, 1, 0], [True, True, False, True])
    """
    node_of_half = edge_nodes.ravel()
    by_node = np.argsort(node_of_half, kind="stable")
    first = np.searchsorted(node_of_half[by_node], np.arange(n_nodes + 1)).tolist()
    halves, ends, lengths = by_node.tolist(), node_of_half.tolist(), edge_length.tolist()
    parent_edge, parent_node = [-1] * n_nodes, [-1] * n_nodes
    distance = [float("inf")] * n_nodes
    order: list[int] = []
    queue: list[tuple[float, int, int, int]] = [(0.0, -1, root, -1) for root in np.unique(roots).tolist()]
    heapq.heapify(queue)
    while queue:
        here, edge, node, source = heapq.heappop(queue)
        if distance[node] < float("inf"):
            continue
        distance[node], parent_edge[node], parent_node[node] = here, edge, source
        order.append(node)
        for half in halves[first[node] : first[node + 1]]:
            other = ends[half ^ 1]
            if distance[other] == float("inf"):
                heapq.heappush(queue, (here + lengths[half >> 1], half >> 1, other, node))
    is_tree_edge = np.zeros(len(edge_nodes), bool)
    parents = np.array(parent_edge, dtype=np.int64)
    is_tree_edge[parents[parents >= 0]] = True
    return Forest(
        np.array(order, dtype=np.int64),
        parents,
        np.array(parent_node, dtype=np.int64),
        np.array(distance, dtype=np.float64),
        is_tree_edge,
    )


def strahler_order(forest: Forest) -> IntArray:
    """Return the Strahler order of each edge, (E,): 1 for tips, one more where two of the highest order meet.

    Edges outside the trees (they close a loop, or no root reaches them) have order 0 and raise no other's.

    References
    ----------
    A. N. Strahler, Quantitative analysis of watershed geomorphology, Trans. AGU 38 (1957), 913-920.
    """
    n_nodes = len(forest.parent_edge)
    highest, n_highest = [0] * n_nodes, [0] * n_nodes
    result = np.zeros(len(forest.is_tree_edge), np.int64)
    parent_edge, parent_node = forest.parent_edge.tolist(), forest.parent_node.tolist()
    for node in reversed(forest.order.tolist()):
        if parent_edge[node] < 0:
            continue
        rank = max(1, highest[node] + (n_highest[node] > 1))
        result[parent_edge[node]] = rank
        above = parent_node[node]
        if rank > highest[above]:
            highest[above], n_highest[above] = rank, 1
        elif rank == highest[above]:
            n_highest[above] += 1
    return result


def generation(forest: Forest) -> IntArray:
    """Return the generation of each edge, (E,): 1 from the root to the first fork, one more after every fork; 0 outside.

    A node with one daughter is no fork. A root with several daughters starts them all at 1.
    """
    parent_edge, parent_node = forest.parent_edge.tolist(), forest.parent_node.tolist()
    n_daughters = np.bincount(forest.parent_node[forest.parent_node >= 0], minlength=len(parent_node)).tolist()
    result = np.zeros(len(forest.is_tree_edge), np.int64)
    for node in forest.order.tolist():
        above = parent_node[node]
        if above < 0:
            continue
        before = parent_edge[above]
        result[parent_edge[node]] = 1 if before < 0 else result[before] + (n_daughters[above] > 1)
    return result
