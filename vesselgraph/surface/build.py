"""The door of the stage: graph in, closed surface out."""

from __future__ import annotations

import numpy as np

from vesselgraph.config import SurfaceConfig
from vesselgraph.graph import Column, VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.progress import Progress, silent
from vesselgraph.space import FloatArray
from vesselgraph.surface.cones import drawn_radii, make_field
from vesselgraph.surface.field import Field, nearest, project
from vesselgraph.surface.marching import march
from vesselgraph.surface.threads import run_parts

_DEFAULT = SurfaceConfig()
_PART = 4096


def build_surface(graph: VesselGraph, config: SurfaceConfig = _DEFAULT, *, progress: Progress = silent) -> Mesh:
    """Return the closed, two-manifold, outward-oriented surface of a vessel graph."""
    if graph.n_edges == 0:
        return Mesh.empty()
    radii = drawn_radii(graph, config)
    field, origin = make_field(graph, radii.radius, config)
    points, faces = march(field, progress)
    normals = np.zeros_like(points)
    run_parts(lambda a, b: project(field, points, normals, a, b), len(points), _PART, progress, "surface: projecting")
    return Mesh(points + origin, faces, _point_data(graph, field, points, progress))


def _point_data(graph: VesselGraph, field: Field, points: FloatArray, progress: Progress) -> dict[str, Column]:
    branch, radius = np.empty(len(points), np.int64), np.empty(len(points))
    run_parts(lambda a, b: nearest(field, points, branch, radius, a, b), len(points), _PART, progress, "surface: labels")
    data: dict[str, Column] = {"radius": radius, "branch_id": branch}
    for name in ("tree_id", "score"):
        if name in graph.edge_data:
            data[name] = graph.edge_data[name][branch]
    return data
