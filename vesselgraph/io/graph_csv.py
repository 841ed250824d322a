"""The branch table as CSV: one row a branch, for spreadsheets, R and pandas."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.graph import Column, VesselGraph
from vesselgraph.polyline import mean_along, range_along, tortuosity


def table_of(graph: VesselGraph) -> dict[str, Column]:
    """Return the columns of the branch table in file order."""
    position, offset = graph.path_position, graph.path_offset
    low, high = range_along(graph.path_radius, offset)
    start, end = graph.node_position[graph.edge_nodes[:, 0]], graph.node_position[graph.edge_nodes[:, 1]]
    table: dict[str, Column] = {
        "branch_id": np.arange(graph.n_edges),
        "start_node": graph.edge_nodes[:, 0],
        "end_node": graph.edge_nodes[:, 1],
        "length_mm": graph.edge_length,
        "mean_radius_mm": mean_along(graph.path_radius, position, offset),
        "min_radius_mm": low,
        "max_radius_mm": high,
        "tortuosity": tortuosity(position, offset),
    }
    for label, points in (("start", start), ("end", end)):
        for axis, letter in enumerate("xyz"):
            table[f"{label}_{letter}_mm"] = points[:, axis]
    return table | {name: column for name, column in graph.edge_data.items() if name not in table}


def write_csv(graph: VesselGraph, path: Path) -> None:
    """Write the branch table."""
    table = table_of(graph)
    rows = zip(*([_cell(v) for v in column.tolist()] for column in table.values()), strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(rows)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
