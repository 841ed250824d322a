"""From skeleton voxels to nodes and branches: every cluster of branching voxels becomes exactly one node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.tracing.foreground import from_list

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Chains:
    """Branches of a voxel skeleton.

    Letters: S skeleton voxels, N nodes, E branches.

    Attributes
    ----------
    node_of_voxel : (S,)
        The node a voxel belongs to; -1 inside a branch.
    n_nodes : int
        Number of nodes N.
    ends : (E, 2)
        Nodes of each branch.
    offset : (E + 1,)
        Slices into ``members``.
    members : (M,)
        Voxel ids along each branch; the first and last belong to its nodes.
    joined : (S + 1,), (T,)
        Neighbours of the voxels: see :func:`neighbour_pairs`.
    """

    node_of_voxel: IntArray
    n_nodes: int
    ends: IntArray
    offset: IntArray
    members: IntArray
    joined: tuple[IntArray, IntArray]


@njit(cache=True, nogil=True)
def _joined(neighbours):  # type: ignore[no-untyped-def]
    """Return the rows of a neighbour table one after the other without what is -1, and where each starts."""
    start = np.zeros(len(neighbours) + 1, np.int64)
    for v in range(len(neighbours)):
        start[v + 1] = start[v]
        for k in range(26):
            start[v + 1] += neighbours[v, k] >= 0
    found, n = np.empty(start[-1], np.int64), 0
    for v in range(len(neighbours)):
        for k in range(26):
            if neighbours[v, k] >= 0:
                found[n] = neighbours[v, k]
                n += 1
    return start, found


def neighbour_pairs(voxels: IntArray, shape: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Return the 26-neighbourhood of voxels, (S, 3) in raster order, as CSR arrays ``start`` (S + 1,) and ``neighbour``."""
    planes, rows, columns = shape
    n_on_line = np.bincount(voxels[:, 0] * rows + voxels[:, 1], minlength=planes * rows)
    row_start = np.concatenate([[0], np.cumsum(n_on_line)]).astype(np.int64)
    start, found = _joined(from_list((planes, rows, columns), voxels.astype(np.int32), row_start).neighbours)
    return start, found


@njit(cache=True, nogil=True)
def _label_nodes(start, neighbour, forced, node):  # type: ignore[no-untyped-def]
    """Number the nodes by their first voxels: clusters of voxels with more than two neighbours, curve ends, forced voxels."""
    n_nodes = 0
    stack = np.empty(node.size, np.int64)
    node[:] = -1
    for first in range(node.size):
        n_around = start[first + 1] - start[first]
        if node[first] >= 0 or not (n_around > 2 or n_around == 1 or forced[first]):
            continue
        node[first], stack[0] = n_nodes, first
        top = 1 if n_around > 2 else 0
        while top:
            top -= 1
            here = stack[top]
            for k in range(start[here], start[here + 1]):
                v = neighbour[k]
                if node[v] < 0 and start[v + 1] - start[v] > 2:
                    node[v], stack[top] = n_nodes, v
                    top += 1
        n_nodes += 1
    return n_nodes


@njit(cache=True, nogil=True)
def _walk(start, neighbour, node, ends, offset, members):  # type: ignore[no-untyped-def]
    """Follow every chain between nodes once; return the number of branches and of members."""
    n_edges = 0
    n_members = 0
    seen = np.zeros(node.size, np.uint8)
    for first in range(node.size):
        if node[first] < 0:
            continue
        for k in range(start[first], start[first + 1]):
            here = neighbour[k]
            if node[here] >= 0:
                if node[here] != node[first] and first < here:
                    members[n_members] = first
                    members[n_members + 1] = here
                    n_members += 2
                    ends[n_edges, 0] = node[first]
                    ends[n_edges, 1] = node[here]
                    n_edges += 1
                    offset[n_edges] = n_members
                continue
            if seen[here]:
                continue
            members[n_members] = first
            n_members += 1
            before = first
            while node[here] < 0:
                seen[here] = 1
                members[n_members] = here
                n_members += 1
                # Prefer to end on a node, so that a chain is not walked past a junction it touches.
                onward = -1
                for j in range(start[here], start[here + 1]):
                    candidate = neighbour[j]
                    if candidate == before:
                        continue
                    if node[candidate] >= 0 and not (candidate == first and n_members < 4):
                        onward = candidate
                        break
                    if node[candidate] < 0 and not seen[candidate]:
                        onward = candidate
                if onward < 0:
                    onward = first
                before = here
                here = onward
            members[n_members] = here
            n_members += 1
            ends[n_edges, 0] = node[first]
            ends[n_edges, 1] = node[here]
            n_edges += 1
            offset[n_edges] = n_members
    return n_edges, n_members


@njit(cache=True, nogil=True)
def _ring_voxels(start, neighbour, node):  # type: ignore[no-untyped-def]
    """Mark one voxel in every piece that has no node at all (closed rings)."""
    seen = np.zeros(node.size, np.uint8)
    stack = np.zeros(node.size, np.int64)
    mark = np.zeros(node.size, np.bool_)
    for first in range(node.size):
        if seen[first]:
            continue
        top = 1
        stack[0] = first
        seen[first] = 1
        has_node = False
        while top:
            top -= 1
            here = stack[top]
            has_node |= node[here] >= 0
            for k in range(start[here], start[here + 1]):
                if not seen[neighbour[k]]:
                    seen[neighbour[k]] = 1
                    stack[top] = neighbour[k]
                    top += 1
        if not has_node and start[first + 1] > start[first]:
            mark[first] = True
    return mark


def extract_chains(
    voxels: IntArray,
    shape: tuple[int, ...],
    forced: NDArray[np.bool_] | None = None,
    joined: tuple[IntArray, IntArray] | None = None,
) -> Chains:
    """Return the nodes and branches of a one-voxel-thin skeleton.

    Parameters
    ----------
    voxels : (S, 3)
        Skeleton voxels in raster order. Isolated voxels belong to no node and no branch.
    shape : (3,)
        Shape of the volume they lie in.
    forced : (S,) bool, optional
        Voxels that must become nodes, for example the foot of a bridge.
    joined : arrays, optional
        Their neighbours, if these are known from other chains of the same voxels.

    Returns
    -------
    chains : Chains
        Every skeleton edge lies on exactly one branch; rings without a junction start and end at their first voxel.
    """
    start, neighbour = joined = joined or neighbour_pairs(voxels, shape)
    wanted = np.zeros(len(voxels), np.bool_) if forced is None else forced
    node = np.empty(len(voxels), np.int64)
    _label_nodes(start, neighbour, wanted, node)
    n_nodes = _label_nodes(start, neighbour, wanted | _ring_voxels(start, neighbour, node), node)
    room = len(neighbour) + len(voxels) + 2
    ends, offset, members = np.empty((room, 2), np.int64), np.zeros(room + 1, np.int64), np.empty(2 * room, np.int64)
    n_edges, n_members = _walk(start, neighbour, node, ends, offset, members)
    return Chains(node, n_nodes, ends[:n_edges], offset[: n_edges + 1], members[:n_members], joined)
