"""Points and segments of other tools' files to branches: junctions joined, degree-two points strung into paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column, IntArray, Step, VesselGraph
from vesselgraph.io.vtk_files import arrays_of, cells_of, points_of, space_sign
from vesselgraph.space import FloatArray
from vesselgraph.topology import BoolArray, chains

# In the order they are looked for; the first found is the radius. Compared without case.
RADIUS_NAMES = ("radius", "maximuminscribedsphereradius", "radii")


def graph_from_segments(
    position: FloatArray,
    radius: FloatArray,
    segments: IntArray,
    *,
    is_stop: BoolArray | None = None,
    stage: str = "",
) -> VesselGraph:
    """Return the graph of points (P, 3) mm joined by straight segments (S, 2).

    Points of degree two become path points, all others nodes; a ring without a fork starts at its lowest point. A segment
    between a point and itself is left out, one that comes twice is taken once.

    Parameters
    ----------
    position : (P, 3) mm
        No two points joined by a segment may coincide.
    radius : (P,) mm
        Values <= 0 and infinite ones mean unknown.
    segments : (S, 2)
        Point ids.
    is_stop : (P,) bool, optional
        Points that become nodes whatever their degree.
    stage : str
        Name for the history.
    """
    radius = np.where(np.isfinite(radius) & (radius > 0), radius, np.nan)
    segments = np.unique(np.sort(segments[segments[:, 0] != segments[:, 1]], axis=1), axis=0)
    runs = chains(segments, len(position), is_stop)
    walked = np.where(runs.is_forward[:, None], segments[runs.edge], segments[runs.edge][:, ::-1])
    # A run of n segments has n + 1 points: the first of its first segment, then the last of each.
    first, n_runs = runs.offset[:-1], len(runs.offset) - 1
    points = np.insert(walked[:, 1], first, walked[first, 0])
    offset = runs.offset + np.arange(n_runs + 1)
    is_node = np.zeros(len(position), bool)
    is_node[points[offset[:-1]]] = is_node[points[offset[1:] - 1]] = True
    is_node[np.bincount(segments.ravel(), minlength=len(position)) == 0] = True
    new_id = np.cumsum(is_node) - 1
    return VesselGraph(
        node_position=position[is_node],
        node_radius=radius[is_node],
        edge_nodes=new_id[np.stack([points[offset[:-1]], points[offset[1:] - 1]], axis=1)].reshape(-1, 2),
        path_offset=offset,
        path_position=position[points],
        path_radius=radius[points],
        node_data={} if is_stop is None else {"root": is_stop[is_node]},
        history=(Step(stage),) if stage else (),
    )


def read_foreign_lines(poly: object, fields: Mapping[str, Column], path: Path, header: str, scale: float) -> VesselGraph:
    """Return the graph of the lines of any poly data.

    Points with equal coordinates are one point, so lines that meet there are joined; where lines overlap from point to point
    (VMTK's root-to-tip centerlines) they are one branch. The radius is the point or line array named ``Radius``,
    ``MaximumInscribedSphereRadius`` or ``radii`` (any case); a line's value counts for its points, the mean where lines meet.
    Other arrays are not taken over.

    Raises
    ------
    FormatError
        No lines.
    """
    points = points_of(poly) * (space_sign(fields, header) * scale)
    offset, ids = cells_of(poly.GetLines())  # type: ignore[attr-defined]
    if len(ids) == 0:
        raise FormatError("poly data with lines", "none", "use read_mesh for a surface")
    if ids.min() < 0 or ids.max() >= len(points):
        raise FormatError(f"point ids in [0, {len(points)})", f"{ids.min()}..{ids.max()}", "the file is damaged")
    is_start = np.zeros(len(ids), bool)
    is_start[offset[:-1][np.diff(offset) > 0]] = True
    segments = np.stack([ids[:-1], ids[1:]], axis=1)[~is_start[1:]]
    unique, inverse = np.unique(points + 0.0, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    used = np.zeros(len(unique), bool)
    used[inverse[ids]] = True
    radius = _radius(poly, ids, offset, inverse, len(unique)) * scale
    new_id = np.cumsum(used) - 1
    stage = f"import of {path.name}, {scale:g} mm a unit"
    return graph_from_segments(unique[used], radius[used], new_id[inverse[segments]], stage=stage)


def _radius(poly: object, ids: IntArray, offset: IntArray, point: IntArray, n_points: int) -> FloatArray:
    """Return one radius a merged point: the mean of what its points and lines say, NaN where nothing does."""
    values, owners = np.zeros(0), np.zeros(0, np.int64)
    on_points = _named(arrays_of(poly.GetPointData()))  # type: ignore[attr-defined]
    on_cells = _named(arrays_of(poly.GetCellData()))  # type: ignore[attr-defined]
    n_other = poly.GetNumberOfVerts()  # type: ignore[attr-defined]
    if on_points is not None and len(on_points) == len(point):
        values, owners = on_points[ids], point[ids]
    elif on_cells is not None and len(on_cells) >= n_other + len(offset) - 1:
        # Cell data count vertices before lines.
        values, owners = np.repeat(on_cells[n_other : n_other + len(offset) - 1], np.diff(offset)), point[ids]
    known = np.isfinite(values) & (values > 0)
    total = np.bincount(owners[known], weights=values[known], minlength=n_points)
    count = np.bincount(owners[known], minlength=n_points)
    return np.divide(total, count, out=np.full(n_points, np.nan), where=count > 0)


def _named(arrays: Mapping[str, Column]) -> FloatArray | None:
    lower = {name.lower(): array for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "iuf"}
    for name in RADIUS_NAMES:
        if name in lower:
            return lower[name].astype(np.float64)
    return None
