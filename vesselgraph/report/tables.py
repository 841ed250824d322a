"""The report's tables as plain rows: trees, branches, what was dropped, scores, timings, configuration, versions, inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.morphology import mean_radius, tortuosity, volume
from vesselgraph.pruning.naming import TREE_NAMES
from vesselgraph.report.columns import (
    branch_score,
    colour_of_edge,
    name_of_edge,
    thinnest_and_mean_radius,
    tree_of_edge,
)
from vesselgraph.report.palette import TREE_COLOURS
from vesselgraph.surface import SurfaceCheck

MAX_BRANCH_ROWS = 300
NOT_NAMED = "not named"
_GENERATORS = {1: "thinning", 2: "gap bridge", 4: "keypoint path", 8: "Rivulet", 16: "through path"}


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


def key_figures(graph: VesselGraph, mesh: Mesh, check: SurfaceCheck) -> list[KeyFigure]:
    """Return the headline numbers of a reconstruction; ``check`` is of ``mesh``."""
    trees = tree_of_edge(graph)
    thinnest, mean = thinnest_and_mean_radius(graph)
    is_sound = check.is_sound and mesh.n_faces > 0
    return [
        KeyFigure("Total length", f"{graph.length:.0f} mm", "along all centerlines"),
        KeyFigure("Branches", str(graph.n_edges), "between branch points and tips"),
        KeyFigure("Bifurcations", str(int((graph.degree >= 3).sum())), "nodes where three or more branches meet"),
        KeyFigure("Trees", str(len(set(trees[trees > 0].tolist()))), "separate rooted vessel trees"),
        KeyFigure("Mean radius", f"{number(mean, 2)} mm", "weighted by length"),
        KeyFigure("Thinnest radius", f"{number(thinnest, 2)} mm", "smallest along any centerline"),
        KeyFigure("Surface volume", f"{check.volume / 1000.0:.1f} ml" if is_sound else "-", "enclosed by the surface"),
        KeyFigure("Surface closed", "yes" if check.closed and mesh.n_faces else "no", "every edge joins two faces, no holes"),
    ]


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
    trees, volumes = tree_of_edge(graph), volume(graph)
    root = graph.node_data.get("root", np.zeros(graph.n_nodes, bool)).astype(bool)
    names, colours = name_of_edge(graph), colour_of_edge(graph)
    ids = sorted(set(trees.tolist()), key=lambda tree: (tree <= 0, -float(graph.edge_length[trees == tree].sum())))
    rows = []
    for tree in ids:
        mine = trees == tree
        nodes = np.unique(graph.edge_nodes[mine])
        points = graph.path_radius[mine[graph.edge_of_point]]
        points = points[np.isfinite(points)]
        span = f"{points.min():.2f}-{points.max():.2f}" if points.size else "-"
        roots = [", ".join(f"{x:.1f}" for x in graph.node_position[node]) for node in nodes[root[nodes]]]
        longest = np.bincount(colours[mine], graph.edge_length[mine]).argmax()
        cells = (
            str(tree) + ("" if names is None else f" ({_commonest_name(names[mine], graph.edge_length[mine])})"),
            str(int(mine.sum())),
            str(int((graph.degree[nodes] >= 3).sum())),
            str(int(((graph.degree[nodes] == 1) & ~root[nodes]).sum())),
            number(float(graph.edge_length[mine].sum())),
            number(float(volumes[mine].sum()) / 1000.0, 2),
            span,
            "; ".join(roots[:3]) + (" …" if len(roots) > 3 else "") if roots else "-",
        )
        rows.append(Row(cells, key=int(tree), colour=TREE_COLOURS[longest]))
    return _table(TREE_COLUMNS, rows)


def _commonest_name(names: NDArray[np.int64], length: NDArray[np.float64]) -> str:
    return TREE_NAMES.get(int(np.bincount(names, length).argmax()), NOT_NAMED)


BRANCH_COLUMNS = (
    Column("Branch", "Id of the branch; the same in branches.csv, graph.json and the surface's branch_id."),
    Column("Tree", "The tree it belongs to."),
    Column("Length, mm", "Along the centerline."),
    Column("Mean radius, mm", "Weighted by length."),
    Column("Tortuosity", "Length over the straight distance between its ends; 1 is straight."),
    Column("Score", "How sure the branch is, 0 to 1."),
    Column(
        "Found by",
        "Thinning: traced on the heatmap. Gap bridge: joins two pieces across weak signal. Keypoint path, Rivulet: the "
        "cheapest way between points on ridges, and from afar to the trunk. Through path: passes beside a node.",
        is_number=False,
    ),
)
UNCERTAINTY = Column("Uncertainty", "Share of the opinion behind the score that no evidence covers, 0 to 1.")


def branches_table(graph: VesselGraph, max_rows: int = MAX_BRANCH_ROWS) -> Table:
    """Return one row a branch, the longest ``max_rows`` of them; with its uncertainty where the pruner told one."""
    trees, radius, score = tree_of_edge(graph), mean_radius(graph), branch_score(graph)
    names, colours, bend = name_of_edge(graph), colour_of_edge(graph), tortuosity(graph)
    generator, doubt = graph.edge_data.get("generator"), graph.edge_data.get("uncertainty")
    rows = []
    for edge in np.argsort(-graph.edge_length, kind="stable")[:max_rows]:
        cells = (
            str(edge),
            str(trees[edge]) + ("" if names is None else f" ({TREE_NAMES.get(int(names[edge]), NOT_NAMED)})"),
            number(graph.edge_length[edge]),
            number(radius[edge], 2),
            number(bend[edge], 2),
            number(score[edge], 2),
            "-" if generator is None else generator_text(int(generator[edge])),
            *(() if doubt is None else (number(doubt[edge], 2),)),
        )
        rows.append(Row(cells, key=int(edge), colour=TREE_COLOURS[colours[edge]]))
    return _table((*BRANCH_COLUMNS, *(() if doubt is None else (UNCERTAINTY,))), rows, graph.n_edges)


def generator_text(flags: int) -> str:
    """Return the generators named by bit flags.

    Examples
    --------
    >>> generator_text(5), generator_text(0)
    ('thinning + keypoint path', '-')
    """
    names = [name for bit, name in _GENERATORS.items() if flags & bit]
    rest = flags & ~sum(_GENERATORS)
    return " + ".join([*names, *([f"flags {rest}"] if rest else [])]) or "-"


def dropped_table(run: Mapping[str, Any]) -> Table:
    """Return what was dropped: reason, number of branches, their length and share of all candidates' length."""
    columns = (
        Column("Reason", "Why the branches were left out.", is_number=False),
        Column("Branches", "How many branches."),
        Column("Length, mm", "Their total length."),
        Column("Share", "Of the length of all candidate branches, kept and dropped."),
    )
    whole = _float(_mapping(run.get("candidates")).get("length"))
    rows = []
    for reason, facts in _mapping(run.get("dropped")).items():
        entry = _mapping(facts)
        length = _float(entry.get("length"))
        share = length / whole if whole > 0 else math.nan
        cells = (str(reason), _text(entry.get("n_branches")), number(length), _percent(share))
        rows.append(Row(cells, share=_bar(share)))
    return _table(columns, rows)


PHASE_COLUMNS = (
    Column("Phase", "Name of the contrast phase; the reference gives the grid and is not moved.", is_number=False),
    Column("Body overlap", "Dice of the two bodies where the headers put them, and after the match; 1 is perfect."),
    Column("Soft tissue", "Correlation of the soft tissue of both, vessels left out, before and after; 1 is perfect."),
    Column("Information", "Mutual information of both, vessels left out, before and after; more is better."),
    Column("Covered", "Share of the reference's box that the phase shows."),
    Column("Moved, mm", "How far the tissue of the body was moved, on average and at the most."),
    Column("Volume change", "Least local change of volume of the deformation; 1 without one, near 0 would be folded."),
)


def phases_table(run: Mapping[str, Any]) -> Table:
    """Return one row a contrast phase: how well it fits the reference before and after; no rows for a single image."""
    rows = []
    for name, facts in _mapping(run.get("phases")).items():
        figures = _mapping(facts)

        def shown(key: str, digits: int, figures: Mapping[str, Any] = figures) -> str:
            return number(_float(figures.get(key)), digits)

        pairs = (
            f"{shown(f'{key}_before', 3)} → {shown(f'{key}_after', 3)}"
            for key in ("body_dice", "correlation", "mutual_information")
        )
        moved = f"{shown('mean_displacement', 1)}, at most {shown('max_displacement', 1)}"
        values = (*pairs, shown("covered_fraction", 2), moved, shown("min_jacobian", 2))
        rows.append(Row((name, *values) if figures else (f"{name} (reference)", *["-"] * len(values))))
    return _table(PHASE_COLUMNS, rows if len(rows) > 1 else [])


SCORE_COLUMNS = (
    Column("Measure", "What is compared with the truth; mm is the tolerance.", is_number=False),
    Column("Precision", "Share of what was found that is right."),
    Column("Recall", "Share of the truth that was found."),
    Column("F1", "Harmonic mean of precision and recall."),
    Column("Found", "Number of items compared in the result."),
    Column("True", "Number of items in the truth."),
)


def scores_table(scores: Mapping[str, Any] | None) -> Table:
    """Return one row for each nested entry that has a precision, a recall and an F1."""
    rows = []
    for path, entry in _nested_scores(scores or {}, ()):
        values = (number(_float(entry.get(key)), 3) for key in ("precision", "recall", "f1"))
        counts = (_text(entry.get(key)) for key in ("n_predicted", "n_truth"))
        rows.append(Row((_measure(path), *values, *counts)))
    return _table(SCORE_COLUMNS, rows)


def other_scores_table(scores: Mapping[str, Any] | None) -> Table:
    """Return everything :func:`scores_table` leaves out as two columns."""
    columns = (Column("Measure", "", is_number=False), Column("Value", "", is_number=False))
    taken = [path for path, _ in _nested_scores(scores or {}, ())]
    rest = [leaf for leaf in _leaves(scores, ()) if not any(leaf[0][: len(path)] == path for path in taken)]
    return _table(columns, [Row((_measure(path), _text(value))) for path, value in rest])


def _nested_scores(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if {"precision", "recall", "f1"} <= set(values):
        yield path, values
        return
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _nested_scores(value, (*path, str(key)))


def _measure(path: tuple[str, ...]) -> str:
    return ", ".join(f"{part} mm" if part.replace(".", "", 1).isdigit() else part.replace("_", " ") for part in path)


def pairs_table(values: Any, title: str, meaning: str, value_title: str = "Value") -> Table:
    """Return nested mappings as two columns, the key's path and the value."""
    columns = (Column(title, meaning, is_number=False), Column(value_title, "", is_number=False))
    return _table(columns, [Row((name, text)) for name, text in flattened(values)])


def flattened(values: Any) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of nested mappings and lists of mappings.

    Examples
    --------
    >>> list(flattened({"f1": {"2 mm": 0.91234, "n": 3}, "grid": [1, 2]}))
    [('f1.2 mm', '0.9123'), ('f1.n', '3'), ('grid', '1, 2')]
    """
    for path, value in _leaves(values, ()):
        yield ".".join(path), _text(value)


def _leaves(values: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(values, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in values):
        for place, item in enumerate(values):
            yield from _leaves(item, (*path, str(place)))
    elif path:
        yield path, values


def _text(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return _significant(float(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return "-" if value is None else str(value)


def timings_table(run: Mapping[str, Any]) -> Table:
    """Return wall and processor seconds, share and memory of each stage, in the order they were run, and the total."""
    columns = (
        Column("Stage", "Step of the reconstruction.", is_number=False),
        Column("Seconds", "Wall-clock time."),
        Column("CPU seconds", "Processor time of all threads."),
        Column("Peak memory, GB", "Largest memory of the process while the stage ran, 1e9 bytes."),
        Column("Share", "Of the total wall-clock time."),
    )
    wall, cpu, memory = (_mapping(run.get(key)) for key in ("timings", "cpu_seconds", "peak_memory_gb"))
    total = _float(wall.get("total"))

    def row(stage: str, memory_key: str) -> Row:
        seconds = _float(wall.get(stage))
        share = seconds / total if total > 0 else math.nan
        costs = (number(seconds, 2), number(_float(cpu.get(stage)), 2), number(_float(memory.get(memory_key)), 2))
        return Row((stage, *costs, _percent(share)), share=-1.0 if stage == "total" else _bar(share))

    rows = [row(stage, stage) for stage in wall if stage != "total"]
    return _table(columns, [*rows, row("total", "largest")] if rows else [])


def inputs_table(run: Mapping[str, Any]) -> Table:
    """Return one row an input: name, file, size, type and digests."""
    columns = (
        Column("Input", "Phase, mask or heatmap.", is_number=False),
        Column("File", "Name of the file or folder it was read from.", is_number=False),
        Column("Planes, rows, columns", "Array size.", is_number=False),
        Column("Type", "Of the stored values.", is_number=False),
        Column("SHA-256 of the values", "Over type, shape, grid and values.", is_number=False),
        Column("SHA-256 of the files", "Over the bytes of the file, or of all files in the folder.", is_number=False),
    )
    rows = []
    for name, entry in _mapping(run.get("inputs")).items():
        facts = _mapping(entry)
        keys = ("path", "shape", "dtype", "sha256_values", "sha256_files")
        rows.append(Row((str(name), *(_text(facts.get(key)) for key in keys))))
    return _table(columns, rows)


def versions_table(run: Mapping[str, Any]) -> Table:
    """Return the versions of the program and its libraries, and what the run saw of the machine."""
    values = {**_mapping(run.get("versions")), **_mapping(run.get("machine"))}
    columns = (Column("Software or machine", "", is_number=False), Column("Version or value", "", is_number=False))
    return _table(columns, [Row((name, _text(value))) for name, value in values.items() if value is not None])


def _significant(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "-"


def _bar(share: float) -> float:
    return min(max(share, 0.0), 1.0) if math.isfinite(share) else -1.0
