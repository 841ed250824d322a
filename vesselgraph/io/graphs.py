"""Graphs in and out: one table of suffixes, one door each way. What survives in which format is in ``docs/formats.md``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vesselgraph.errors import FormatError, InputError
from vesselgraph.graph import Column, VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.columns import check_columns
from vesselgraph.io.doors import by_suffix, parsing, require_file
from vesselgraph.io.graph_csv import read_csv, write_csv
from vesselgraph.io.graph_graphml import read_graphml, write_graphml
from vesselgraph.io.graph_json import read_json, write_json
from vesselgraph.io.graph_lines import read_foreign_lines
from vesselgraph.io.graph_swc import read_swc, write_swc
from vesselgraph.io.graph_vtp import META, graph_from_poly, write_graph_vtp
from vesselgraph.io.vtk_files import arrays_of, read_poly

Reader = Callable[[Path, float], VesselGraph]
Writer = Callable[[VesselGraph, Path], None]


def _read_vtk(path: Path, scale: float) -> VesselGraph:
    poly, header = read_poly(path)
    fields = arrays_of(poly.GetFieldData())
    if META in fields:
        return graph_from_poly(poly, fields, scale)
    return read_foreign_lines(poly, fields, path, header, scale)


_READERS: dict[str, Reader] = {
    ".vtp": _read_vtk,
    ".vtk": _read_vtk,
    ".json": read_json,
    ".graphml": read_graphml,
    ".swc": read_swc,
}
_WRITERS: dict[str, Writer] = {
    ".vtp": write_graph_vtp,
    ".json": write_json,
    ".graphml": write_graphml,
    ".swc": write_swc,
}


def write_graph(graph: VesselGraph, path: str | Path) -> None:
    """Write a graph in world LPS millimetres; the suffix chooses the format.

    ``.vtp`` (polylines with the names of VMTK and 3D Slicer), ``.json`` and ``.graphml`` keep everything bit by bit. ``.swc``
    keeps nodes, branches, paths, radii and roots; its header lists what it drops.

    Parameters
    ----------
    graph : VesselGraph
        May be empty, and may have loops, parallel branches and unknown radii.
    path : path
        The file; complete or absent afterwards, an older one is replaced.

    Raises
    ------
    FormatError
        An unknown suffix.
    OutputError
        The file cannot be written, or a column fits no file (a float wider than 64 bits, invalid Unicode).

    Examples
    --------
    >>> import tempfile
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [3, 4, 0]]], radii=[[1.0, 0.5]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_graph(graph, Path(folder) / "graph.vtp")
    ...     read_graph(Path(folder) / "graph.vtp").edge_length.tolist()
    [5.0]
    """
    place = Path(path)
    writer = by_suffix(_WRITERS, place, "graph")
    check_columns({"node": graph.node_data, "edge": graph.edge_data, "path": graph.path_data})
    with atomic_path(place) as temporary:
        writer(graph, temporary)


def read_graph(path: str | Path, *, scale: float = 1.0) -> VesselGraph:
    """Return the graph of a file in world LPS millimetres; the suffix chooses the format.

    Files of :func:`write_graph` and those of other tools are read: lines in VTP and legacy VTK, SWC trees, GraphML whose nodes
    have x, y, z. In the latter, branches run between the points where lines meet or end.

    Parameters
    ----------
    path : path
        ``.vtp``, ``.vtk``, ``.json``, ``.graphml`` or ``.swc``.
    scale : float
        Millimetres per unit of a file that does not state its unit, e.g. 0.001 for micrometres, 10 for centimetres.
        Coordinates of such files count as LPS unless VTK data say ``SPACE=RAS``.

    Raises
    ------
    InputError
        No such file.
    FormatError
        An unknown suffix; a file that is truncated, of another kind than its suffix says, or lacks something (the message
        says what and where); a scale given for a file that states its unit.
    """
    place = Path(path)
    reader = by_suffix(_READERS, place, "graph")
    if not (np.isfinite(scale) and scale > 0):
        raise InputError("scale > 0 mm a unit", f"{scale}", "pass millimetres per file unit")
    require_file(place)
    with parsing(place, "graph"):
        return reader(place, scale)


def write_branch_table(graph: VesselGraph, path: str | Path) -> None:
    """Write one row a branch as CSV: ids, nodes, tree, score, length, radii, shape, orders, end points, all edge columns.

    Names end in their unit (``length_mm``); unknown values are empty cells; the tortuosity of a loop is ``inf``. Orders count
    from the node column ``root`` and are 0 without one.

    Raises
    ------
    FormatError
        Another suffix than ``.csv``.
    OutputError
        The file cannot be written.
    """
    _require_csv(Path(path))
    check_columns({"edge": graph.edge_data})
    with atomic_path(path) as temporary:
        write_csv(graph, temporary)


def read_branch_table(path: str | Path) -> dict[str, Column]:
    """Return the columns of a table of :func:`write_branch_table` by name, (E,) each.

    The types are told from the cells: True and False are bool, whole numbers int64, numbers and empty cells float64, all
    else text.

    Raises
    ------
    InputError
        No such file.
    FormatError
        Another suffix than ``.csv``, a file that is no branch table, or a row that is cut off.
    """
    place = Path(path)
    _require_csv(place)
    require_file(place)
    with parsing(place, "branch table"):
        return read_csv(place)


def _require_csv(place: Path) -> None:
    if place.suffix.lower() != ".csv":
        raise FormatError("a table file name ending in .csv", f"{place.name!r}", "choose that suffix")
