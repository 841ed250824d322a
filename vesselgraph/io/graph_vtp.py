"""VesselGraph as VTP centerlines: one polyline cell per branch, named as VMTK and 3D Slicer expect, and lossless."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column, IntArray, VesselGraph
from vesselgraph.io.columns import frame_from, frame_record, take
from vesselgraph.io.graph_json import refuse_scale
from vesselgraph.io.vtk_files import (
    array_names,
    arrays_of,
    cells_of,
    int_array,
    points_of,
    poly_data,
    space_sign,
    to_vtk,
    write_vtp,
)
from vesselgraph.polyline import tortuosity
from vesselgraph.space import FloatArray

META = "VesselGraph"
_VERSION = 1
_SNAP = 1e-3
# Names other tools know, for columns the stages agree on.
_ALIAS = {
    "tree": "TreeId",
    "tree_confidence": "TreeConfidence",
    "tree_id": "RootedTreeId",
    "score": "Score",
    "presence": "Presence",
    "uncertainty": "Uncertainty",
}
_TAKEN = {
    "node": {META, "SPACE", "UNIT", "NodePosition", "NodeRadius"},
    "edge": {"BranchId", "StartNode", "EndNode", "Length", "Tortuosity", "CenterlineIds", "GroupIds", "TractIds", "Blanking"},
    "path": {"Radius", "MaximumInscribedSphereRadius"},
}


def write_graph_vtp(graph: VesselGraph, path: Path) -> None:
    """Write centerlines with all columns; reading them back gives the same values and dtypes, bit by bit."""
    poly = poly_data(graph.path_position, lines=graph.path_offset)
    names = {
        "node": array_names(graph.node_data, _TAKEN["node"]),
        "edge": array_names(graph.edge_data, _TAKEN["edge"], _ALIAS),
        "path": array_names(graph.path_data, _TAKEN["path"]),
    }
    point, cell, field = poly.GetPointData(), poly.GetCellData(), poly.GetFieldData()
    for name in ("Radius", "MaximumInscribedSphereRadius"):
        point.AddArray(to_vtk(name, graph.path_radius))
    _add(point, graph.path_data, names["path"])
    ids = np.arange(graph.n_edges)
    for name, values in (
        ("BranchId", ids),
        ("CenterlineIds", ids),
        ("GroupIds", ids),
        ("TractIds", 0 * ids),
        ("Blanking", 0 * ids),
    ):
        cell.AddArray(int_array(name, values))
    cell.AddArray(to_vtk("StartNode", graph.edge_nodes[:, 0]))
    cell.AddArray(to_vtk("EndNode", graph.edge_nodes[:, 1]))
    cell.AddArray(to_vtk("Length", graph.edge_length))
    cell.AddArray(to_vtk("Tortuosity", tortuosity(graph.path_position, graph.path_offset)))
    _add(cell, graph.edge_data, names["edge"])
    field.AddArray(to_vtk("NodePosition", graph.node_position))
    field.AddArray(to_vtk("NodeRadius", graph.node_radius))
    _add(field, graph.node_data, names["node"])
    field.AddArray(to_vtk(META, np.array([_meta(graph, names)])))
    write_vtp(poly, path)


def _add(target: Any, columns: Mapping[str, Column], names: Mapping[str, str]) -> None:
    for name, column in columns.items():
        target.AddArray(to_vtk(names[name], column))


def _meta(graph: VesselGraph, names: Mapping[str, Mapping[str, str]]) -> str:
    data = {"node": graph.node_data, "edge": graph.edge_data, "path": graph.path_data}
    columns = {
        axis: [{"name": name, "array": names[axis][name], "dtype": column.dtype.str} for name, column in columns.items()]
        for axis, columns in data.items()
    }
    return json.dumps({"version": _VERSION, **frame_record(graph), "columns": columns})


def graph_from_poly(poly: Any, fields: Mapping[str, Column], scale: float) -> VesselGraph:
    """Return the graph of poly data that :func:`write_graph_vtp` wrote.

    Raises
    ------
    FormatError
        An array is missing or has another length than its axis.
    """
    refuse_scale(scale)
    try:
        meta = json.loads(str(fields[META][0]))
    except (ValueError, IndexError) as error:
        raise FormatError(f"JSON in the field array {META!r}", f"{error}", "write the file again") from error
    point, cell = arrays_of(poly.GetPointData()), arrays_of(poly.GetCellData())
    offset, ids = cells_of(poly.GetLines())
    if not np.array_equal(ids, np.arange(len(ids))):
        raise FormatError("branches that own their points in order", "shared or moved points", "write the file again")
    space, history = frame_from(meta)
    node_position = _array(fields, "NodePosition", "field").reshape(-1, 3)
    edge_nodes = np.stack([_array(cell, "StartNode", "cell"), _array(cell, "EndNode", "cell")], axis=1)
    return VesselGraph(
        node_position=node_position,
        node_radius=_array(fields, "NodeRadius", "field"),
        edge_nodes=edge_nodes,
        path_offset=offset,
        path_position=_snapped(points_of(poly) * space_sign(fields), offset, node_position, edge_nodes),
        path_radius=_array(point, "Radius", "point"),
        node_data=_columns(fields, meta, "node", "field"),
        edge_data=_columns(cell, meta, "edge", "cell"),
        path_data=_columns(point, meta, "path", "point"),
        space=space,
        history=history,
    )


def _snapped(points: FloatArray, offset: IntArray, nodes: FloatArray, edge_nodes: IntArray) -> FloatArray:
    """Return the path points with their ends on the nodes: a viewer that saved the file again may have used 32 bits."""
    if len(offset) != len(edge_nodes) + 1 or (edge_nodes.size and (edge_nodes.min() < 0 or edge_nodes.max() >= len(nodes))):
        return points
    ends = np.stack([offset[:-1], offset[1:] - 1], axis=1)
    wanted = nodes[edge_nodes]
    is_near = np.abs(points[ends] - wanted).max(axis=2, keepdims=True) <= _SNAP
    points[ends] = np.where(is_near, wanted, points[ends])
    return points


def _array(arrays: Mapping[str, Column], name: str, where: str) -> Column:
    if name not in arrays:
        raise FormatError(f"the {where} data array {name!r}", f"only {sorted(arrays)[:12]}", "write the file again")
    return arrays[name]


def _columns(arrays: Mapping[str, Column], meta: Any, axis: str, where: str) -> dict[str, Column]:
    entries = take(meta, f"columns.{axis}")
    return {entry["name"]: _array(arrays, entry["array"], where).astype(entry["dtype"]) for entry in entries}
