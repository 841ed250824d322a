"""The report's tables as plain rows: trees, branches, what was dropped, scores, timings, configuration, versions, inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.report.columns import branch_radius, branch_score, branch_tortuosity, branch_volume, tree_of_edge
from vesselgraph.report.palette import TREE_COLOURS, tree_colour_index

MAX_BRANCH_ROWS = 300
_GENERATORS = {1: "thinning", 2: "gap bridge"}


@dataclass(frozen=True)
class Column:
    """A table column: its title, what it means, and whether it holds numbers (right-aligned, sorted by value)."""

    title: str
    meaning: str
    is_number: bool = True


@dataclass(frozen=True)
class Row:
    """Cell texts in column order, the id of the branch or tree it is about, and a colour swatch for the first cell."""

    cells: tuple[str, ...]
    key: int = -1
    colour: str = ""
    share: float = -1.0


@dataclass(frozen=True)
class Table:
    """Columns and rows; ``n_rows_whole`` counts the rows that exist, shown or not."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    n_rows_whole: int


@dataclass(frozen=True)
class KeyFigure:
    """One headline number."""

    label: str
    value: str
    note: str = ""


def _table(columns: Sequence[Column], rows: Sequence[Row], n_rows_whole: int | None = None) -> Table:
    return Table(tuple(columns), tuple(rows), len(rows) if n_rows_whole is None else n_rows_whole)


def number(value: float, digits: int = 1) -> str:
    """Return a number with fixed digits, "-" for NaN or infinity.

    Examples
    --------
    >>> number(2.345, 2), number(float("nan"))
    ('2.35', '-')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def key_figures(graph: VesselGraph, mesh: Mesh) -> list[KeyFigure]:
    """Return the headline numbers of a reconstruction."""
    trees = tree_of_edge(graph)
    radius, length = branch_radius(graph), graph.edge_length
    known = np.isfinite(radius)
    mean = float((radius * length)[known].sum() / length[known].sum()) if known.any() else math.nan
    points = graph.path_radius[np.isfinite(graph.path_radius)]
    thinnest = float(points.min()) if points.size else math.nan
    closed = is_closed(mesh)
    return [
        KeyFigure("Total length", f"{graph.length:.0f} mm", "along all centerlines"),
        KeyFigure("Branches", str(graph.n_edges), "between branch points and tips"),
        KeyFigure("Bifurcations", str(int((graph.degree >= 3).sum())), "nodes where three or more branches meet"),
        KeyFigure("Trees", str(len(set(trees[trees > 0].tolist()))), "separate rooted vessel trees"),
        KeyFigure("Mean radius", f"{number(mean, 2)} mm", "weighted by length"),
        KeyFigure("Thinnest radius", f"{number(thinnest, 2)} mm", "smallest along any centerline"),
        KeyFigure("Surface volume", f"{mesh.volume / 1000.0:.1f} ml" if closed else "-", "enclosed by the surface"),
        KeyFigure("Surface closed", "yes" if closed else "no", "every edge joins two faces, no holes"),
    ]


def is_closed(mesh: Mesh) -> bool:
    """Return whether every edge of the surface joins exactly two faces that turn the same way; False without faces.

    Examples
    --------
    >>> tetra = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    >>> is_closed(tetra), is_closed(Mesh(tetra.points, tetra.faces[:3]))
    (True, False)
    """
    if mesh.n_faces == 0:
        return False
    start = mesh.faces.ravel()
    end = np.roll(mesh.faces, -1, axis=1).ravel()
    there = np.sort(start * mesh.n_points + end)
    back = np.sort(end * mesh.n_points + start)
    return bool((there[1:] != there[:-1]).all() and np.array_equal(there, back))


TREE_COLUMNS = (
    Column("Tree", "Number of the tree, 1 is the longest; 0 collects branches in no tree."),
    Column("Branches", "Branches in the tree."),
    Column("Bifurcations", "Nodes of the tree where three or more branches meet."),
    Column("Tips", "Open ends, the root not counted."),
    Column("Length, mm", "Sum over its branches."),
    Column("Volume, ml", "Truncated cones along its branches; overlap at junctions is counted twice."),
    Column("Radius, mm", "Thinnest to widest along its centerlines.", is_number=False),
    Column("Root x, y, z, mm", "World position (LPS: x to the patient's left, y to the back, z up).", is_number=False),
)


def trees_table(graph: VesselGraph) -> Table:
    """Return one row a tree, the longest first."""
    trees, volume = tree_of_edge(graph), branch_volume(graph)
    root = graph.node_data.get("root", np.zeros(graph.n_nodes, bool)).astype(bool)
    ids = sorted(set(trees.tolist()), key=lambda tree: (tree <= 0, -float(graph.edge_length[trees == tree].sum())))
    rows = []
    for tree in ids:
        mine = trees == tree
        nodes = np.unique(graph.edge_nodes[mine])
        points = graph.path_radius[mine[graph.edge_of_point]]
        points = points[np.isfinite(points)]
        span = f"{points.min():.2f}-{points.max():.2f}" if points.size else "-"
        roots = [", ".join(f"{x:.1f}" for x in graph.node_position[node]) for node in nodes[root[nodes]]]
        cells = (
            str(tree),
            str(int(mine.sum())),
            str(int((graph.degree[nodes] >= 3).sum())),
            str(int(((graph.degree[nodes] == 1) & ~root[nodes]).sum())),
            number(float(graph.edge_length[mine].sum())),
            number(float(volume[mine].sum()) / 1000.0, 2),
            span,
            "; ".join(roots[:3]) + (" …" if len(roots) > 3 else "") if roots else "-",
        )
        rows.append(Row(cells, key=int(tree), colour=_tree_colour(int(tree))))
    return _table(TREE_COLUMNS, rows)


def _tree_colour(tree: int) -> str:
    return TREE_COLOURS[int(tree_colour_index(np.array([tree]))[0])]


BRANCH_COLUMNS = (
    Column("Branch", "Id of the branch; the same in branches.csv, graph.json and the surface's branch_id."),
    Column("Tree", "The tree it belongs to."),
    Column("Length, mm", "Along the centerline."),
    Column("Mean radius, mm", "Weighted by length."),
    Column("Tortuosity", "Length over the straight distance between its ends; 1 is straight."),
    Column("Score", "How sure the branch is, 0 to 1."),
    Column("Found by", "Thinning: traced on the heatmap. Gap bridge: joins two pieces across weak signal.", is_number=False),
)


def branches_table(graph: VesselGraph, max_rows: int = MAX_BRANCH_ROWS) -> Table:
    """Return one row a branch, the longest ``max_rows`` of them."""
    trees, radius, score = tree_of_edge(graph), branch_radius(graph), branch_score(graph)
    tortuosity = branch_tortuosity(graph)
    generator = graph.edge_data.get("generator")
    rows = []
    for edge in np.argsort(-graph.edge_length, kind="stable")[:max_rows]:
        cells = (
            str(edge),
            str(trees[edge]),
            number(graph.edge_length[edge]),
            number(radius[edge], 2),
            number(tortuosity[edge], 2),
            number(score[edge], 2),
            "-" if generator is None else generator_text(int(generator[edge])),
        )
        rows.append(Row(cells, key=int(edge), colour=_tree_colour(int(trees[edge]))))
    return _table(BRANCH_COLUMNS, rows, graph.n_edges)


def generator_text(flags: int) -> str:
    """Return the generators named by bit flags.

    Examples
    --------
    >>> generator_text(3), generator_text(0)
    ('thinning + gap bridge', '-')
    """
    names = [name for bit, name in _GENERATORS.items() if flags & bit]
    rest = flags & ~sum(_GENERATORS)
    return " + ".join([*names, *([f"flags {rest}"] if rest else [])]) or "-"


def dropped_table(dropped: Any) -> Table:
    """Return what was dropped: reason, number of branches, their length.

    ``dropped`` maps a reason to a count, or to a mapping with ``n_branches`` (or ``count``) and ``length``; or it is a list of
    mappings with ``reason`` too.
    """
    columns = (
        Column("Reason", "Why the branches were left out.", is_number=False),
        Column("Branches", "How many branches."),
        Column("Length, mm", "Their total length."),
    )
    if isinstance(dropped, Mapping):
        entries = [(reason, value if isinstance(value, Mapping) else {"count": value}) for reason, value in dropped.items()]
    elif isinstance(dropped, Sequence) and not isinstance(dropped, str):
        entries = [(entry.get("reason", "-"), entry) for entry in dropped if isinstance(entry, Mapping)]
    else:
        entries = []
    rows = []
    for reason, entry in entries:
        count = entry.get("n_branches", entry.get("count", entry.get("n", "-")))
        length = entry.get("length", entry.get("length_mm"))
        rows.append(Row((str(reason), str(count), "-" if length is None else number(float(length)))))
    return _table(columns, rows)


def pairs_table(values: Any, title: str, meaning: str, value_title: str = "Value") -> Table:
    """Return nested mappings as two columns, the key's path and the value."""
    columns = (Column(title, meaning, is_number=False), Column(value_title, "", is_number=False))
    return _table(columns, [Row((name, text)) for name, text in flattened(values)])


def flattened(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of nested mappings and lists of mappings.

    Examples
    --------
    >>> list(flattened({"f1": {"2 mm": 0.91234, "n": 3}, "grid": [1, 2]}))
    [('f1.2 mm', '0.9123'), ('f1.n', '3'), ('grid', '1, 2')]
    """
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from flattened(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in values):
        for place, item in enumerate(values):
            yield from flattened(item, f"{prefix}.{place}" if prefix else str(place))
    elif values is not None or prefix:
        yield prefix or "value", _text(values)


def _text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}" if math.isfinite(float(value)) else "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return "-" if value is None else str(value)


def timings_table(timings: Any) -> Table:
    """Return seconds and share a stage, in the order they were run; ``total`` is taken as the whole where it is given."""
    columns = (
        Column("Stage", "Step of the reconstruction.", is_number=False),
        Column("Seconds", "Wall-clock time."),
        Column("Share", "Of the total."),
    )
    entries = {name: float(text) for name, text in flattened(timings or {}) if _is_number(text)}
    total = entries.pop("total", math.nan)
    total = total if math.isfinite(total) and total > 0 else sum(entries.values())
    rows = []
    for name, seconds in entries.items():
        share = seconds / total if total > 0 else 0.0
        rows.append(Row((name, number(seconds, 2), f"{100 * share:.0f} %"), share=min(max(share, 0.0), 1.0)))
    if rows:
        rows.append(Row(("total", number(total, 2), "")))
    return _table(columns, rows)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
