"""Graph files: exact round trips, what other tools see in them, what other tools' files become, and refusals."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from tests.strategies import assert_same_graph, vessel_graphs
from vesselgraph.errors import FormatError, InputError, OutputError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.io.graphs import read_branch_table, read_graph, write_branch_table, write_graph
from vesselgraph.space import Space

LOSSLESS = [".vtp", ".json", ".graphml"]
EVERY = [*LOSSLESS, ".swc"]
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def there_and_back(graph: VesselGraph, suffix: str) -> VesselGraph:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"graph{suffix}"
        write_graph(graph, path)
        return read_graph(path)


@pytest.mark.parametrize("suffix", LOSSLESS)
@given(graph=vessel_graphs())
@few
def test_lossless_formats_keep_everything(suffix: str, graph: VesselGraph) -> None:
    assert_same_graph(graph, there_and_back(graph, suffix))


@given(graph=vessel_graphs())
@settings(few, max_examples=40)
def test_swc_keeps_shape_radii_loops_and_roots(graph: VesselGraph) -> None:
    back = there_and_back(graph, ".swc")
    for name in ("node_position", "node_radius", "edge_nodes", "path_offset", "path_position", "path_radius"):
        np.testing.assert_array_equal(getattr(graph, name), getattr(back, name), err_msg=name)
    root = graph.node_data.get("root")
    if root is not None and root.dtype == bool and len(root):
        np.testing.assert_array_equal(back.node_data["root"], root)


@pytest.fixture
def rich() -> VesselGraph:
    """A loop of two parallel branches, a self-loop, a straight tail, an isolated node; text, flags and unknown radii."""
    nodes = np.array([[0.0, 0, 0], [10, 0, 0], [10, 5, 0], [50, 50, 50]])
    paths = [
        [[0, 0, 0], [10, 0, 0]],
        [[0, 0, 0], [5, 5, 0], [10, 0, 0]],
        [[10, 5, 0], [10, 0, 0]],
        [[10, 5, 0], [12, 7, 0], [12, 5, 0], [10, 5, 0]],
    ]
    return VesselGraph(
        nodes,
        np.array([2.0, 1.5, np.nan, 1.0]),
        np.array([[0, 1], [0, 1], [2, 1], [2, 2]]),
        np.array([0, 2, 5, 7, 11]),
        np.concatenate([np.array(path, dtype=float) for path in paths]),
        np.array([2, 1.5, 2, np.nan, 1.5, 1, 1.5, 1, 1, 1, 1]),
        node_data={"root": np.array([True, False, False, False]), "name": np.array(["Pfortader", "é<&>", "", "\n"])},
        edge_data={
            "tree_id": np.array([1, 1, 1, 0]),
            "score": np.array([1.0, 0.25, np.nan, 0.5]),
            "keep": np.array([True, False, True, True]),
            "reason": np.array(["", 'short, "thin"', "肝", "x"]),
        },
        path_data={"heat": np.arange(11, dtype=np.float32) / 10},
        space=Space.axial((2.0, 1.0, 1.0)),
        history=(Step("trace", "0123456789ab", "0.1.0"),),
    )


@pytest.mark.parametrize("suffix", EVERY)
def test_empty_graph_survives(suffix: str) -> None:
    assert there_and_back(VesselGraph.empty(), suffix).n_nodes == 0


def test_vtp_is_what_vtk_slicer_and_vmtk_expect(rich: VesselGraph, tmp_path: Path) -> None:
    write_graph(rich, tmp_path / "g.vtp")
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "g.vtp"))
    reader.Update()
    poly = reader.GetOutput()
    assert poly.GetNumberOfLines() == rich.n_edges == poly.GetNumberOfCells()
    np.testing.assert_array_equal(vtk_to_numpy(poly.GetPoints().GetData()), rich.path_position)
    for name in ("Radius", "MaximumInscribedSphereRadius"):
        np.testing.assert_array_equal(vtk_to_numpy(poly.GetPointData().GetArray(name)), rich.path_radius)
    for name in ("CenterlineIds", "GroupIds", "TractIds", "Blanking"):
        assert poly.GetCellData().GetArray(name).IsA("vtkIntArray"), name
    cell = {name: vtk_to_numpy(poly.GetCellData().GetArray(name)).tolist() for name in ("BranchId", "TreeId", "Length")}
    assert cell["BranchId"] == [0, 1, 2, 3]
    assert cell["TreeId"] == [1, 1, 1, 0]
    assert cell["Length"][0] == 10.0
    assert vtk_to_numpy(poly.GetCellData().GetArray("Tortuosity"))[1] == pytest.approx(np.sqrt(2))
    assert poly.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"
    assert poly.GetFieldData().GetAbstractArray("UNIT").GetValue(0) == "mm"


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_rich_graph_survives(suffix: str, rich: VesselGraph) -> None:
    assert_same_graph(rich, there_and_back(rich, suffix))


def test_graphml_is_read_by_networkx(rich: VesselGraph, tmp_path: Path) -> None:
    write_graph(rich, tmp_path / "g.graphml")
    graph = nx.read_graphml(tmp_path / "g.graphml", node_type=int)
    assert graph.is_multigraph()
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (4, 4)
    assert graph.nodes[1]["x"] == 10.0
    assert graph.nodes[0]["root"] is True
    assert graph.nodes[0]["radius"] == 2.0
    assert json.loads(graph.edges[0, 1, 1]["path"]) == [[0, 0, 0], [5, 5, 0], [10, 0, 0]]
    assert graph.edges[2, 2, 3]["score"] == 0.5
    assert graph.graph["frame"] == "LPS"


def test_swc_lists_what_it_drops_and_closes_loops(rich: VesselGraph, tmp_path: Path) -> None:
    write_graph(rich, tmp_path / "g.swc")
    lines = (tmp_path / "g.swc").read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert "SPACE=LPS UNIT=mm" in lines[0]
    assert "dropped node columns (SWC has no place for them): 'name'" in header
    assert "'tree_id', 'score', 'keep', 'reason'" in header
    assert "2 branches that close one are pieces of their own: 1, 3" in header
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert all(len(row) == 7 for row in rows)
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert all(int(row[6]) < int(row[0]) for row in rows)
    # Trees from the root and from the isolated node, and two closing pieces.
    assert sum(row[6] == "-1" for row in rows) == 4


def test_json_states_format_and_frame(rich: VesselGraph, tmp_path: Path) -> None:
    write_graph(rich, tmp_path / "g.json")
    record = json.loads((tmp_path / "g.json").read_text())
    assert (record["format"], record["version"], record["frame"], record["unit"]) == ("vesselgraph-graph", 1, "LPS", "mm")
    assert record["nodes"]["radius"] == [2.0, 1.5, None, 1.0]


def test_branch_table_holds_hand_computed_values(rich: VesselGraph, tmp_path: Path) -> None:
    write_branch_table(rich, tmp_path / "b.csv")
    table = read_branch_table(tmp_path / "b.csv")
    assert table["branch_id"].tolist() == [0, 1, 2, 3]
    assert table["start_node"].tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(table["length_mm"], [10, 10 * np.sqrt(2), 5, 4 * np.sqrt(2) - 2 * np.sqrt(2) + 4])
    # A half with one unknown end counts with the known one: (2 + 1.5) / 2.
    np.testing.assert_allclose(table["mean_radius_mm"], [1.75, 1.75, 1.25, 1.0])
    assert table["max_radius_mm"].tolist() == [2.0, 2.0, 1.5, 1.0]
    assert table["tortuosity"][3] == np.inf
    assert table["strahler"].tolist() == [1, 0, 1, 0]
    assert table["generation"].tolist() == [1, 0, 1, 0]
    assert table["end_x_mm"].tolist() == [10, 10, 10, 10]
    assert table["keep"].tolist() == [True, False, True, True]
    assert table["reason"].tolist() == rich.edge_data["reason"].tolist()
    np.testing.assert_array_equal(table["score"], rich.edge_data["score"])


@given(graph=vessel_graphs())
@few
def test_branch_table_has_one_row_a_branch(graph: VesselGraph) -> None:
    with TemporaryDirectory() as folder:
        write_branch_table(graph, Path(folder) / "b.csv")
        table = read_branch_table(Path(folder) / "b.csv")
    assert all(len(column) == graph.n_edges for column in table.values())
    np.testing.assert_array_equal(table["length_mm"], graph.edge_length)


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


def test_unknown_suffix_is_refused(rich: VesselGraph, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"ending in .vtp, .json, .graphml, .swc; got 'g.xyz'"):
        write_graph(rich, tmp_path / "g.xyz")
    with pytest.raises(FormatError, match=r"ending in .*; got 'g.obj'"):
        read_graph(tmp_path / "g.obj")
    with pytest.raises(FormatError, match="a table file name ending in"):
        write_branch_table(rich, tmp_path / "b.txt")


def test_missing_file_and_bad_scale_are_refused(rich: VesselGraph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an existing file; got .*none\.json"):
        read_graph(tmp_path / "none.json")
    with pytest.raises(InputError, match="scale > 0"):
        read_graph(tmp_path / "none.json", scale=0.0)
    for suffix in EVERY:
        write_graph(rich, tmp_path / f"g{suffix}")
        with pytest.raises(FormatError, match="scale=1 for a file that states its unit"):
            read_graph(tmp_path / f"g{suffix}", scale=0.5)


@pytest.mark.parametrize("suffix", EVERY)
def test_truncated_files_are_refused(suffix: str, rich: VesselGraph, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"g{suffix}"
    write_graph(rich, path)
    data = path.read_bytes()
    for size in {0, 10, 200, *range(len(data) // 7, len(data) - 1, len(data) // 7), len(data) - 20}:
        if suffix == ".swc" and size < 20:
            continue  # an empty SWC file is an SWC file without samples
        path.write_bytes(data[:size])
        with pytest.raises(FormatError, match=f"g{suffix}|{suffix} file"):
            read_graph(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [*EVERY, ".vtk"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff", b"{}", b"<a/>", b"1 2 3\n"])
def test_wrong_content_is_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"g{suffix}").write_bytes(content)
    with pytest.raises(FormatError, match=r"expected .*; got .*; "):
        read_graph(tmp_path / f"g{suffix}")


def test_json_names_the_place_of_what_is_wrong(rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    write_graph(rich, path)
    whole = path.read_text()
    for place, change, message in (
        ("path", lambda r: r["path"].pop("radius"), "the entry 'path.radius'"),
        ("version", lambda r: r.update(version=2), "version 1 to 1 in g.json; got version 2"),
        ("format", lambda r: r.update(format="other"), '"format": "vesselgraph-graph"'),
        ("frame", lambda r: r.update(frame="RAS"), "coordinates in LPS mm in g.json; got frame 'RAS'"),
        ("values", lambda r: r["branches"]["data"]["tree_id"]["values"].__setitem__(0, "x"), "branches.data.tree_id"),
        ("dtype", lambda r: r["branches"]["data"]["tree_id"].update(dtype="O"), "branches.data.tree_id as a list of O"),
        ("node", lambda r: r["branches"]["nodes"].__setitem__(0, [0, 9]), "I3"),
        ("point", lambda r: r["nodes"]["position"].__setitem__(0, [0, 9]), "nodes.position"),
        ("space", lambda r: r["space"].update(spacing=[0, 1, 1]), "a space and a history"),
    ):
        record = json.loads(whole)
        change(record)
        path.write_text(json.dumps(record))
        with pytest.raises(FormatError, match=message.replace("(", r"\(")) as caught:
            read_graph(path)
        assert "g.json" in str(caught.value), place


def test_missing_array_in_vtp_is_named(rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / "g.vtp"
    write_graph(rich, path)
    path.write_bytes(path.read_bytes().replace(b'Name="StartNode"', b'Name="StartXode"'))
    with pytest.raises(FormatError, match=r"cell data array 'StartNode' in g\.vtp"):
        read_graph(path)


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


def test_cut_branch_table_is_refused(rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    write_branch_table(rich, path)
    path.write_text(path.read_text()[:-10])
    with pytest.raises(FormatError, match=r"cells a row in b.csv; got \d+ in row 5"):
        read_branch_table(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="a header with `branch_id`"):
        read_branch_table(path)


@pytest.mark.parametrize("suffix", EVERY)
def test_failed_writing_leaves_the_old_file(suffix: str, rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / f"g{suffix}"
    write_graph(rich, path)
    before = path.read_bytes()
    bad = rich.with_columns(edge={"text": np.array(["\ud800", "", "", ""])})
    with pytest.raises(OutputError, match="edge column 'text' of valid Unicode"):
        write_graph(bad, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OutputError, match="an existing folder"):
        write_graph(rich, tmp_path / "none" / f"g{suffix}")
