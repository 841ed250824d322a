"""Analytic vessels with exact centerlines and radii: small truths for tests and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom.raster import clean_mask
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

Kind = Literal["straight", "cone", "arc", "helix", "ring", "y", "cross"]

KINDS: tuple[Kind, ...] = ("straight", "cone", "arc", "helix", "ring", "y", "cross")


def tube_graph(kind: Kind = "straight", *, length: float = 40.0, radius: float = 3.0, step: float = 0.25) -> VesselGraph:
    """Return one analytic vessel as a graph around the world origin.

    Parameters
    ----------
    kind : str
        - ``straight``: along z, ``length`` mm, constant radius.
        - ``cone``: along z, radius falling linearly from ``radius`` to half of it.
        - ``arc``: a quarter circle in the x-z plane, ``length`` mm of arc.
        - ``helix``: one and a half turns around z, ``length`` mm high, on a cylinder of radius ``length / 4``.
        - ``ring``: a closed circle in the x-y plane, circumference ``pi * length``: one node, one self-loop.
        - ``y``: a trunk that parts into two equal daughters, 35 degrees to each side, radii by Murray's law (exponent 3).
        - ``cross``: two straight branches in the x-z plane that cross at a node of degree four.
    length, radius : float, mm
    step : float, mm
        Largest distance of path points; curves are sampled on the exact curve.

    Raises
    ------
    RangeError
        The kind is unknown, or a size is not positive.

    Examples
    --------
    >>> tube_graph("y").degree.tolist()
    [1, 1, 3, 1]
    >>> round(tube_graph("ring", length=40.0).length, 1)
    125.7
    """
    if min(length, radius, step) <= 0:
        raise RangeError("length, radius and step > 0 mm", f"{length}, {radius}, {step}", "pass positive sizes")
    if kind not in KINDS:
        raise RangeError(f"one of {', '.join(KINDS)}", repr(kind), "choose a shape")
    if kind in ("y", "cross"):
        paths, radii = _joined(kind, length, radius, step)
    else:
        path = _curve(kind, length, step)
        paths = [path]
        radii = [radius * (1.0 - 0.5 * _along(path)) if kind == "cone" else np.full(len(path), radius)]
    graph = VesselGraph.from_paths(paths, radii, edge_data={"tree_id": np.ones(len(paths), np.int64)})
    root = (graph.node_position == paths[0][0]).all(axis=1)
    return graph.with_columns(node={"root": root})


def tube_phantom(
    kind: Kind = "straight",
    *,
    length: float = 40.0,
    radius: float = 3.0,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    direction: FloatArray | None = None,
    margin: float = 5.0,
) -> tuple[VesselGraph, Volume]:
    """Return the graph of :func:`tube_graph` and its mask on a grid that covers it.

    Parameters
    ----------
    spacing : (3,) mm
        In array order.
    direction : (3, 3), optional
        Columns are the world unit vectors of the array axes; axial if left out. Oblique grids are fine.
    margin : float, mm
        Free rim around the vessel; 0 makes it touch the border.

    Returns
    -------
    graph : VesselGraph
        Exact centerline and radii, with ``space`` set.
    mask : Volume
        bool, see :func:`vesselgraph.phantom.clean_mask`.
    """
    graph = tube_graph(kind, length=length, radius=radius)
    axes = Space.axial().direction if direction is None else np.asarray(direction, dtype=np.float64)
    size = np.asarray(spacing, dtype=np.float64)
    own = graph.path_position @ axes
    low = (own - graph.path_radius[:, None]).min(axis=0) - margin
    high = (own + graph.path_radius[:, None]).max(axis=0) + margin
    planes, rows, columns = (int(n) for n in np.ceil((high - low) / size) + 1)
    space = Space(size, axes @ low, axes)
    shape = (planes, rows, columns)
    placed = VesselGraph(
        graph.node_position,
        graph.node_radius,
        graph.edge_nodes,
        graph.path_offset,
        graph.path_position,
        graph.path_radius,
        graph.node_data,
        graph.edge_data,
        space=space,
    )
    return placed, Volume(clean_mask(placed, space, shape), space, kind)


def _along(path: FloatArray) -> FloatArray:
    """Return the share of the length passed at each point, (n,) from 0 to 1."""
    passed = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return np.asarray(passed / passed[-1])


def _line(start: Sequence[float], end: Sequence[float], step: float) -> FloatArray:
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    n = max(2, int(np.ceil(np.linalg.norm(b - a) / step)) + 1)
    return np.asarray(a + np.linspace(0.0, 1.0, n)[:, None] * (b - a))


def _curve(kind: Kind, length: float, step: float) -> FloatArray:
    if kind in ("straight", "cone"):
        return _line((0.0, 0.0, -0.5 * length), (0.0, 0.0, 0.5 * length), step)
    turns = {"arc": 0.25, "helix": 1.5, "ring": 1.0}[kind]
    bow = {"arc": 2.0 * length / np.pi, "helix": length / 4.0, "ring": length / 2.0}[kind]
    rise = length if kind == "helix" else 0.0
    true_length = np.hypot(2.0 * np.pi * turns * bow, rise)
    angle = np.linspace(0.0, 2.0 * np.pi * turns, int(np.ceil(true_length / step)) + 1)
    x, y = bow * np.cos(angle), bow * np.sin(angle)
    if kind == "arc":
        return np.stack([x, np.zeros_like(x), y], axis=1)
    z = np.linspace(-0.5, 0.5, len(angle)) * rise
    path = np.stack([x, y, z], axis=1)
    if kind == "ring":
        path[-1] = path[0]
    return path


def _joined(kind: Kind, length: float, radius: float, step: float) -> tuple[list[FloatArray], list[FloatArray]]:
    half = 0.5 * length
    middle = (0.0, 0.0, 0.0)
    if kind == "cross":
        ends = [(-half, 0.0, -half), (half, 0.0, half), (-half, 0.0, half), (half, 0.0, -half)]
        paths = [_line(end, middle, step) for end in ends]
        return paths, [np.full(len(path), radius) for path in paths]
    lean = np.deg2rad(35.0)
    side, up = half * np.sin(lean), half * np.cos(lean)
    paths = [
        _line((0.0, 0.0, -half), middle, step),
        _line(middle, (-side, 0.0, up), step),
        _line(middle, (side, 0.0, up), step),
    ]
    daughter = radius * 0.5 ** (1.0 / 3.0)
    return paths, [np.full(len(path), r) for path, r in zip(paths, (radius, daughter, daughter), strict=True)]
