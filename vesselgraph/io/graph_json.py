"""VesselGraph as JSON, the project's own lossless text format; the schema is in ``docs/formats.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column, VesselGraph
from vesselgraph.io.columns import column_from, frame_from, frame_record, numbers_from, plain_list, take

FORMAT = "vesselgraph-graph"
VERSION = 1


def write_json(graph: VesselGraph, path: Path) -> None:
    """Write the whole graph; reading it back gives the same values and dtypes, bit by bit."""
    path.write_text(json.dumps(_record(graph), ensure_ascii=True, allow_nan=False), encoding="ascii")


def _record(graph: VesselGraph) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        **frame_record(graph),
        "nodes": {
            "position": graph.node_position.tolist(),
            "radius": plain_list(graph.node_radius),
            "data": _columns(graph.node_data),
        },
        "branches": {
            "nodes": graph.edge_nodes.tolist(),
            "path_offset": graph.path_offset.tolist(),
            "data": _columns(graph.edge_data),
        },
        "path": {
            "position": graph.path_position.tolist(),
            "radius": plain_list(graph.path_radius),
            "data": _columns(graph.path_data),
        },
    }


def _columns(columns: Mapping[str, Column]) -> dict[str, Any]:
    return {name: {"dtype": column.dtype.str, "values": plain_list(column)} for name, column in columns.items()}


def read_json(path: Path, scale: float) -> VesselGraph:
    """Return the graph of a file of :func:`write_json`; ``scale`` must be 1, the file says its unit.

    Raises
    ------
    FormatError
        Not JSON, another format or a newer version, a missing or malformed entry.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError("JSON text", f"{error}", "the file is truncated or no JSON") from error
    if take(record, "format") != FORMAT:
        raise FormatError(f'"format": "{FORMAT}"', f"{record['format']!r}", "this JSON was written by something else")
    version = take(record, "version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise FormatError(f"version 1 to {VERSION}", f"version {version!r}", "read it with a newer vesselgraph")
    refuse_scale(scale)
    space, history = frame_from(record)
    return VesselGraph(
        node_position=numbers_from(take(record, "nodes.position"), (-1, 3), float, "nodes.position"),
        node_radius=column_from(take(record, "nodes.radius"), "<f8", "nodes.radius"),
        edge_nodes=numbers_from(take(record, "branches.nodes"), (-1, 2), int, "branches.nodes"),
        path_offset=numbers_from(take(record, "branches.path_offset"), (-1,), int, "branches.path_offset"),
        path_position=numbers_from(take(record, "path.position"), (-1, 3), float, "path.position"),
        path_radius=column_from(take(record, "path.radius"), "<f8", "path.radius"),
        node_data=_columns_from(record, "nodes.data"),
        edge_data=_columns_from(record, "branches.data"),
        path_data=_columns_from(record, "path.data"),
        space=space,
        history=history,
    )


def _columns_from(record: Any, place: str) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for name, entry in take(record, place).items():
        found[name] = column_from(take(entry, "values"), str(take(entry, "dtype")), f"{place}.{name}")
    return found


def refuse_scale(scale: float) -> None:
    """Refuse any ``scale`` but 1: files of this project are in millimetres.

    Raises
    ------
    FormatError
        Another scale.
    """
    if scale != 1.0:
        raise FormatError("scale=1 for a file that states its unit (mm)", f"scale={scale:g}", "leave scale out")
