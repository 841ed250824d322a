"""VesselGraph as GraphML that networkx, igraph, Gephi and Cytoscape open; paths are JSON text attributes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx
import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column, Step, VesselGraph
from vesselgraph.io.columns import column_from, frame_from, frame_record, numbers_from, plain_list, take
from vesselgraph.io.graph_json import refuse_scale

_META = "vesselgraph"
_VERSION = 1
# `id` and `key` mean the edge itself to GraphML readers.
_TAKEN = {
    "node": {"x", "y", "z", "radius", "id", "label"},
    "edge": {"length", "path", "path_radius", "path_data", "id", "key", "label"},
}


def write_graphml(graph: VesselGraph, path: Path) -> None:
    """Write a directed multigraph; reading it back gives the same values and dtypes, bit by bit."""
    meta: dict[str, Any] = {"version": _VERSION, **frame_record(graph), "columns": {}}
    node_rows = _rows(graph.node_data, "node", meta)
    edge_rows = _rows(graph.edge_data, "edge", meta)
    meta["columns"]["path"] = [{"name": name, "dtype": column.dtype.str} for name, column in graph.path_data.items()]
    target = nx.MultiDiGraph(**{_META: json.dumps(meta), "frame": "LPS", "unit": "mm"})
    radius = graph.node_radius.tolist()
    for i, (x, y, z) in enumerate(graph.node_position.tolist()):
        target.add_node(i, x=x, y=y, z=z, radius=radius[i], **{name: values[i] for name, values in node_rows.items()})
    length = graph.edge_length.tolist()
    for e, (start, end) in enumerate(graph.edge_nodes.tolist()):
        here = slice(graph.path_offset[e], graph.path_offset[e + 1])
        row: dict[str, Any] = {
            "length": length[e],
            "path": json.dumps(graph.path_position[here].tolist()),
            "path_radius": json.dumps(plain_list(graph.path_radius[here])),
        }
        if graph.path_data:
            row["path_data"] = json.dumps({name: plain_list(c[here]) for name, c in graph.path_data.items()})
        row.update((name, values[e]) for name, values in edge_rows.items())
        target.add_edges_from([(start, end, e, row)])
    nx.write_graphml_xml(target, path, prettyprint=True)


def _rows(columns: Mapping[str, Column], axis: str, meta: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the columns as lists under their names in the file, and note in ``meta`` how to get them back."""
    taken, result, entries = set(_TAKEN[axis]), {}, []
    for name, column in columns.items():
        attribute = name if name and name.isprintable() else json.dumps(name)
        while attribute in taken:
            attribute += "_"
        taken.add(attribute)
        values = column.tolist()
        # XML has no control characters and may fold white space; such text is written as JSON.
        is_json = column.dtype.kind == "U" and not all(v and v.isprintable() and v == v.strip() for v in values)
        result[attribute] = [json.dumps(v) for v in values] if is_json else values
        entries.append({"name": name, "attribute": attribute, "dtype": column.dtype.str, "json": is_json})
    meta["columns"][axis] = entries
    return result


def read_graphml(path: Path, scale: float) -> VesselGraph:
    """Return the graph of a GraphML file.

    A file of :func:`write_graphml` gives its graph back. In others, nodes need the numbers ``x``, ``y``, ``z`` (and may have
    ``radius``), edges are straight, and other attributes are not taken over.

    Raises
    ------
    FormatError
        Not GraphML, nodes without coordinates, an attribute that is missing or malformed.
    """
    try:
        source = nx.read_graphml(path, force_multigraph=True)
    except (ParseError, nx.NetworkXError, ValueError, LookupError, StopIteration) as error:
        raise FormatError("a GraphML file", f"{error}", "the file is truncated or no GraphML") from error
    nodes = list(source.nodes(data=True))
    edges = list(source.edges(keys=True, data=True))
    label = {name: i for i, (name, _) in enumerate(nodes)}
    position = _coordinates([data for _, data in nodes])
    if _META not in source.graph:
        return _straight(path, position * scale, nodes, [(label[a], label[b]) for a, b, *_ in edges], scale)
    refuse_scale(scale)
    edges.sort(key=lambda edge: edge[2] if isinstance(edge[2], int) else -1)
    return _restored(_json(source.graph[_META], _META), position, label, nodes, edges)


def _json(text: Any, place: str) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise FormatError(f"JSON in {place}", f"{error}", "write the file again") from error


def _coordinates(rows: list[dict[str, Any]]) -> Any:
    lacking = [i for i, row in enumerate(rows) if not all(isinstance(row.get(axis), (int, float)) for axis in "xyz")]
    if lacking:
        raise FormatError("nodes with numbers x, y, z", f"none on nodes {lacking[:5]}", "add the coordinates")
    return np.array([[row["x"], row["y"], row["z"]] for row in rows], dtype=np.float64).reshape(-1, 3)


def _restored(meta: Any, position: Any, label: Mapping[Any, int], nodes: list[Any], edges: list[Any]) -> VesselGraph:
    space, history = frame_from(meta)
    node_rows, edge_rows = [data for _, data in nodes], [data for *_, data in edges]
    paths = [_json(row.get("path"), f"path of edge {e}") for e, row in enumerate(edge_rows)]
    arrays = [numbers_from(path, (-1, 3), float, f"path of edge {e}") for e, path in enumerate(paths)]
    radii = _joined(edge_rows, "path_radius")
    extra = take(meta, "columns.path")
    pieces = [_json(row.get("path_data"), "path_data") for row in edge_rows] if extra else []
    return VesselGraph(
        node_position=position,
        node_radius=_attribute(node_rows, "radius", "<f8"),
        edge_nodes=np.array([(label[a], label[b]) for a, b, *_ in edges], dtype=np.int64).reshape(-1, 2),
        path_offset=np.cumsum([0, *(len(array) for array in arrays)]),
        path_position=np.concatenate(arrays) if arrays else np.zeros((0, 3)),
        path_radius=column_from(radii, "<f8", "path_radius"),
        node_data=_columns(node_rows, take(meta, "columns.node")),
        edge_data=_columns(edge_rows, take(meta, "columns.edge")),
        path_data={c["name"]: column_from(_flat(pieces, c["name"]), c["dtype"], f"path_data {c['name']}") for c in extra},
        space=space,
        history=history,
    )


def _joined(rows: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    values: list[Any] = []
    for row in rows:
        values.extend(_list(_json(row.get(name), name), name))
    return values


def _flat(pieces: Iterable[Any], name: str) -> list[Any]:
    values: list[Any] = []
    for piece in pieces:
        # A column name may hold dots, which `take` would follow.
        values.extend(_list(piece.get(name) if isinstance(piece, dict) else None, name))
    return values


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"a list in {name}", type(value).__name__, "write the file again")
    return value


def _attribute(rows: list[Any], name: str, dtype: str, *, is_json: bool = False) -> Column:
    lacking = [i for i, row in enumerate(rows) if name not in row]
    if lacking:
        raise FormatError(f"the attribute {name!r} everywhere", f"none on {lacking[:5]}", "write the file again")
    values = [row[name] for row in rows]
    return column_from([_json(v, name) for v in values] if is_json else values, dtype, name)


def _columns(rows: list[Any], entries: Any) -> dict[str, Column]:
    return {c["name"]: _attribute(rows, c["attribute"], c["dtype"], is_json=c["json"]) for c in entries}


def _straight(path: Path, position: Any, nodes: list[Any], pairs: list[Any], scale: float) -> VesselGraph:
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    ends = ends[(position[ends[:, 0]] != position[ends[:, 1]]).any(axis=1)]
    given = [data.get("radius", np.nan) for _, data in nodes]
    radius = np.array([r if isinstance(r, (int, float)) else np.nan for r in given], dtype=np.float64) * scale
    radius = np.where(np.isfinite(radius) & (radius > 0), radius, np.nan)
    return VesselGraph(
        node_position=position,
        node_radius=radius,
        edge_nodes=ends,
        path_offset=np.arange(0, 2 * len(ends) + 1, 2),
        path_position=position[ends.ravel()],
        path_radius=radius[ends.ravel()],
        history=(Step(f"import of {path.name}, {scale:g} mm a unit"),),
    )
