"""The report's table of vessels by their name: portal, hepatic, artery, not named."""

from __future__ import annotations

import numpy as np

from vesselgraph.graph import VesselGraph
from vesselgraph.morphology import mean_radius, volume
from vesselgraph.pruning.naming import TREE_NAMES
from vesselgraph.report.columns import colour_of_edge, name_of_edge, tree_of_edge
from vesselgraph.report.palette import TREE_COLOURS
from vesselgraph.report.tables import NOT_NAMED, Column, Row, Table, number

NAME_COLUMNS = (
    Column("Vessels", "By their name; grey in the pictures: what could not be named.", is_number=False),
    Column("Trees", "Rooted trees with branches of that name."),
    Column("Branches", "Branches of that name."),
    Column("Length, mm", "Sum over its branches."),
    Column("Volume, ml", "Truncated cones along its branches; overlap at junctions is counted twice."),
    Column("Mean radius, mm", "Weighted by length."),
    Column("Confidence", "How sure the name is, 0 to 1, weighted by length."),
)


def names_table(graph: VesselGraph) -> Table:
    """Return one row a name of vessels, portal first; no rows if no branch has a name."""
    names, colours, volumes = name_of_edge(graph), colour_of_edge(graph), volume(graph)
    if names is None:
        return Table(NAME_COLUMNS, (), 0)
    rows = []
    for value in (*TREE_NAMES, 0):
        mine = names == value
        if not mine.any():
            continue
        length, radius = graph.edge_length[mine], mean_radius(graph)[mine]
        known = np.isfinite(radius)
        sure = graph.edge_data.get("tree_confidence")
        cells = (
            TREE_NAMES.get(value, NOT_NAMED),
            str(len(np.unique(tree_of_edge(graph)[mine]))),
            str(int(mine.sum())),
            number(float(length.sum())),
            number(float(volumes[mine].sum()) / 1000.0, 2),
            number(float(np.average(radius[known], weights=length[known])) if known.any() else float("nan"), 2),
            "-" if sure is None else number(float(np.average(sure[mine], weights=length)), 2),
        )
        rows.append(Row(cells, key=value, colour=TREE_COLOURS[colours[mine][0]]))
    return Table(NAME_COLUMNS, tuple(rows), len(rows))
