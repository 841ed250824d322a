"""Hypothesis strategies for vessel graphs of every shape the data model allows."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

from vesselgraph.graph import Step, VesselGraph
from vesselgraph.space import Space

_DTYPES = ["?", "<i1", "<i4", "<i8", "<u1", "<u8", "<f2", "<f4", "<f8", ">f8", ">i4", "<U3"]
# Any text but lone surrogates and NUL: no file can hold them.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
_NAMES = st.one_of(
    _TEXT,
    st.sampled_from(["score", "tree_id", "TreeId", "Radius", "x", "id", "key", "path", "length", "mean_heat", "min_heat"]),
)


def columns(size: int) -> st.SearchStrategy[dict[str, np.ndarray]]:
    """Mappings of up to three named columns of one length, of all kinds a graph takes."""

    def of(dtype: str) -> st.SearchStrategy[np.ndarray]:
        if dtype == "<U3":
            return st.lists(_TEXT, min_size=size, max_size=size).map(lambda values: np.array(values, dtype="<U3"))
        return hnp.arrays(np.dtype(dtype), size)

    return st.dictionaries(_NAMES, st.sampled_from(_DTYPES).flatmap(of), max_size=3)


def coordinates(size: int) -> st.SearchStrategy[np.ndarray]:
    """Points (size, 3) on a quarter-mm grid or anywhere within a metre."""
    return st.one_of(
        hnp.arrays(np.int64, (size, 3), elements=st.integers(-40, 40)).map(lambda a: a / 4.0),
        hnp.arrays(np.float64, (size, 3), elements=st.floats(-1000, 1000)),
    )


def radii(size: int) -> st.SearchStrategy[np.ndarray]:
    """Radii, some of them unknown."""
    return hnp.arrays(np.float64, size, elements=st.one_of(st.floats(0.01, 50), st.just(np.nan)))


@st.composite
def vessel_graphs(draw: st.DrawFn, max_nodes: int = 5, max_edges: int = 6, with_columns: bool = True) -> VesselGraph:
    """Graphs with loops, self-loops, parallel branches, isolated nodes, unknown radii and columns; empty ones too."""
    n_nodes = draw(st.integers(0, max_nodes))
    nodes = draw(coordinates(n_nodes))
    ends, paths = [], []
    for _ in range(draw(st.integers(0, max_edges)) if n_nodes else 0):
        start, end = draw(st.integers(0, n_nodes - 1)), draw(st.integers(0, n_nodes - 1))
        inner = draw(coordinates(draw(st.integers(0, 3))))
        path = np.concatenate([nodes[[start]], inner, nodes[[end]]])
        if np.linalg.norm(np.diff(path, axis=0), axis=1).sum() > 0:
            ends.append((start, end))
            paths.append(path)
    n_points = sum(len(path) for path in paths)
    graph = VesselGraph(
        nodes,
        draw(radii(n_nodes)),
        np.array(ends, dtype=np.int64).reshape(-1, 2),
        np.cumsum([0, *(len(path) for path in paths)]),
        np.concatenate(paths) if paths else np.zeros((0, 3)),
        draw(radii(n_points)),
        space=draw(st.one_of(st.none(), st.just(Space.axial((2.0, 0.7, 0.7), (-10.5, 3.0, 1e3))))),
        history=tuple(draw(st.lists(st.builds(Step, _TEXT, _TEXT, _TEXT), max_size=2))),
    )
    if draw(st.booleans()):
        graph = graph.with_columns(node={"root": draw(hnp.arrays(bool, n_nodes))})
    if not with_columns:
        return graph
    return graph.with_columns(node=draw(columns(n_nodes)), edge=draw(columns(len(ends))), path=draw(columns(n_points)))


def assert_same_graph(first: VesselGraph, second: VesselGraph) -> None:
    """Fail unless both graphs hold the same values, dtypes, column order, space and history."""
    for name in ("node_position", "node_radius", "edge_nodes", "path_offset", "path_position", "path_radius"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for axis in ("node_data", "edge_data", "path_data"):
        assert list(getattr(first, axis)) == list(getattr(second, axis)), axis
        for name, column in getattr(first, axis).items():
            other = getattr(second, axis)[name]
            assert column.dtype == other.dtype, (axis, name)
            np.testing.assert_array_equal(column, other, err_msg=f"{axis} {name!r}")
    assert first.space == second.space
    assert first.history == second.history
