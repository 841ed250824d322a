"""VesselGraph, the one data model: a frozen struct of arrays in world millimetres (LPS).

Letters used for array shapes in the whole package: N nodes, E branches (edges), M path points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import GraphInvariantError
from vesselgraph.space import FloatArray, Rebuilt, Space

if TYPE_CHECKING:
    import networkx

IntArray = NDArray[np.int64]
Column = NDArray[Any]

_COLUMN_KINDS = "biufU"
_NODE_ATTRIBUTES = {"position", "radius"}
_EDGE_ATTRIBUTES = {"key", "path", "path_radius", "length", "path_data"}


@dataclass(frozen=True)
class Step:
    """One entry of a graph's history: which stage made it, with which config, by which version."""

    stage: str
    config_digest: str = ""
    version: str = ""


def _read_only(values: Any, dtype: Any) -> NDArray[Any]:
    array = np.array(values, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


def _frozen(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    return MappingProxyType({name: _read_only(values, None) for name, values in columns.items()})


def _ids(mask: Any) -> str:
    bad = np.flatnonzero(mask)
    shown = ", ".join(str(i) for i in bad[:5])
    return f"{len(bad)} of them: {shown}" + (", ..." if len(bad) > 5 else "")


@dataclass(frozen=True, eq=False)
class VesselGraph(Rebuilt):
    """Vessels as nodes joined by branches; every branch is a polyline with radii.

    A *node* is a branch point or a tip, a *branch* (edge) is the polyline between two nodes, a *path point* is one vertex of
    it. Cycles, parallel branches and self-loops are allowed. Arrays are read-only copies; derived quantities are functions
    or cached properties, never stored state.

    Parameters
    ----------
    node_position : (N, 3) float64, mm
        World LPS.
    node_radius : (N,) float64, mm
        > 0, NaN = unknown.
    edge_nodes : (E, 2) int64
        Start and end node. In a rooted tree the start is nearer to the root.
    path_offset : (E + 1,) int64
        Branch ``e`` owns path points ``path_offset[e]:path_offset[e + 1]``.
    path_position : (M, 3) float64, mm
        The first and last point of a branch equal its nodes exactly.
    path_radius : (M,) float64, mm
        > 0, NaN = unknown.
    node_data, edge_data, path_data : mapping of column name to (N,), (E,), (M,) array
        More columns. The axis is the mapping a column lives in, never guessed from its length or name.
    space : Space or None
        The grid the graph was traced on.
    history : tuple of Step
        How it came to be.

    Raises
    ------
    GraphInvariantError
        One of these is broken; the message names it and up to five offending ids.

        - I1: positions are (N, 3) and (M, 3), finite.
        - I2: radii have one value a node / path point, > 0 or NaN.
        - I3: ``edge_nodes`` is (E, 2) and names existing nodes.
        - I4: ``path_offset`` has E + 1 values, starts at 0, never falls, ends at M.
        - I5: every branch has at least two path points and a positive length.
        - I6: the first and last path point of a branch equal its nodes.
        - I7: every column is 1-D, of bool, integer, floating or text values, and as long as its axis.

    Notes
    -----
    Columns the stages agree on (all optional). ``node_data``: ``root`` (bool). ``edge_data``: ``tree_id`` (int, 1... by
    falling length, 0 = not in a rooted tree), ``score`` (float in [0, 1], how sure the branch is), ``generator`` (int bit
    flags: 1 thinning, 2 gap bridge), and the evidence columns of the tracer, listed in ``docs/data-model.md``.

    Examples
    --------
    >>> graph = VesselGraph.from_paths([[[0, 0, 0], [3, 4, 0]]], radii=[[1.0, 0.5]])
    >>> graph.n_nodes, graph.n_edges, graph.edge_length.tolist()
    (2, 1, [5.0])
    """

    node_position: FloatArray
    node_radius: FloatArray
    edge_nodes: IntArray
    path_offset: IntArray
    path_position: FloatArray
    path_radius: FloatArray
    node_data: Mapping[str, Column] = field(default_factory=dict)
    edge_data: Mapping[str, Column] = field(default_factory=dict)
    path_data: Mapping[str, Column] = field(default_factory=dict)
    space: Space | None = None
    history: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        floats, whole = ("node_position", "node_radius", "path_position", "path_radius"), ("edge_nodes", "path_offset")
        values: dict[str, Any] = {name: _read_only(getattr(self, name), np.float64) for name in floats}
        values |= {name: _read_only(getattr(self, name), np.int64) for name in whole}
        values |= {name: _frozen(getattr(self, name)) for name in ("node_data", "edge_data", "path_data")}
        # Past what keeps a graph from being changed.
        self.__dict__.update(values, history=tuple(self.history))
        self._check_values()
        self._check_topology()
        self._check_columns()

    def _check_columns(self) -> None:
        for axis, size, columns in (
            ("node", self.n_nodes, self.node_data),
            ("edge", self.n_edges, self.edge_data),
            ("path", self.n_points, self.path_data),
        ):
            for name, column in columns.items():
                if column.shape != (size,) or column.dtype.kind not in _COLUMN_KINDS:
                    raise GraphInvariantError(
                        f"I7: {axis} column {name!r} of shape ({size},) and a plain type",
                        f"shape {column.shape}, dtype {column.dtype}",
                        "put the column in the mapping of its own axis",
                    )

    def _check_values(self) -> None:
        for label, array in (("node_position", self.node_position), ("path_position", self.path_position)):
            if array.ndim != 2 or array.shape[1] != 3:
                raise GraphInvariantError(f"I1: {label} of shape (n, 3)", f"shape {array.shape}", "reshape it")
            bad = ~np.isfinite(array).all(axis=1)
            if bad.any():
                raise GraphInvariantError(f"I1: finite {label}", _ids(bad), "drop these points")
        for label, radius, size in (
            ("node_radius", self.node_radius, self.n_nodes),
            ("path_radius", self.path_radius, self.n_points),
        ):
            if radius.shape != (size,):
                raise GraphInvariantError(f"I2: {size} values of {label}", f"shape {radius.shape}", "pass one a point")
            bad = ~((radius > 0) & np.isfinite(radius) | np.isnan(radius))
            if bad.any():
                raise GraphInvariantError(f"I2: {label} > 0 or NaN", _ids(bad), "use NaN for unknown radii")

    def _check_topology(self) -> None:
        nodes, offset = self.edge_nodes, self.path_offset
        if nodes.ndim != 2 or nodes.shape[1] != 2:
            raise GraphInvariantError("I3: edge_nodes of shape (E, 2)", f"shape {nodes.shape}", "pass two nodes an edge")
        bad = ((nodes < 0) | (nodes >= self.n_nodes)).any(axis=1)
        if bad.any():
            raise GraphInvariantError(f"I3: node ids in [0, {self.n_nodes})", _ids(bad), "relabel the nodes")
        steps = np.diff(offset)
        if offset.shape != (self.n_edges + 1,) or offset[0] != 0 or offset[-1] != self.n_points or (steps < 0).any():
            raise GraphInvariantError(
                f"I4: {self.n_edges + 1} offsets rising from 0 to {self.n_points}",
                f"shape {offset.shape}, ends {offset[:1].tolist()} {offset[-1:].tolist()}",
                "use VesselGraph.from_paths to build them",
            )
        if (steps < 2).any():
            raise GraphInvariantError("I5: two path points a branch", _ids(steps < 2), "drop these branches")
        if (self.edge_length <= 0).any():
            raise GraphInvariantError("I5: branches longer than 0 mm", _ids(self.edge_length <= 0), "drop these branches")
        if self.n_edges:
            ends = self.path_position[np.stack([offset[:-1], offset[1:] - 1], axis=1)]
            bad = (ends != self.node_position[nodes]).any(axis=(1, 2))
            if bad.any():
                raise GraphInvariantError("I6: paths that end on their nodes", _ids(bad), "snap the path ends")

    @property
    def n_nodes(self) -> int:
        """Number of nodes N."""
        return len(self.node_position)

    @property
    def n_edges(self) -> int:
        """Number of branches E."""
        return len(self.edge_nodes)

    @property
    def n_points(self) -> int:
        """Number of path points M."""
        return len(self.path_position)

    @cached_property
    def degree(self) -> IntArray:
        """Number of branch ends at each node, (N,); a self-loop counts twice."""
        return _read_only(np.bincount(self.edge_nodes.ravel(), minlength=self.n_nodes), np.int64)

    @cached_property
    def edge_length(self) -> FloatArray:
        """Length of each branch along its polyline, (E,) mm."""
        if self.n_edges == 0:
            return _read_only([], np.float64)
        steps = np.zeros(self.n_points)
        steps[1:] = np.linalg.norm(np.diff(self.path_position, axis=0), axis=1)
        steps[self.path_offset[:-1]] = 0.0
        # Summed branch by branch: differences of one running sum would lose short branches after long ones.
        return _read_only(np.add.reduceat(steps, self.path_offset[:-1]), np.float64)

    @cached_property
    def edge_of_point(self) -> IntArray:
        """The branch each path point belongs to, (M,)."""
        return _read_only(np.repeat(np.arange(self.n_edges), np.diff(self.path_offset)), np.int64)

    @property
    def length(self) -> float:
        """Total length of all branches, mm."""
        return float(self.edge_length.sum())

    def path(self, edge: int) -> FloatArray:
        """Return the polyline of a branch, (n, 3) mm."""
        return self.path_position[self.path_offset[edge] : self.path_offset[edge + 1]]

    def radius_along(self, edge: int) -> FloatArray:
        """Return the radii along a branch, (n,) mm."""
        return self.path_radius[self.path_offset[edge] : self.path_offset[edge + 1]]

    def with_columns(
        self,
        *,
        node: Mapping[str, Column] | None = None,
        edge: Mapping[str, Column] | None = None,
        path: Mapping[str, Column] | None = None,
    ) -> VesselGraph:
        """Return a graph with columns added or replaced; the rest is shared in value."""
        added = {"node_data": node or {}, "edge_data": edge or {}, "path_data": path or {}}
        return self._on_the_same_paths({name: _frozen({**getattr(self, name), **more}) for name, more in added.items()})

    def with_step(self, step: Step) -> VesselGraph:
        """Return the same graph with one more entry in its history."""
        return self._on_the_same_paths({"history": (*self.history, step)})

    def _on_the_same_paths(self, changes: dict[str, Any]) -> VesselGraph:
        """Return a graph with other columns or history. Checked nodes and paths are shared, and what follows from them."""
        graph = object.__new__(type(self))
        graph.__dict__.update(self.__dict__, **changes)
        graph._check_columns()
        return graph

    @classmethod
    def empty(cls, space: Space | None = None) -> VesselGraph:
        """Return a graph without nodes."""
        none = np.zeros(0)
        points = np.zeros((0, 3))
        return cls(points, none, np.zeros((0, 2), np.int64), np.zeros(1, np.int64), points, none, space=space)

    @classmethod
    def from_paths(
        cls,
        paths: Sequence[Any],
        radii: Sequence[Any] | None = None,
        *,
        edge_data: Mapping[str, Column] | None = None,
        space: Space | None = None,
    ) -> VesselGraph:
        """Return the graph of polylines whose coinciding end points are one node.

        Parameters
        ----------
        paths : sequence of (n, 3) mm
            One polyline a branch, world LPS. Ends are joined only if they are exactly equal.
        radii : sequence of (n,) mm, optional
            One radius a point; unknown (NaN) if left out. A node takes the largest radius among the ends it joins.
        edge_data : mapping, optional
            Columns of one value a path.
        space : Space, optional
            The grid the paths came from.

        Raises
        ------
        GraphInvariantError
            See the class.
        """
        if not len(paths):
            return replace(cls.empty(space), edge_data=dict(edge_data or {}))
        arrays = [np.asarray(path, dtype=np.float64).reshape(-1, 3) for path in paths]
        if radii is None:
            radii = [np.full(len(path), np.nan) for path in arrays]
        offset = np.concatenate([[0], np.cumsum([len(path) for path in arrays])])
        if (np.diff(offset) < 2).any():
            raise GraphInvariantError("I5: two path points a branch", _ids(np.diff(offset) < 2), "drop these paths")
        position = np.concatenate(arrays)
        radius = np.concatenate([np.asarray(r, dtype=np.float64).ravel() for r in radii])
        ends = np.stack([offset[:-1], offset[1:] - 1], axis=1).ravel()
        nodes, inverse = np.unique(position[ends] + 0.0, axis=0, return_inverse=True)
        node_radius = np.full(len(nodes), -np.inf)
        np.fmax.at(node_radius, inverse.ravel(), radius[ends])
        node_radius[~np.isfinite(node_radius)] = np.nan
        return cls(nodes, node_radius, inverse.reshape(-1, 2), offset, position, radius, edge_data=edge_data or {}, space=space)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Return a ``networkx.MultiDiGraph`` that holds everything; see :meth:`from_networkx` for the way back.

        Nodes are 0...N-1 with ``position``, ``radius`` and the node columns; edges carry ``key`` = branch id, ``path``,
        ``path_radius``, ``length`` (mm), the edge columns, and the path columns under ``path_data``.

        Raises
        ------
        GraphInvariantError
            A column has the name of one of these attributes.
        """
        import networkx

        clash = _NODE_ATTRIBUTES & set(self.node_data) | _EDGE_ATTRIBUTES & set(self.edge_data)
        if clash:
            raise GraphInvariantError("columns beside networkx's attributes", f"columns {sorted(clash)}", "rename them")
        result = networkx.MultiDiGraph(space=self.space, history=self.history)
        for i in range(self.n_nodes):
            columns = {name: column[i] for name, column in self.node_data.items()}
            result.add_node(i, position=self.node_position[i], radius=float(self.node_radius[i]), **columns)
        for e, (start, end) in enumerate(self.edge_nodes):
            here = slice(self.path_offset[e], self.path_offset[e + 1])
            result.add_edge(
                int(start),
                int(end),
                key=e,
                path=self.path_position[here],
                path_radius=self.path_radius[here],
                length=float(self.edge_length[e]),
                path_data={name: column[here] for name, column in self.path_data.items()},
                **{name: column[e] for name, column in self.edge_data.items()},
            )
        return result

    @classmethod
    def from_networkx(cls, source: networkx.MultiDiGraph) -> VesselGraph:
        """Return the vessel graph of a networkx graph with the attributes of :meth:`to_networkx`.

        Nodes may have any labels; they are numbered in the graph's own order, branches by their ``key`` if all keys are
        integers, else in the graph's order.

        Raises
        ------
        GraphInvariantError
            A node has no ``position``, an edge no ``path``, or an invariant of the class is broken.
        """
        label = {node: i for i, node in enumerate(source.nodes)}
        nodes = list(source.nodes(data=True))
        if source.is_multigraph():
            edges = list(source.edges(keys=True, data=True))
            if all(isinstance(key, (int, np.integer)) for _, _, key, _ in edges):
                edges.sort(key=lambda edge: edge[2])
        else:
            edges = [(a, b, None, data) for a, b, data in source.edges(data=True)]
        lacking = [node for node, data in nodes if "position" not in data]
        if lacking := lacking + [(a, b) for a, b, _, data in edges if "path" not in data]:
            raise GraphInvariantError(
                "I1: nodes with `position` and edges with `path`", f"none on {lacking[:5]}", "add these attributes"
            )
        paths = [np.asarray(data["path"], dtype=np.float64) for *_, data in edges]
        radii = [data.get("path_radius", np.full(len(p), np.nan)) for p, (*_, data) in zip(paths, edges, strict=True)]
        position = np.array([data["position"] for _, data in nodes], dtype=np.float64).reshape(-1, 3)
        ends = np.array([(label[a], label[b]) for a, b, *_ in edges], dtype=np.int64).reshape(-1, 2)
        if edges and not source.is_directed():
            # An undirected graph lists an edge from either end; its path tells which one is the start.
            turned = (position[ends[:, 0]] != [path[0] for path in paths]).any(axis=1, keepdims=True)
            ends = np.where(turned, ends[:, ::-1], ends)
        return cls(
            node_position=position,
            node_radius=np.array([data.get("radius", np.nan) for _, data in nodes], dtype=np.float64),
            edge_nodes=ends,
            path_offset=np.concatenate([[0], np.cumsum([len(p) for p in paths])]).astype(np.int64),
            path_position=np.concatenate(paths) if paths else np.zeros((0, 3)),
            path_radius=np.concatenate(radii) if radii else np.zeros(0),
            node_data=_columns([data for _, data in nodes], _NODE_ATTRIBUTES),
            edge_data=_columns([data for *_, data in edges], _EDGE_ATTRIBUTES),
            path_data=_path_columns([data.get("path_data", {}) for *_, data in edges]),
            space=source.graph.get("space"),
            history=source.graph.get("history", ()),
        )


def _columns(rows: list[dict[str, Any]], own: set[str]) -> dict[str, Column]:
    shared = (name for name in (rows[0] if rows else ()) if name not in own and all(name in row for row in rows))
    return {name: np.array([row[name] for row in rows]) for name in shared}


def _path_columns(rows: list[dict[str, Any]]) -> dict[str, Column]:
    shared = (name for name in (rows[0] if rows else ()) if all(name in row for row in rows))
    return {name: np.concatenate([row[name] for row in rows]) for name in shared}
