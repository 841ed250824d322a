"""The door of the stage: graph in, closed surface out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import SurfaceConfig
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.progress import Progress, silent
from vesselgraph.space import FloatArray
from vesselgraph.surface.balance import balance
from vesselgraph.surface.check import face_components, lies_within
from vesselgraph.surface.cones import drawn_radii, make_field
from vesselgraph.surface.decimate import Sheet, decimate
from vesselgraph.surface.field import RADIUS_FRACTION, Bound, Field, nearest
from vesselgraph.surface.marching import march
from vesselgraph.surface.refine import on_surface, refine
from vesselgraph.threads import run_parts

_DEFAULT = SurfaceConfig()
_PART = 4096


def build_surface(graph: VesselGraph, config: SurfaceConfig = _DEFAULT, *, progress: Progress = silent) -> Mesh:
    """Return the closed, two-manifold, outward-oriented surface of a vessel graph.

    The surface is that of the union of round cones (the hull of two spheres) along every branch's polyline, with rounded
    tips. Where branches share a junction the crease between them is filled by a smooth minimum as wide as
    ``config.blend_fraction`` of the local radius. Branches that only touch or cross are joined without a fillet.

    Parameters
    ----------
    graph : VesselGraph
        Any graph: several trees, loops, self-loops and overlapping branches. Isolated nodes are not drawn.
    config : SurfaceConfig
        Bare lengths in mm. With ``max_error`` 0 the surface is neither refined, decimated nor balanced: every point lies
        on the union, but thin vessels lose volume to their flat triangles.
    progress : Progress
        Called by each step.

    Returns
    -------
    Mesh
        World LPS mm. ``point_data``: ``radius`` (mm, drawn, of the nearest place on a branch), ``branch_id``, and
        ``tree``, ``tree_id`` and ``score`` where the graph has these edge columns. Where the graph did not know a radius
        there is a column ``radius_known`` (uint8), 0 on the points of branch places whose radius was filled in.
        A graph without branches gives an empty mesh.

    Raises
    ------
    BudgetError
        The surface would need more than ``config.max_blocks`` grid blocks, or 40 times as many triangles.

    Notes
    -----
    Every corner, edge midpoint and centroid of the result lies within ``config.max_error`` of the surface, and within 8 %
    of the local radius, measured as field over slope. The exception: where vessels pass closer to each other than about a
    grid step (the inner corner of a sharp fork) the surface bridges the gap, and where ``config.enough_triangles`` ended
    the refinement creases stay blunt; :func:`check_surface` tells the largest
    distance and the share of the area. Memory follows the area of the vessels, never the field of view. The result is
    deterministic.

    Radii below ``config.min_radius`` are drawn with it. Unknown radii are interpolated along the branch; see
    :func:`~vesselgraph.surface.cones.drawn_radii`.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]]], radii=[[2.0, 2.0]])
    >>> mesh = build_surface(graph)
    >>> round(mesh.volume / (3.14159 * 4 * 20 + 4 / 3 * 3.14159 * 8), 2)
    1.0
    """
    if graph.n_edges == 0:
        return Mesh.empty()
    radii = drawn_radii(graph, config)
    field, origin = make_field(graph, radii.radius, config)
    points, faces = march(field, progress)
    points, _ = on_surface(field, points, progress)
    if config.max_error > 0:
        points, faces = _within_bound(field, points, faces, config, progress)
    points, faces = without_specks(points, faces, field.step**3)
    return Mesh(points + origin, faces, _point_data(graph, field, points, radii.known, progress))


def _within_bound(
    field: Field, points: FloatArray, faces: IntArray, config: SurfaceConfig, progress: Progress
) -> tuple[FloatArray, IntArray]:
    """Return the surface refined, decimated and balanced."""
    bound = Bound(config.max_error, RADIUS_FRACTION)
    points, faces, slack = refine(field, points, faces, bound, config, progress)
    points, normals = on_surface(field, points, progress)
    _, radius = _labels(field, points, progress)
    faces, kept = decimate(field, Sheet(points, normals, radius, slack), faces, bound, progress)
    return balance(field, points[kept], normals[kept], faces, bound), faces


def without_specks(points: FloatArray, faces: IntArray, smallest: float) -> tuple[FloatArray, IntArray]:
    """Return the surface without closed pieces that bound nothing, and without the points only they had.

    Such are left where vessels nearly touch: bubbles of less than ``smallest`` mm3, a fraction of a grid cell, whose sides the
    bound lets cross; and hollows whose walls crossed those of the vessel, so that they no longer lie within it.
    """
    piece = face_components(faces, len(points))
    a, b, c = (points[faces[:, i]] for i in range(3))
    volume = np.bincount(piece, np.einsum("ij,ij->i", a - a[:1], np.cross(b - a[:1], c - a[:1])) / 6.0)
    stays = np.abs(volume) >= smallest
    for hollow in np.flatnonzero(stays & (volume < 0)):
        stays[hollow] = lies_within(points, faces, piece, int(hollow))
    used, faces = np.unique(faces[stays[piece]], return_inverse=True)
    return points[used], faces.reshape(-1, 3)


def _labels(field: Field, points: FloatArray, progress: Progress) -> tuple[IntArray, FloatArray]:
    """Return the nearest cone of each point and its radius there, mm."""
    cone, radius = np.empty(len(points), np.int64), np.empty(len(points))
    run_parts(lambda a, b: nearest(field, points, cone, radius, a, b), len(points), _PART, progress, "surface: labels")
    return cone, radius


def _point_data(
    graph: VesselGraph, field: Field, points: FloatArray, known: NDArray[np.bool_], progress: Progress
) -> dict[str, Column]:
    cone, radius = _labels(field, points, progress)
    branch = field.cone_branch[cone]
    data: dict[str, Column] = {"radius": radius, "branch_id": branch}
    if not known.all():
        # Every path point but the last of a branch starts a cone.
        start = np.flatnonzero(graph.edge_of_point[:-1] == graph.edge_of_point[1:])
        data["radius_known"] = (known[start] & known[start + 1])[cone].astype(np.uint8)
    for name in ("tree", "tree_id", "score"):
        # The truth of a phantom has names as text, which surface files do not hold.
        if name in graph.edge_data and graph.edge_data[name].dtype.kind != "U":
            data[name] = graph.edge_data[name][branch]
    return data
