"""Graphs in files of other tools: VTK lines, SWC trees, GraphML."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from vesselgraph.errors import FormatError
from vesselgraph.io.graphs import read_graph

LEGACY = """# vtk DataFile Version 3.0
lines {space}
ASCII
DATASET POLYDATA
POINTS 6 float
0 0 0  1 0 0  2 0 0  3 1 0  3 -1 0  2 0 0
LINES 4 14
3 0 1 2
2 2 3
2 5 4
3 0 1 2
POINT_DATA 6
SCALARS Radius float 1
LOOKUP_TABLE default
2 2 2 1 1 4
"""


def test_foreign_lines_are_joined_at_equal_points(tmp_path: Path) -> None:
    (tmp_path / "a.vtk").write_text(LEGACY.format(space=""))
    graph = read_graph(tmp_path / "a.vtk", scale=10.0)
    assert (graph.n_nodes, graph.n_edges) == (4, 3)
    assert graph.degree.tolist() == [1, 3, 1, 1]
    assert sorted(graph.edge_length.round(6).tolist()) == [14.142136, 14.142136, 20.0]
    # Points 2 and 5 are one: used three times with radius 2 and once with 4.
    assert graph.node_radius[1] == pytest.approx(25.0)
    assert graph.history[-1].stage == "import of a.vtk, 10 mm a unit"


def test_lines_in_ras_are_turned_to_lps(tmp_path: Path) -> None:
    (tmp_path / "a.vtk").write_text(LEGACY.format(space="SPACE=RAS"))
    graph = read_graph(tmp_path / "a.vtk")
    assert sorted(graph.node_position.tolist()) == [[-3, -1, 0], [-3, 1, 0], [-2, 0, 0], [0, 0, 0]]


SWC = """# other tool
1 1 0 0 0 5 -1
2 3 1 0 0 4 1
3 3 2 0 0 3 2
7 3 2 0 0 3 3
4 3 3 1 0 2 7
5 3 3 -1 0 0 3
6 3 9 9 9 1 -1
"""


def test_foreign_swc_becomes_branches(tmp_path: Path) -> None:
    (tmp_path / "a.swc").write_text(SWC)
    graph = read_graph(tmp_path / "a.swc", scale=2.0)
    assert (graph.n_nodes, graph.n_edges) == (5, 3)
    assert graph.node_data["root"].tolist() == [True, False, False, False, True]
    assert graph.path(0).tolist() == [[0, 0, 0], [2, 0, 0], [4, 0, 0]]
    assert graph.radius_along(0).tolist() == [10, 8, 6]
    np.testing.assert_array_equal(graph.node_radius, [10, 6, 4, np.nan, 2])


def test_ring_without_a_fork_becomes_a_self_loop(tmp_path: Path) -> None:
    text = (
        "# vtk DataFile Version 3.0\nring\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n0 0 0 1 0 0 0 1 0\nLINES 1 5\n4 0 1 2 0\n"
    )
    (tmp_path / "ring.vtk").write_text(text)
    graph = read_graph(tmp_path / "ring.vtk")
    assert graph.edge_nodes.tolist() == [[0, 0]]
    assert graph.length == pytest.approx(2 + np.sqrt(2))
    assert np.isnan(graph.path_radius).all()


def test_foreign_graphml_needs_coordinates(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_node("a", x=0.0, y=0.0, z=0.0, radius=2.0)
    graph.add_node("b", x=1.0, y=0.0, z=0.0)
    graph.add_edge("a", "b")
    nx.write_graphml(graph, tmp_path / "ok.graphml")
    found = read_graph(tmp_path / "ok.graphml", scale=10.0)
    assert found.edge_length.tolist() == [10.0]
    np.testing.assert_array_equal(found.node_radius, [20.0, np.nan])
    nx.write_graphml(nx.path_graph(3), tmp_path / "bad.graphml")
    with pytest.raises(FormatError, match=r"nodes with numbers x, y, z in bad.graphml; got none on nodes \[0, 1, 2\]"):
        read_graph(tmp_path / "bad.graphml")


@pytest.mark.parametrize("name", ["penetrating_artery.vtk", "penetrating_artery2.vtk"])
def test_vascular_lines_of_another_tool(name: str, data_dir: Path) -> None:
    path = data_dir / "graph_vascpy" / name
    raw = path.read_text().split("LINES ")
    n_segments = int(raw[1].split()[0])
    ids = np.array(raw[1].split()[2 : 2 + 3 * n_segments], dtype=int).reshape(-1, 3)[:, 1:]
    points = np.array(raw[0].split("float")[1].split(), dtype=np.float32).astype(float).reshape(-1, 3)
    graph = read_graph(path, scale=0.001)
    assert graph.length == pytest.approx(np.linalg.norm(np.diff(points[ids], axis=1), axis=2).sum() * 1e-3, rel=1e-9)
    # The loop count needs no graph: E - N + C of the raw segments.
    raw_graph = nx.MultiGraph(ids.tolist())
    n_components = nx.number_connected_components(raw_graph)
    n_loops = raw_graph.number_of_edges() - raw_graph.number_of_nodes() + n_components
    own = graph.to_networkx().to_undirected()
    assert graph.n_edges - graph.n_nodes + nx.number_connected_components(own) == n_loops
    assert not (graph.degree == 2).any() or n_loops
    assert np.nanmin(graph.path_radius) > 0


def test_trees_of_other_generators(data_dir: Path) -> None:
    files = sorted((data_dir / "synth").glob("*/tree*.swc"))
    assert files
    for path in files:
        table = np.loadtxt(path)
        graph = read_graph(path)
        by_id = {int(row[0]): row[2:5] for row in table}
        length = sum(np.linalg.norm(row[2:5] - by_id[int(row[6])]) for row in table if row[6] > 0)
        assert graph.length == pytest.approx(length, rel=1e-9), path
        assert graph.node_data["root"].sum() == (table[:, 6] < 0).sum()
        assert graph.n_edges == graph.n_nodes - graph.node_data["root"].sum()


def test_broken_swc_lines_are_named(tmp_path: Path) -> None:
    for text, message in (
        ("1 1 0 0 0 5 -1\n2 3 1 0 x 4 1\n", "line 2: '2 3 1 0 x 4 1'"),
        ("1 1 0 0 0 5 -1\n2 3 1 0 0 4\n", "line 2"),
        ("1 1 0 0 0 5 -1\n1 3 1 0 0 4 1\n", r"each sample id once in a.swc; got \[1\] again"),
        ("1 1 0 0 0 5 -1\n2 3 1 0 0 4 9\n", r"parents that exist in a.swc; got none with ids \[9\]"),
        ("1 1 0 0 0 5 2\n2 3 1 0 0 4 1\n", r"a tree in a.swc; got samples \[1, 2\] below themselves"),
    ):
        (tmp_path / "a.swc").write_text(text)
        with pytest.raises(FormatError, match=message):
            read_graph(tmp_path / "a.swc")
