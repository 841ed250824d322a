"""The graph the learned pruner sees: its nodes are pieces of branches, its links say how two pieces lie to each other.

Strategy. Long branches are cut so that a part of one can be rejected. A forest of least-resistance paths (hot and short) is
grown from the widest end of every component, so that pieces have a parent and children; what the forest leaves out closes a
loop. Two pieces are linked if they share a node (parent, child, sibling, loop) or if they pass each other closely without
touching (near): a doubled line or the other side of a gap. Every link exists in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vesselgraph.edit import split_edges
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.polyline import arc_length
from vesselgraph.pruning.decode import choose_roots, resistance
from vesselgraph.space import FloatArray
from vesselgraph.topology import Forest, grow_forest

PARENT, CHILD, SIBLING, LOOP, NEAR = range(5)
KINDS = ("parent", "child", "sibling", "loop", "near")

RELATIONS = (*KINDS, "same_branch", "cosine", "radius_ratio", "distance", "gap", "min_heat")
"""Columns of ``BranchGraph.relation``."""

# Directions at a node are chords of this length; pieces are compared where they are this far apart or less.
_CHORD = 4.0
_NEAR = 4.0
_N_NEAR = 4
_NEAR_STEP = 2.0


@dataclass(frozen=True, eq=False)
class BranchGraph:
    """Pieces of branches and the links between them.

    Letters: P pieces, K directed links, R columns of :data:`RELATIONS`.

    Attributes
    ----------
    pieces : VesselGraph
        P branches, every one a piece; the columns of a piece are those of the branch it was cut from.
    branch : (P,) int64
        The branch of the graph before cutting.
    forest : Forest
        Least-resistance trees over the pieces, rooted at the widest nodes.
    parent_node : (P,) int64
        The end of each piece that is nearer to its root.
    link : (2, K) int64
        A message goes from piece ``link[0]`` to piece ``link[1]``; rising by receiver.
    relation : (K, R) float32
        What the sender is to the receiver: one-hot kind, whether both come from one branch, the cosine between the directions
        in which they leave the shared node (-1: straight on), log ratio of their radii (sender over receiver), distance in
        mm / 4 (0 if they share a node), whether either is a gap bridge, and the colder of the two coldest points.
    """

    pieces: VesselGraph
    branch: IntArray
    forest: Forest
    parent_node: IntArray
    link: IntArray
    relation: NDArray[np.float32]


def build_branch_graph(graph: VesselGraph, piece_length: float) -> BranchGraph:
    """Return the pieces of an over-complete graph and how they lie to each other.

    Parameters
    ----------
    graph : VesselGraph
        Over-complete, with the path column ``heat`` and the edge columns ``gap_length`` and ``min_heat``.
    piece_length : float
        Longest piece, mm.

    Returns
    -------
    BranchGraph
        Without pieces and links for an empty graph.

    Notes
    -----
    Deterministic. A node where d pieces meet gives d (d - 1) links; a piece has links to at most four near ones.
    """
    pieces, branch = split_edges(graph, max_length=piece_length)
    forest = grow_forest(pieces.edge_nodes, resistance(pieces, pieces.path_data["heat"]), pieces.n_nodes, choose_roots(pieces))
    parent_node = pieces.edge_nodes[:, 0].copy()
    turned = forest.parent_edge[parent_node] == np.arange(pieces.n_edges)
    parent_node[turned] = pieces.edge_nodes[turned, 1]
    sender, receiver, kind, cosine = _meeting(pieces, forest)
    near_sender, near_receiver, near_distance = _passing(pieces)
    link = np.stack([np.concatenate([sender, near_sender]), np.concatenate([receiver, near_receiver])])
    kind = np.concatenate([kind, np.full(len(near_sender), NEAR, np.int64)])
    cosine = np.concatenate([cosine, _cosine_of_passing(pieces, near_sender, near_receiver)])
    distance = np.concatenate([np.zeros(len(sender)), near_distance])
    order = np.lexsort((kind, link[0], link[1]))
    link, kind, cosine, distance = link[:, order], kind[order], cosine[order], distance[order]
    relation = _relations(pieces, branch, link, kind, cosine, distance)
    return BranchGraph(pieces, branch, forest, parent_node, link, relation)


def _relations(
    pieces: VesselGraph, branch: IntArray, link: IntArray, kind: IntArray, cosine: FloatArray, distance: FloatArray
) -> NDArray[np.float32]:
    width = mean_width(pieces)
    gap = pieces.edge_data["gap_length"] > 0
    cold = pieces.edge_data["min_heat"]
    columns = [
        *(kind == k for k in range(len(KINDS))),
        branch[link[0]] == branch[link[1]],
        cosine,
        np.log(width[link[0]] / width[link[1]]),
        distance / _NEAR,
        gap[link[0]] | gap[link[1]],
        np.minimum(cold[link[0]], cold[link[1]]),
    ]
    return np.stack(columns, axis=1).astype(np.float32) if link.size else np.zeros((0, len(RELATIONS)), np.float32)


def mean_width(graph: VesselGraph) -> FloatArray:
    """Return the mean radius of each branch over its points, (E,) mm; 1 where none is known."""
    known = np.isfinite(graph.path_radius)
    owner = graph.edge_of_point
    count = np.bincount(owner[known], minlength=graph.n_edges)
    total = np.bincount(owner[known], graph.path_radius[known], graph.n_edges)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)


def _leaving(graph: VesselGraph) -> FloatArray:
    """Return the unit chords in which every piece leaves its start and its end, (E, 2, 3)."""
    offset, position = graph.path_offset, graph.path_position
    first, last = offset[:-1], offset[1:] - 1
    along = arc_length(position, offset)
    length = along[last]
    owner = graph.edge_of_point
    reach = np.minimum(_CHORD, length)
    to_end = length[owner] - along
    # The farthest point within the chord; at least the next one.
    from_start = np.maximum(np.bincount(owner, along <= reach[owner] + 1e-9, graph.n_edges).astype(np.int64) - 1, 1)
    from_end = np.maximum(np.bincount(owner, to_end <= reach[owner] + 1e-9, graph.n_edges).astype(np.int64) - 1, 1)
    chords = np.stack([position[first + from_start] - position[first], position[last - from_end] - position[last]], axis=1)
    return np.asarray(chords / np.maximum(np.linalg.norm(chords, axis=2, keepdims=True), 1e-9))


def _meeting(pieces: VesselGraph, forest: Forest) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return sender, receiver, kind and cosine for every ordered pair of piece ends that share a node."""
    node_of_half = pieces.edge_nodes.ravel()
    by_node = np.argsort(node_of_half, kind="stable")
    count = np.bincount(node_of_half, minlength=pieces.n_nodes)
    start = np.concatenate([[0], np.cumsum(count)])[node_of_half[by_node]]
    size = count[node_of_half[by_node]]
    receiver_half = np.repeat(by_node, size)
    within = np.arange(len(receiver_half)) - np.repeat(np.cumsum(size) - size, size)
    sender_half = by_node[np.repeat(start, size) + within]
    other = sender_half >> 1 != receiver_half >> 1
    receiver_half, sender_half = receiver_half[other], sender_half[other]
    sender, receiver = sender_half >> 1, receiver_half >> 1
    upward = forest.parent_edge[node_of_half[receiver_half]]
    in_tree = forest.is_tree_edge[sender] & forest.is_tree_edge[receiver]
    kind = np.select([~in_tree, sender == upward, receiver == upward], [LOOP, PARENT, CHILD], default=SIBLING)
    leaving = _leaving(pieces).reshape(-1, 3)
    cosine = np.einsum("ij,ij->i", leaving[sender_half], leaving[receiver_half])
    return sender, receiver, kind.astype(np.int64), cosine


def _passing(pieces: VesselGraph) -> tuple[IntArray, IntArray, FloatArray]:
    """Return sender, receiver and distance of pieces that come close without sharing a node; each receives from a few."""
    none = np.zeros(0, np.int64)
    if pieces.n_edges < 2:
        return none, none, np.zeros(0)
    along = arc_length(pieces.path_position, pieces.path_offset)
    step = np.floor(along / _NEAR_STEP)
    chosen = np.flatnonzero(np.diff(step, prepend=-1.0) != 0)
    owner = pieces.edge_of_point[chosen]
    tree = cKDTree(pieces.path_position[chosen])
    found = tree.query_pairs(_NEAR, output_type="ndarray")
    a, b = owner[found[:, 0]], owner[found[:, 1]]
    nodes_a, nodes_b = pieces.edge_nodes[a], pieces.edge_nodes[b]
    apart = (a != b) & ~(nodes_a[:, :, None] == nodes_b[:, None, :]).any(axis=(1, 2))
    a, b, found = a[apart], b[apart], found[apart]
    distance = np.linalg.norm(tree.data[found[:, 0]] - tree.data[found[:, 1]], axis=1)
    sender, receiver, distance = np.concatenate([a, b]), np.concatenate([b, a]), np.tile(distance, 2)
    order = np.lexsort((distance, sender, receiver))
    sender, receiver, distance = sender[order], receiver[order], distance[order]
    closest = np.ones(len(sender), np.bool_)
    closest[1:] = (np.diff(sender) != 0) | (np.diff(receiver) != 0)
    sender, receiver, distance = sender[closest], receiver[closest], distance[closest]
    order = np.lexsort((sender, distance, receiver))
    sender, receiver, distance = sender[order], receiver[order], distance[order]
    rank = np.arange(len(receiver)) - np.searchsorted(receiver, receiver)
    few = rank < _N_NEAR
    return sender[few], receiver[few], distance[few]


def _cosine_of_passing(pieces: VesselGraph, sender: IntArray, receiver: IntArray) -> FloatArray:
    """Return the absolute cosine between the chords of two pieces that pass each other."""
    chord = pieces.path_position[pieces.path_offset[1:] - 1] - pieces.path_position[pieces.path_offset[:-1]]
    chord = chord / np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-9)
    return np.abs(np.einsum("ij,ij->i", chord[sender], chord[receiver]))
