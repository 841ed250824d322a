"""Derived quantities of one graph: lengths, shape, orders, forks, loops. Definitions are in ``docs/data-model.md``.

Nothing here is stored on a graph; put a result there with ``graph.with_columns(edge={...})`` if a later step wants it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vesselgraph.errors import RangeError
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.polyline import arc_length, mean_along, range_along, step_length, sum_along
from vesselgraph.polyline import chord as polyline_chord
from vesselgraph.polyline import tortuosity as polyline_tortuosity
from vesselgraph.space import FloatArray
from vesselgraph.topology import Forest, component_labels, grow_forest, n_loops
from vesselgraph.topology import generation as forest_generation
from vesselgraph.topology import strahler_order as forest_strahler

_LARGEST_EXPONENT = 100.0
_BISECTIONS = 60


def branch_length(graph: VesselGraph) -> FloatArray:
    """Return the length of each branch along its polyline, (E,) mm."""
    return graph.edge_length


def chord(graph: VesselGraph) -> FloatArray:
    """Return the straight distance between the two nodes of each branch, (E,) mm; 0 for a self-loop."""
    return polyline_chord(graph.path_position, graph.path_offset)


def tortuosity(graph: VesselGraph) -> FloatArray:
    """Return length / chord of each branch, (E,): 1 for a straight one, infinite where both ends coincide.

    VMTK's array of that name is this minus one.

    Examples
    --------
    >>> bent = VesselGraph.from_paths([[[0, 0, 0], [3, 0, 0], [3, 4, 0]]])
    >>> tortuosity(bent).tolist()
    [1.4]
    """
    return polyline_tortuosity(graph.path_position, graph.path_offset)


def mean_radius(graph: VesselGraph) -> FloatArray:
    """Return the length-weighted mean radius of each branch, (E,) mm; NaN where no radius is known."""
    return mean_along(graph.path_radius, graph.path_position, graph.path_offset)


def radius_range(graph: VesselGraph) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and largest known radius of each branch, (E,) mm each; NaN where none is known."""
    return range_along(graph.path_radius, graph.path_offset)


def volume(graph: VesselGraph) -> FloatArray:
    """Return the volume of each branch as a row of truncated cones, (E,) cubic mm.

    A segment that knows one of its two radii is a cylinder; a branch with a segment that knows none is NaN. Overlap where
    branches meet is counted in each of them.

    Examples
    --------
    >>> pipe = VesselGraph.from_paths([[[0, 0, 0], [6, 0, 0]]], radii=[[2.0, 1.0]])
    >>> (volume(pipe) / np.pi).round(9).tolist()
    [14.0]
    """
    height, before, after = _segments(graph)
    return sum_along(np.pi / 3.0 * height * (before**2 + before * after + after**2), graph.path_offset)


def lateral_surface(graph: VesselGraph) -> FloatArray:
    """Return the side surface of each branch as a row of truncated cones without caps, (E,) square mm; NaN as in `volume`."""
    height, before, after = _segments(graph)
    slant = np.hypot(height, before - after)
    # A step without length is no cone, whatever its radii.
    slant = np.where(height > 0, slant, 0.0)
    return sum_along(np.pi * (before + after) * slant, graph.path_offset)


def _segments(graph: VesselGraph) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return height and both radii of the segment that ends at each path point; height and radii 0 at branch starts."""
    height = step_length(graph.path_position, graph.path_offset)
    after = graph.path_radius
    before = np.concatenate([after[:1], after[:-1]])
    before, after = np.where(np.isnan(before), after, before), np.where(np.isnan(after), before, after)
    start = graph.path_offset[:-1]
    before[start], after[start] = 0.0, 0.0
    return height, before, after


@dataclass(frozen=True)
class Betti:
    """The two Betti numbers of a graph."""

    n_components: int
    n_loops: int


def betti_numbers(graph: VesselGraph) -> Betti:
    """Return how many components and independent loops a graph has; a node without branches is a component.

    Examples
    --------
    >>> betti_numbers(VesselGraph.from_paths([[[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0], [1, 0, 0]]]))
    Betti(n_components=1, n_loops=1)
    """
    n_components = len(np.unique(component_labels(graph.edge_nodes, graph.n_nodes)))
    return Betti(n_components, n_loops(graph.edge_nodes, graph.n_nodes))


def root_forest(graph: VesselGraph, roots: ArrayLike | None = None) -> Forest:
    """Return the shortest-path forest from the roots (ids or mask; the node column ``root`` if left out).

    Loops: of the branches of a loop the one farthest from the root is no tree branch; it is marked in ``is_tree_edge``.

    Raises
    ------
    RangeError
        A root does not exist.
    """
    ids = np.asarray(graph.node_data.get("root", np.zeros(graph.n_nodes, bool)) if roots is None else roots)
    ids = np.flatnonzero(ids) if ids.dtype == bool else ids.astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= graph.n_nodes):
        raise RangeError(f"root ids in [0, {graph.n_nodes})", f"{ids.min()}..{ids.max()}", "check the ids")
    return grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, ids)


def strahler_order(graph: VesselGraph, roots: ArrayLike | None = None) -> IntArray:
    """Return the Strahler order of each branch, (E,): 1 for tips, one more where two of the highest order meet.

    0 for branches that close a loop or that no root reaches. A node with one daughter passes the order on.

    References
    ----------
    A. N. Strahler, Quantitative analysis of watershed geomorphology, Trans. AGU 38 (1957), 913-920.
    """
    return forest_strahler(root_forest(graph, roots))


def generation(graph: VesselGraph, roots: ArrayLike | None = None) -> IntArray:
    """Return the generation of each branch, (E,): 1 up to the first fork from the root, one more after every fork.

    0 for branches that close a loop or that no root reaches. A node with one daughter is no fork.
    """
    return forest_generation(root_forest(graph, roots))


def murray_exponent(parent: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return x with parent^x = first^x + second^x for radii (n,); 3 where Murray's law holds.

    NaN where a radius is unknown, where a daughter is not thinner than the parent (no such x), or where x > 100.

    References
    ----------
    C. D. Murray, The physiological principle of minimum work, PNAS 12 (1926), 207-214.

    Examples
    --------
    >>> murray_exponent(np.array([2.0 ** (1 / 3)]), np.array([1.0]), np.array([1.0])).round(9).tolist()
    [3.0]
    """
    parent, first, second = (np.asarray(r, dtype=np.float64) for r in (parent, first, second))
    a, b = first / parent, second / parent
    with np.errstate(invalid="ignore"):
        solvable = (a < 1) & (b < 1) & (a**_LARGEST_EXPONENT + b**_LARGEST_EXPONENT < 1)
    a, b = np.where(solvable, a, 0.5), np.where(solvable, b, 0.5)
    low, high = np.zeros(parent.shape), np.full(parent.shape, _LARGEST_EXPONENT)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        too_small = a**middle + b**middle > 1
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    return np.where(solvable, (low + high) / 2, np.nan)


def bifurcation_table(graph: VesselGraph, roots: ArrayLike | None = None, *, reach: float = 5.0) -> dict[str, Column]:
    """Return one row for each bifurcation of the rooted trees.

    A bifurcation is a node with exactly three branch ends: one tree branch from the root and two tree branches onward. Nodes
    where a loop closes, and nodes of higher degree, are left out.

    Parameters
    ----------
    graph : VesselGraph
        Of any orientation.
    roots : ids or mask, optional
        The node column ``root`` if left out.
    reach : float
        A branch's direction is that of the chord from the node to the point this far along it (mm), or to its other end.

    Returns
    -------
    dict of columns
        - ``node``, ``parent``, ``major``, ``minor``: node id and branch ids; ``major`` has the larger mean radius.
        - ``angle_deg``: between the two daughters.
        - ``major_angle_deg``, ``minor_angle_deg``: between a daughter and the straight continuation of the parent.
        - ``parent_radius``, ``major_radius``, ``minor_radius``: mean radii, mm.
        - ``murray_exponent``: see :func:`murray_exponent`.
        - ``murray_deviation``: (major^3 + minor^3) / parent^3 - 1, 0 where Murray's law holds.

    Raises
    ------
    RangeError
        A root does not exist, or ``reach`` is not positive.
    """
    if not reach > 0:
        raise RangeError("reach > 0 mm", f"{reach}", "pass a length in mm")
    forest = root_forest(graph, roots)
    radius = mean_radius(graph)
    node, parent, daughters = _forks(graph, forest)
    # Without a known radius the lower branch comes first.
    ranked = np.nan_to_num(radius[daughters], nan=0.0)
    daughters = np.where((ranked[:, :1] < ranked[:, 1:]), daughters[:, ::-1], daughters)
    major, minor = daughters[:, 0], daughters[:, 1]
    back, along_major, along_minor = (_direction(graph, edge, node, reach) for edge in (parent, major, minor))
    return {
        "node": node,
        "parent": parent,
        "major": major,
        "minor": minor,
        "angle_deg": _angle_deg(along_major, along_minor),
        "major_angle_deg": _angle_deg(-back, along_major),
        "minor_angle_deg": _angle_deg(-back, along_minor),
        "parent_radius": radius[parent],
        "major_radius": radius[major],
        "minor_radius": radius[minor],
        "murray_exponent": murray_exponent(radius[parent], radius[major], radius[minor]),
        "murray_deviation": (radius[major] ** 3 + radius[minor] ** 3) / radius[parent] ** 3 - 1.0,
    }


def _forks(graph: VesselGraph, forest: Forest) -> tuple[IntArray, IntArray, IntArray]:
    """Return node, parent branch and the two daughter branches (n, 2) of each bifurcation."""
    child = np.flatnonzero(forest.parent_edge >= 0)
    n_daughters = np.bincount(forest.parent_node[child], minlength=graph.n_nodes)
    is_fork = (graph.degree == 3) & (n_daughters == 2) & (forest.parent_edge >= 0)
    node = np.flatnonzero(is_fork)
    own = child[is_fork[forest.parent_node[child]]]
    own = own[np.lexsort((forest.parent_edge[own], forest.parent_node[own]))]
    return node, forest.parent_edge[node], forest.parent_edge[own].reshape(-1, 2)


def _direction(graph: VesselGraph, edge: IntArray, node: IntArray, reach: float) -> FloatArray:
    """Return the unit chord of each branch from a node to the point ``reach`` along it, (n, 3); NaN if it has no length."""
    if not len(edge):
        return np.zeros((0, 3))
    offset, position = graph.path_offset, graph.path_position
    arc = arc_length(position, offset)
    from_start = graph.edge_nodes[edge, 0] == node
    place = np.where(
        from_start, np.minimum(reach, arc[offset[edge + 1] - 1]), np.maximum(arc[offset[edge + 1] - 1] - reach, 0.0)
    )
    total = np.cumsum(step_length(position, offset))
    high = np.searchsorted(total, total[offset[edge]] + place)
    high = np.clip(high, offset[edge] + 1, offset[edge + 1] - 1)
    span = arc[high] - arc[high - 1]
    weight = np.clip(np.divide(place - arc[high - 1], span, out=np.ones_like(place), where=span > 0), 0.0, 1.0)[:, None]
    vector = position[high - 1] * (1 - weight) + position[high] * weight - graph.node_position[node]
    size = np.linalg.norm(vector, axis=1, keepdims=True)
    return np.asarray(np.divide(vector, size, out=np.full_like(vector, np.nan), where=size > 0))


def _angle_deg(first: FloatArray, second: FloatArray) -> FloatArray:
    # atan2 keeps its precision near 0 and 180 degrees, arccos does not.
    cross = np.linalg.norm(np.cross(first, second), axis=1) if len(first) else np.zeros(0)
    return np.asarray(np.degrees(np.arctan2(cross, np.einsum("ij,ij->i", first, second))))


def branch_table(graph: VesselGraph, roots: ArrayLike | None = None) -> dict[str, Column]:
    """Return one row for each branch: what this module knows about it, then the graph's own edge columns.

    Returns
    -------
    dict of (E,) columns
        - ``branch_id``, ``start_node``, ``end_node``: ids.
        - ``length``, ``chord``: mm; ``tortuosity``: their ratio, infinite for loops.
        - ``mean_radius`` (length-weighted), ``min_radius``, ``max_radius``: mm, NaN = unknown.
        - ``volume``: cubic mm; ``surface``: square mm, sides only.
        - ``strahler``, ``generation``: from the roots (ids or mask; the node column ``root`` if left out), 0 = not in a tree.
        - then every edge column under its own name, unless it has one of the names above.

    Raises
    ------
    RangeError
        A root does not exist.
    """
    forest = root_forest(graph, roots)
    low, high = radius_range(graph)
    table: dict[str, Column] = {
        "branch_id": np.arange(graph.n_edges),
        "start_node": graph.edge_nodes[:, 0],
        "end_node": graph.edge_nodes[:, 1],
        "length": branch_length(graph),
        "chord": chord(graph),
        "tortuosity": tortuosity(graph),
        "mean_radius": mean_radius(graph),
        "min_radius": low,
        "max_radius": high,
        "volume": volume(graph),
        "surface": lateral_surface(graph),
        "strahler": forest_strahler(forest),
        "generation": forest_generation(forest),
    }
    return table | {name: column for name, column in graph.edge_data.items() if name not in table}
