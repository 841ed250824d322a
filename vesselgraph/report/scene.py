"""The 3-D view's data: surface, centerlines and region as quantised arrays in plain JSON values."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from vesselgraph import edit
from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.morphology import mean_radius
from vesselgraph.pruning.naming import TREE_NAMES
from vesselgraph.report.columns import branch_score, colour_of_edge, name_of_edge, tree_of_edge
from vesselgraph.report.palette import SCALE_COLOURS, TREE_COLOURS, named_colour_index, tree_colour_index
from vesselgraph.report.views import used_box
from vesselgraph.resampling import resample
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

MAX_FACES = 120_000
_REGION_STEP = 4.0
_LEVELS = 65535


def scene_of(mesh: Mesh, graph: VesselGraph, region: Volume | None = None, *, shown: Mesh | None = None) -> dict[str, Any]:
    """Return what the 3-D view needs, ready for JSON.

    Positions are unsigned 16-bit numbers, ``world = low + size * number / 65535`` mm; arrays are little-endian base64.

    Parameters
    ----------
    mesh, graph : Mesh, VesselGraph
        Either may be empty.
    region : Volume, optional
        Bool mask; its outline is added, sampled at 4 mm.
    shown : Mesh, optional
        The surface to draw; ``mesh`` itself, made coarser by :func:`reduced`, if left out.
    """
    drawn = reduced(mesh) if shown is None else shown
    outline = region_outline(region)
    low, size = _box([drawn.points, graph.path_position, outline.points])
    limits = _radius_limits(graph)
    scene: dict[str, Any] = {
        "low": low.round(4).tolist(),
        "size": size.round(4).tolist(),
        "treeColours": list(TREE_COLOURS),
        "scaleColours": list(SCALE_COLOURS),
        "radiusLimits": [round(limits[0], 3), round(limits[1], 3)],
        "nFacesWhole": mesh.n_faces,
        "mesh": _mesh_part(drawn, low, size) | _mesh_colours(drawn, graph, limits),
        "lines": _line_part(graph, low, size, limits),
        "region": _mesh_part(outline, low, size),
    }
    return scene


def reduced(mesh: Mesh, max_faces: int = MAX_FACES) -> Mesh:
    """Return a coarser surface for display with at most about ``max_faces`` faces; point data come from the nearest point."""
    if mesh.n_faces <= max_faces:
        return mesh
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkFiltersCore import vtkQuadricDecimation

    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(mesh.points), deep=True))
    cells = vtkCellArray()
    cells.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(mesh.faces.ravel()), deep=True))
    surface = vtkPolyData()
    surface.SetPoints(points)
    surface.SetPolys(cells)
    decimate = vtkQuadricDecimation()
    decimate.SetInputData(surface)
    decimate.SetTargetReduction(1.0 - max_faces / mesh.n_faces)
    decimate.Update()
    output = decimate.GetOutput()
    new_points = vtk_to_numpy(output.GetPoints().GetData()).astype(np.float64)
    faces = vtk_to_numpy(output.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    _, nearest = KDTree(mesh.points).query(new_points)
    return Mesh(new_points, faces, {name: column[nearest] for name, column in mesh.point_data.items()})


def region_outline(region: Volume | None) -> Mesh:
    """Return a smooth, coarse outline of a bool mask; empty where the mask is none, empty or everywhere true."""
    if region is None or not region.array.any() or region.array.all():
        return Mesh.empty()
    from skimage import measure

    part = region.crop(*used_box(region.array))
    step = max(_REGION_STEP, float(part.extent.max()) / 120.0)
    space = part.space.rescaled((step, step, step)).shifted((-2, -2, -2))
    shape = tuple(int(n) + 4 for n in np.maximum(1, np.ceil(part.extent / step)))
    coarse = resample(part, space, shape, interpolation="nearest", fill=0.0)  # type: ignore[arg-type]
    soft = ndimage.gaussian_filter(coarse.array.astype(np.float32), 0.8)
    if not soft.min() < 0.5 < soft.max():
        return Mesh.empty()
    index, faces, _, _ = measure.marching_cubes(soft, 0.5, gradient_direction="ascent")
    return Mesh(space.to_world(index), faces)


def _box(parts: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    points = np.concatenate([part for part in parts if len(part)] or [np.zeros((1, 3))])
    low = points.min(axis=0)
    return low, np.maximum(points.max(axis=0) - low, 1e-3)


def _packed(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _mesh_part(mesh: Mesh, low: FloatArray, size: FloatArray) -> dict[str, Any]:
    return {
        "nPoints": mesh.n_points,
        "nFaces": mesh.n_faces,
        "points": _packed(np.round((mesh.points - low) / size * _LEVELS), "<u2"),
        "faces": _packed(mesh.faces, "<u4"),
    }


def _mesh_colours(mesh: Mesh, graph: VesselGraph, limits: tuple[float, float]) -> dict[str, Any]:
    branch = mesh.point_data.get("branch_id")
    if branch is None or (len(branch) and not 0 <= branch.min() <= branch.max() < graph.n_edges):
        branch = _nearest_branch(mesh, graph)
    branch = branch.astype(np.int64)
    if graph.n_edges == 0:
        radius = np.full(mesh.n_points, np.nan)
        tree, score = np.zeros(mesh.n_points, np.int64), np.full(mesh.n_points, np.nan)
    else:
        radius = mesh.point_data.get("radius", mean_radius(graph)[branch])
        tree = colour_of_point(mesh, colour_of_edge(graph)[branch])
        score = mesh.point_data.get("score", branch_score(graph)[branch])
    return {
        "branch": _packed(branch, "<u2" if graph.n_edges <= _LEVELS else "<u4"),
        "branchBytes": 2 if graph.n_edges <= _LEVELS else 4,
        "tree": _packed(tree, "u1"),
        "radius": _packed(_levels(radius, *limits), "u1"),
        "score": _packed(_levels(score, 0.0, 1.0), "u1"),
    }


def colour_of_point(mesh: Mesh, otherwise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each point's colour in ``TREE_COLOURS``, (P,), by the mesh's own ``tree`` or ``tree_id``."""
    if "tree" in mesh.point_data and (mesh.point_data["tree"] > 0).any():
        return named_colour_index(mesh.point_data["tree"].astype(np.int64))
    if "tree_id" in mesh.point_data:
        return tree_colour_index(mesh.point_data["tree_id"].astype(np.int64))
    return otherwise


def _nearest_branch(mesh: Mesh, graph: VesselGraph) -> NDArray[np.int64]:
    if graph.n_edges == 0 or mesh.n_points == 0:
        return np.zeros(mesh.n_points, np.int64)
    dense = edit.resample(graph, 0.5)
    return dense.edge_of_point[KDTree(dense.path_position).query(mesh.points)[1]]


def _line_part(graph: VesselGraph, low: FloatArray, size: FloatArray, limits: tuple[float, float]) -> dict[str, Any]:
    name = name_of_edge(graph)
    return {
        "points": _packed(np.round((graph.path_position - low) / size * _LEVELS), "<u2"),
        "offset": _packed(graph.path_offset, "<u4"),
        "radius": _packed(_levels(graph.path_radius, *limits), "u1"),
        "tree": _packed(colour_of_edge(graph), "u1"),
        "score": _packed(_levels(branch_score(graph), 0.0, 1.0), "u1"),
        "treeId": tree_of_edge(graph).tolist(),
        "treeName": [] if name is None else [TREE_NAMES.get(n, "not named") for n in name.tolist()],
        "length": graph.edge_length.round(1).tolist(),
        "meanRadius": [None if np.isnan(r) else round(float(r), 2) for r in mean_radius(graph)],
        "scoreValue": [None if np.isnan(s) else round(float(s), 3) for s in branch_score(graph)],
    }


def _radius_limits(graph: VesselGraph) -> tuple[float, float]:
    known = graph.path_radius[np.isfinite(graph.path_radius)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = float(known.min()), float(np.percentile(known, 99.0))
    return low, max(high, low + 0.1)


def _levels(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return values as bytes: 1...255 from low to high, 0 for unknown."""
    share = np.clip((np.asarray(values, np.float64) - low) / max(high - low, 1e-9), 0.0, 1.0)
    return np.where(np.isnan(share), 0.0, 1.0 + np.round(share * 254.0)).astype(np.uint8)
