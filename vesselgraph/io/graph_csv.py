"""The branch table as CSV: one row a branch, for spreadsheets, R and pandas. The graph itself is not in it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.graph import Column, VesselGraph
from vesselgraph.polyline import mean_along, range_along, tortuosity
from vesselgraph.topology import generation, grow_forest, strahler_order

_FIRST = ("tree", "tree_confidence", "tree_id", "score")


def table_of(graph: VesselGraph) -> dict[str, Column]:
    """Return the columns of the branch table in file order; an edge column that has the name of one of them gets a ``_``."""
    position, offset = graph.path_position, graph.path_offset
    low, high = range_along(graph.path_radius, offset)
    roots = np.flatnonzero(graph.node_data.get("root", np.zeros(graph.n_nodes, bool)))
    forest = grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, roots)
    table: dict[str, Column] = {
        "branch_id": np.arange(graph.n_edges),
        "start_node": graph.edge_nodes[:, 0],
        "end_node": graph.edge_nodes[:, 1],
        **{name: graph.edge_data[name] for name in _FIRST if name in graph.edge_data},
        "length_mm": graph.edge_length,
        "mean_radius_mm": mean_along(graph.path_radius, position, offset),
        "min_radius_mm": low,
        "max_radius_mm": high,
        "tortuosity": tortuosity(position, offset),
        "strahler": strahler_order(forest),
        "generation": generation(forest),
    }
    for side, label in enumerate(("start", "end")):
        points = graph.node_position[graph.edge_nodes[:, side]]
        table.update({f"{label}_{letter}_mm": points[:, axis] for axis, letter in enumerate("xyz")})
    for name, column in graph.edge_data.items():
        free = name
        while free in table and name not in _FIRST:
            free += "_"
        table[free] = column
    return table


def write_csv(graph: VesselGraph, path: Path) -> None:
    """Write the branch table; an unknown number is an empty cell."""
    table = table_of(graph)
    rows = zip(*([_cell(v) for v in column.tolist()] for column in table.values()), strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        # With "\r\n" (RFC 4180) cells that hold either character are quoted.
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(table)
        writer.writerows(rows)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def read_csv(path: Path) -> dict[str, Column]:
    """Return the columns of a table of :func:`write_csv`.

    A column of True and False is bool, of whole numbers int64, of numbers and empty cells float64, else text.

    Raises
    ------
    FormatError
        Not text, no ``branch_id`` column, or a row with more or fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError("CSV text", f"{error}", "the file is truncated or no CSV") from error
    if not rows or "branch_id" not in rows[0]:
        raise FormatError("a header with `branch_id`", f"{rows[0][:8] if rows else 'an empty file'}", "this is no branch table")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise FormatError(f"{len(rows[0])} cells a row", f"{len(row)} in row {number}", "the file is truncated")
    return {name: _typed([row[i] for row in rows[1:]]) for i, name in enumerate(rows[0])}


def _typed(cells: list[str]) -> Column:
    if cells and set(cells) <= {"True", "False"}:
        return np.array([cell == "True" for cell in cells])
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([math.nan if cell == "" else float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells, dtype=np.str_)
