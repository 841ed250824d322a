"""VesselGraph as SWC: the neuron tracers' tree format, with remarks that keep loops and junctions.

An SWC file is a list of samples ``id type x y z radius parent``. A tree cannot hold a loop: the branch that closes one is
written as a tree of its own whose ends repeat its nodes. Every branch and node is also named in a remark, from which
:func:`read_swc` restores the graph; other tools skip remarks.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vesselgraph.errors import FormatError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.io.graph_lines import graph_from_segments
from vesselgraph.space import FloatArray
from vesselgraph.topology import component_labels, grow_forest

_SIGN = "# vesselgraph-swc 1 SPACE=LPS UNIT=mm"
_COUNTS, _NODE, _BRANCH = "# counts ", "# node ", "# branch "


def write_swc(graph: VesselGraph, path: Path) -> None:
    """Write trees, closing branches as pieces of their own; the header lists the columns that do not survive."""
    root = _roots(graph)
    forest = grow_forest(graph.edge_nodes, graph.edge_length, graph.n_nodes, np.flatnonzero(root))
    samples = _Samples(graph)
    for node in forest.order.tolist():
        edge = int(forest.parent_edge[node])
        if edge < 0:
            samples.start_tree(node)
        else:
            samples.grow_branch(edge, node)
    closing = np.flatnonzero(~forest.is_tree_edge)
    for edge in closing.tolist():
        samples.add_piece(edge)
    labelled = graph.node_data.get("root")
    samples.end_remarks(None if labelled is None else labelled.astype(bool))
    counts = f"{_COUNTS}{graph.n_nodes} {graph.n_edges} {len(samples.rows)}"
    lines = [*_header(graph, closing), counts, *samples.remarks, *samples.rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _roots(graph: VesselGraph) -> Any:
    """Return where trees start: at the labelled roots, in other components at the widest tip, or the widest node of a ring."""
    root = np.array(graph.node_data.get("root", np.zeros(graph.n_nodes, bool)), dtype=bool)
    label = component_labels(graph.edge_nodes, graph.n_nodes)
    rooted = np.isin(label, label[root])
    preferred = np.lexsort((-np.nan_to_num(graph.node_radius), graph.degree != 1, label))
    first = preferred[np.flatnonzero(np.diff(label[preferred], prepend=-1))]
    root[first[~rooted[first]]] = True
    return root


def _header(graph: VesselGraph, closing: IntArray) -> list[str]:
    lines = [_SIGN, "# world coordinates LPS (x left, y posterior, z superior), millimetres; radius 0 = unknown"]
    for axis, columns in (("node", graph.node_data), ("branch", graph.edge_data), ("path point", graph.path_data)):
        dropped = [ascii(name) for name in columns if (axis, name) != ("node", "root")]
        if dropped:
            lines.append(f"# dropped {axis} columns (SWC has no place for them): {', '.join(dropped)}")
    if graph.space is not None or graph.history:
        lines.append("# dropped: the grid the graph was traced on and its history")
    if len(closing):
        ids = ", ".join(str(e) for e in closing.tolist())
        lines.append(f"# a tree holds no loops: {len(closing)} branches that close one are pieces of their own: {ids}")
    lines.append("# the remarks below restore the graph; their words are: counts NODES BRANCHES SAMPLES; node ID SAMPLE RADIUS")
    lines.append("# [root]; branch ID START END FIRST_SAMPLE LAST_SAMPLE RADIUS_AT_START RADIUS_AT_END")
    return lines


class _Samples:
    """The rows of the file as they grow; sample ids count from 1."""

    def __init__(self, graph: VesselGraph) -> None:
        self.graph = graph
        self.rows: list[str] = []
        self.remarks: list[str] = []
        self._sample_of_node = [0] * graph.n_nodes
        self._position: list[list[float]] = graph.path_position.tolist()
        self._radius: list[float] = graph.path_radius.tolist()
        self._offset: list[int] = graph.path_offset.tolist()
        self._nodes: list[list[int]] = graph.edge_nodes.tolist()

    def start_tree(self, node: int) -> None:
        place = self.graph.node_position[node].tolist()
        self._sample_of_node[node] = self._add(place, float(self.graph.node_radius[node]), -1)

    def grow_branch(self, edge: int, new_node: int) -> None:
        """Add the points of a tree branch behind its known node."""
        start, end = self._nodes[edge]
        points = list(range(self._offset[edge], self._offset[edge + 1]))
        if new_node != end:
            points.reverse()
        parent = self._sample_of_node[start if new_node == end else end]
        self._sample_of_node[new_node] = self._add_run(edge, points[1:], parent)

    def add_piece(self, edge: int) -> None:
        """Add a closing branch as a tree of its own."""
        points = list(range(self._offset[edge], self._offset[edge + 1]))
        self._add_run(edge, points, -1)

    def _add_run(self, edge: int, points: list[int], parent: int) -> int:
        first, last = len(self.rows) + 1, parent
        for point in points:
            last = self._add(self._position[point], self._radius[point], last)
        start, end = self._nodes[edge]
        low, high = self._offset[edge], self._offset[edge + 1] - 1
        # FIRST and LAST are named in the branch's own direction.
        if points[0] > points[-1]:
            first, last = last, first
        ends = f"{_number(self._radius[low])} {_number(self._radius[high])}"
        self.remarks.append(f"{_BRANCH}{edge} {start} {end} {first} {last} {ends}")
        return len(self.rows)

    def _add(self, place: list[float], radius: float, parent: int) -> int:
        x, y, z = place
        sample = len(self.rows) + 1
        self.rows.append(f"{sample} 0 {x!r} {y!r} {z!r} {_number(radius)} {parent}")
        return sample

    def end_remarks(self, root: Any) -> None:
        """Put the node remarks before those of the branches."""
        nodes = []
        for node, sample in enumerate(self._sample_of_node):
            label = "" if root is None else " root" if root[node] else " -"
            nodes.append(f"{_NODE}{node} {sample} {_number(float(self.graph.node_radius[node]))}{label}")
        self.remarks[:0] = nodes


def _number(radius: float) -> str:
    return "0" if math.isnan(radius) else repr(radius)


def read_swc(path: Path, scale: float) -> VesselGraph:
    """Return the graph of an SWC file.

    A file of :func:`write_swc` gives its graph back, loops included, without the columns its header lists. Of other files,
    samples with one parent and one child become path points, all others nodes; parentless samples are labelled in the node
    column ``root`` and stay nodes; a sample at its parent's place is joined with it; radii <= 0 are unknown.

    Raises
    ------
    FormatError
        A line is no sample (the message names it), an id comes twice, a parent is missing or a sample is its own ancestor.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError("SWC text", f"{error}", "the file is no SWC") from error
    table = _table(lines)
    if lines and lines[0].startswith("# vesselgraph-swc"):
        return _restored(lines, table, scale)
    return _foreign(table, path, scale)


def _table(lines: list[str]) -> FloatArray:
    rows = []
    for number, line in enumerate(lines, start=1):
        text = line.split("#", 1)[0].split()
        if not text:
            continue
        try:
            row = [float(value) for value in text[:7]]
            if len(row) != 7 or not all(math.isfinite(row[i]) for i in (0, 2, 3, 4, 6)):
                raise ValueError(f"{len(row)} values")
        except ValueError as error:
            raise FormatError("`id type x y z radius parent`", f"line {number}: {line[:80]!r}", "repair that line") from error
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def _restored(lines: list[str], table: FloatArray, scale: float) -> VesselGraph:
    if scale != 1.0:
        raise FormatError("scale=1 for a file that states its unit (mm)", f"scale={scale:g}", "leave scale out")
    nodes = [line[len(_NODE) :].split() for line in lines if line.startswith(_NODE)]
    branches = [line[len(_BRANCH) :].split() for line in lines if line.startswith(_BRANCH)]
    try:
        nodes.sort(key=lambda words: int(words[0]))
        branches.sort(key=lambda words: int(words[0]))
        place = table[[int(words[1]) - 1 for words in nodes], 2:5].reshape(-1, 3)
        paths = [_path(table, place, words) for words in branches]
        graph = VesselGraph(
            node_position=place,
            node_radius=_known([float(words[2]) for words in nodes]),
            edge_nodes=np.array([words[1:3] for words in branches], dtype=np.int64).reshape(-1, 2),
            path_offset=np.cumsum([0] + [len(path) for path in paths]),
            path_position=np.concatenate(paths)[:, :3] if paths else np.zeros((0, 3)),
            path_radius=_known(np.concatenate(paths)[:, 3]) if paths else np.zeros(0),
            node_data={"root": np.array([words[3] == "root" for words in nodes])} if nodes and len(nodes[0]) > 3 else {},
        )
    except (ValueError, IndexError) as error:
        what = "remarks that fit the samples"
        raise FormatError(what, f"{error}", "the file is truncated; delete its first line to read it as plain SWC") from error
    counts = [line for line in lines if line.startswith(_COUNTS)]
    if counts != [f"{_COUNTS}{graph.n_nodes} {graph.n_edges} {len(table)}"]:
        found = f"{graph.n_nodes} nodes, {graph.n_edges} branches, {len(table)} samples"
        raise FormatError(f"what the header counts, {counts}", found, "the file is truncated")
    return graph


def _path(table: FloatArray, place: FloatArray, words: list[str]) -> FloatArray:
    """Return x, y, z, radius of a branch from its remark."""
    start, end, first, last = (int(word) for word in words[1:5])
    step = 1 if first <= last else -1
    samples = np.arange(first, last + step, step) - 1
    if min(first, last) < 1:
        raise FormatError("sample ids from 1 on", f"{min(first, last)}", "write the file again")
    run = table[samples][:, [2, 3, 4, 5]]
    head, tail = np.append(place[start], float(words[5])), np.append(place[end], float(words[6]))
    # A tree branch shares the sample of the node it grew from; a piece repeats it.
    if table[samples[0], 6] == -1 or table[samples[-1], 6] == -1:
        run = run[1:-1]
    elif step == 1:
        run = run[:-1]
    else:
        run = run[1:]
    return np.concatenate([[head], run, [tail]])


def _known(radius: Any) -> FloatArray:
    values = np.asarray(radius, dtype=np.float64)
    return np.where(values > 0, values, np.nan)


def _foreign(table: FloatArray, path: Path, scale: float) -> VesselGraph:
    ids, parents = table[:, 0].astype(np.int64), table[:, 6].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    repeated = ids[order][1:][np.diff(ids[order]) == 0]
    if len(repeated):
        raise FormatError("each sample id once", f"{repeated[:5].tolist()} again", "renumber the samples")
    has_parent = parents >= 0
    # Some tools number from 0, where -1 alone means none; an id of its own 0 is then a parent like any other.
    if not (ids == 0).any():
        has_parent &= parents > 0
    row = np.searchsorted(ids[order], parents[has_parent])
    row = np.minimum(row, max(len(ids) - 1, 0))
    missing = ids[order][row] != parents[has_parent] if len(ids) else np.zeros(0, bool)
    if missing.any():
        raise FormatError("parents that exist", f"none with ids {parents[has_parent][missing][:5].tolist()}", "repair it")
    parent = np.full(len(ids), -1, np.int64)
    parent[has_parent] = order[row]
    _refuse_cycles(parent, ids)
    position = table[:, 2:5] * scale
    joined = _joined(parent, position)
    is_root = np.zeros(len(ids), bool)
    is_root[joined[~has_parent]] = True
    segments = np.stack([joined[parent[has_parent]], joined[has_parent]], axis=1)
    kept = np.zeros(len(ids), bool)
    kept[joined] = True
    new_id = np.cumsum(kept) - 1
    stage = f"import of {path.name}, {scale:g} mm a unit"
    return graph_from_segments(position[kept], table[kept, 5] * scale, new_id[segments], is_stop=is_root[kept], stage=stage)


def _refuse_cycles(parent: IntArray, ids: IntArray) -> None:
    # Pointer doubling: after k rounds every sample points 2^k ancestors up; only a cycle is never left.
    above = parent
    for _ in range(max(len(parent), 1).bit_length()):
        above = np.where(above >= 0, above[above], -1)
    if (above >= 0).any():
        raise FormatError("a tree", f"samples {ids[above >= 0][:5].tolist()} below themselves", "repair the parents")


def _joined(parent: IntArray, position: FloatArray) -> IntArray:
    """Return for each sample the first of the run of ancestors at its very place."""
    child = np.flatnonzero(parent >= 0)
    same = child[(position[child] == position[parent[child]]).all(axis=1)]
    target = np.arange(len(parent))
    target[same] = parent[same]
    for _ in range(max(len(parent), 1).bit_length()):
        target = target[target]
    return target
