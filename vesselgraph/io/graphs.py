"""Graphs in and out: one table of suffixes, one door each way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vesselgraph.errors import FormatError, GraphInvariantError, InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.columns import check_columns
from vesselgraph.io.graph_csv import write_csv
from vesselgraph.io.graph_json import read_json, write_json
from vesselgraph.io.graph_vtp import META, graph_from_poly, write_graph_vtp
from vesselgraph.io.vtk_files import arrays_of, read_poly

Reader = Callable[[Path, float], VesselGraph]
Writer = Callable[[VesselGraph, Path], None]


def _read_vtk(path: Path, scale: float) -> VesselGraph:
    poly, _ = read_poly(path)
    fields = arrays_of(poly.GetFieldData())
    if META not in fields:
        raise FormatError("centerlines of vesselgraph", "other lines", "convert them")
    return graph_from_poly(poly, fields, scale)


_FORMATS: dict[str, tuple[Reader | None, Writer | None]] = {
    ".vtp": (_read_vtk, write_graph_vtp),
    ".json": (read_json, write_json),
}


def write_graph(graph: VesselGraph, path: str | Path) -> None:
    """Write a graph; the suffix chooses the format."""
    place = Path(path)
    writer = _FORMATS.get(place.suffix.lower(), (None, None))[1]
    if writer is None:
        known = ", ".join(suffix for suffix, (_, w) in _FORMATS.items() if w)
        raise FormatError(f"a graph file name ending in {known}", f"{place.name!r}", "choose one of these suffixes")
    check_columns(graph)
    with atomic_path(place) as temporary:
        writer(graph, temporary)


def read_graph(path: str | Path, *, scale: float = 1.0) -> VesselGraph:
    """Return the graph of a file; the suffix chooses the format."""
    place = Path(path)
    reader = _FORMATS.get(place.suffix.lower(), (None, None))[0]
    if reader is None:
        known = ", ".join(suffix for suffix, (r, _) in _FORMATS.items() if r)
        raise FormatError(f"a graph file name ending in {known}", f"{place.name!r}", "choose one of these suffixes")
    if not place.is_file():
        raise InputError("an existing graph file", f"{place}", "check the path")
    try:
        return reader(place, scale)
    except GraphInvariantError as error:
        raise FormatError(f"an intact graph in {place.name}", f"one that breaks {error}", "the file is damaged") from error


def write_branch_table(graph: VesselGraph, path: str | Path) -> None:
    """Write one row a branch as CSV."""
    with atomic_path(path) as temporary:
        write_csv(graph, temporary)
