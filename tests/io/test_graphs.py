"""Graph files: exact round trips, what other tools see in them, what other tools' files become, and refusals."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from tests.strategies import assert_same_graph, vessel_graphs
from vesselgraph.errors import FormatError, InputError, OutputError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.io.graphs import read_branch_table, read_graph, write_branch_table, write_graph
from vesselgraph.io.vtk_files import read_poly, write_vtp
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
        path_data={"heat": np.arange(11, dtype=np.float32) / 10, "a.b": np.arange(11)},
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
    cell = {name: vtk_to_numpy(poly.GetCellData().GetArray(name)).tolist() for name in ("BranchId", "RootedTreeId", "Length")}
    assert cell["BranchId"] == [0, 1, 2, 3]
    assert cell["RootedTreeId"] == [1, 1, 1, 0]
    assert cell["Length"][0] == 10.0
    assert vtk_to_numpy(poly.GetCellData().GetArray("Tortuosity"))[1] == pytest.approx(np.sqrt(2))
    assert poly.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"
    assert poly.GetFieldData().GetAbstractArray("UNIT").GetValue(0) == "mm"


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_rich_graph_survives(suffix: str, rich: VesselGraph) -> None:
    assert_same_graph(rich, there_and_back(rich, suffix))


def test_vtp_saved_again_by_a_viewer_is_read(rich: VesselGraph, tmp_path: Path) -> None:
    write_graph(rich, tmp_path / "g.vtp")
    poly, _ = read_poly(tmp_path / "g.vtp")
    points = vtkPoints()  # 32 bits, and RAS as 3D Slicer can be told to save
    for x, y, z in rich.path_position:
        points.InsertNextPoint(-x + 1e-5, -y, z)
    poly.SetPoints(points)
    poly.GetFieldData().GetAbstractArray("SPACE").SetValue(0, "RAS")
    write_vtp(poly, tmp_path / "g.vtp")
    back = read_graph(tmp_path / "g.vtp")
    np.testing.assert_array_equal(back.node_position, rich.node_position)
    np.testing.assert_allclose(back.path_position, rich.path_position, atol=2e-5)


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
    assert "nan" not in (tmp_path / "b.csv").read_text()
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
        ("offset", lambda r: r["branches"]["path_offset"].__setitem__(1, 2.5), "branches.path_offset as whole numbers"),
        ("space", lambda r: r["space"].update(spacing=[0, 1, 1]), "a space and a history"),
    ):
        record = json.loads(whole)
        change(record)
        path.write_text(json.dumps(record))
        with pytest.raises(FormatError, match=message.replace("(", r"\(")) as caught:
            read_graph(path)
        assert "g.json" in str(caught.value), place


def test_count_beyond_the_file_is_refused_before_memory_is_asked_for(rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / "g.vtp"
    write_graph(rich, path)
    path.write_bytes(path.read_bytes().replace(b'NumberOfPoints="11"', b'NumberOfPoints="11999999999999"'))
    with pytest.raises(FormatError, match=r"counts the file has room for in g\.vtp; got 11999999999999 in \d+ bytes"):
        read_graph(path)


def test_missing_array_in_vtp_is_named(rich: VesselGraph, tmp_path: Path) -> None:
    path = tmp_path / "g.vtp"
    write_graph(rich, path)
    path.write_bytes(path.read_bytes().replace(b'Name="StartNode"', b'Name="StartXode"'))
    with pytest.raises(FormatError, match=r"cell data array 'StartNode' in g\.vtp"):
        read_graph(path)


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
