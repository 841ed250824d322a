"""Mesh files: what survives, what VTK and trimesh see, where the space is said, and refusals."""

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOGeometry import vtkOBJReader, vtkSTLReader
from vtkmodules.vtkIOLegacy import vtkPolyDataReader
from vtkmodules.vtkIOPLY import vtkPLYReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from tests.strategies import columns
from vesselgraph.errors import FormatError, InputError, OutputError
from vesselgraph.io.meshes import read_mesh, write_mesh
from vesselgraph.mesh import Mesh

EVERY = [".vtp", ".vtk", ".stl", ".obj", ".ply", ".glb"]
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def there_and_back(mesh: Mesh, suffix: str) -> Mesh:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"mesh{suffix}"
        write_mesh(mesh, path)
        return read_mesh(path)


def assert_same_columns(first: Mesh, second: Mesh) -> None:
    for axis in ("point_data", "face_data"):
        assert list(getattr(first, axis)) == list(getattr(second, axis))
        for name, column in getattr(first, axis).items():
            other = getattr(second, axis)[name]
            assert column.dtype == other.dtype, name
            np.testing.assert_array_equal(column, other, err_msg=name)


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    n_points = draw(st.integers(0, 6))
    points = draw(hnp.arrays(np.float64, (n_points, 3), elements=st.floats(-1000, 1000)))
    n_faces = draw(st.integers(0, 5)) if n_points else 0
    faces = draw(hnp.arrays(np.int64, (n_faces, 3), elements=st.integers(0, max(n_points - 1, 0))))
    return Mesh(points, faces, draw(columns(n_points)), draw(columns(n_faces)))


@pytest.fixture
def ball() -> Mesh:
    """A closed sphere of radius 7 mm away from the origin, with columns of several kinds."""
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=7.0)
    n = len(sphere.vertices)
    score = np.linspace(0, 1, n)
    score[3] = np.nan
    return Mesh(
        sphere.vertices + np.array([100.25, -200.5, 300.0]),
        sphere.faces,
        {
            "radius": np.linspace(0.5, 7, n),
            "branch_id": np.arange(n),
            "tree_id": np.arange(n) % 3,
            "score": score,
            "is_tip": np.arange(n) > 5,
        },
        {"branch_id": np.arange(len(sphere.faces), dtype=np.int32)},
    )


@given(mesh=meshes())
@few
def test_vtp_keeps_everything(mesh: Mesh) -> None:
    assert_kept(mesh, ".vtp")


@given(mesh=meshes())
@settings(few, max_examples=6)
def test_legacy_vtk_keeps_everything(mesh: Mesh) -> None:
    assert_kept(mesh, ".vtk")


def assert_kept(mesh: Mesh, suffix: str) -> None:
    back = there_and_back(mesh, suffix)
    np.testing.assert_array_equal(back.points, mesh.points)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    assert_same_columns(mesh, back)


@pytest.mark.parametrize("suffix", [".vtp", ".vtk"])
@pytest.mark.parametrize("name", ["{", "a}b", "%d", "<x>", " "])
def test_odd_column_names_survive(suffix: str, name: str) -> None:
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], {name: np.arange(3)})
    assert_same_columns(mesh, there_and_back(mesh, suffix))


@pytest.mark.parametrize(
    ("place", "digits"), [(b"POLYGONS ", b"9"), (b"OFFSETS ", b"x"), (b"CONNECTIVITY ", b"\xff"), (b"POINTS ", b"99999999999")]
)
def test_damaged_legacy_file_is_refused_and_cannot_end_the_program(
    place: bytes, digits: bytes, ball: Mesh, tmp_path: Path
) -> None:
    path = tmp_path / "a.vtk"
    write_mesh(ball, path)
    data = path.read_bytes()
    first = data.index(place) + len(place)
    path.write_bytes(data[:first] + digits + data[first + len(digits) :])
    with pytest.raises(FormatError, match=r"a\.vtk"):
        read_mesh(path)


@given(mesh=meshes())
@few
def test_obj_and_ply_keep_geometry_exactly(mesh: Mesh) -> None:
    for suffix in (".obj", ".ply"):
        back = there_and_back(mesh, suffix)
        np.testing.assert_array_equal(back.points, mesh.points)
        np.testing.assert_array_equal(back.faces, mesh.faces)
    for name, column in back.point_data.items():
        np.testing.assert_array_equal(column, mesh.point_data[name])
        assert column.dtype.newbyteorder("=") == mesh.point_data[name].dtype.newbyteorder("=")


@given(mesh=meshes())
@few
def test_glb_keeps_geometry_to_32_bits(mesh: Mesh) -> None:
    back = there_and_back(mesh, ".glb")
    if mesh.n_faces:
        np.testing.assert_array_equal(back.points, mesh.points.astype(np.float32))
    np.testing.assert_array_equal(back.faces, mesh.faces)


@pytest.mark.parametrize("suffix", EVERY)
def test_empty_mesh_survives(suffix: str) -> None:
    back = there_and_back(Mesh.empty(), suffix)
    assert (back.n_points, back.n_faces) == (0, 0)


@pytest.mark.parametrize("suffix", EVERY)
def test_closed_surface_stays_closed_in_place_and_outward(suffix: str, ball: Mesh) -> None:
    back = there_and_back(ball, suffix)
    assert (back.n_points, back.n_faces) == (ball.n_points, ball.n_faces)
    assert back.volume == pytest.approx(ball.volume, rel=1e-5)
    assert trimesh.Trimesh(back.points, back.faces, process=False).is_watertight
    np.testing.assert_allclose(back.points.min(axis=0), ball.points.min(axis=0), atol=2e-5)


def test_columns_survive_where_they_can(ball: Mesh) -> None:
    for suffix in (".vtp", ".vtk", ".ply"):
        assert_same_columns(ball, there_and_back(ball, suffix))
    back = there_and_back(ball, ".glb")
    for name, column in ball.point_data.items():
        assert back.point_data[name].dtype == column.dtype
        np.testing.assert_allclose(back.point_data[name], column, rtol=1e-7)
    for suffix in (".stl", ".obj"):
        assert not there_and_back(ball, suffix).point_data


def test_dropped_columns_are_said_in_the_file(tmp_path: Path) -> None:
    mesh = Mesh(
        np.eye(3),
        [[0, 1, 2]],
        {"name": np.array(["a", "b", "c"]), "big": np.array([2**60, 0, 1]), "x": np.ones(3)},
        {"f": np.ones(1)},
    )
    write_mesh(mesh, tmp_path / "m.ply")
    assert (
        b"comment dropped vertex columns (PLY has no place for them): 'name', 'big', 'x'" in (tmp_path / "m.ply").read_bytes()
    )
    write_mesh(mesh, tmp_path / "m.obj")
    assert "# dropped columns (OBJ has no place for them): 'name', 'big', 'x', 'f'" in (tmp_path / "m.obj").read_text()
    write_mesh(mesh, tmp_path / "m.glb")
    assert glb_scene(tmp_path / "m.glb")["asset"]["extras"]["dropped"] == ["f", "name", "big"]


def glb_scene(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".vtp", vtkXMLPolyDataReader),
        (".vtk", vtkPolyDataReader),
        (".stl", vtkSTLReader),
        (".obj", vtkOBJReader),
        (".ply", vtkPLYReader),
    ],
)
def test_vtk_opens_it_and_finds_the_space(suffix: str, make: type, ball: Mesh, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    write_mesh(ball, path)
    reader = make()
    reader.SetFileName(str(path))
    reader.Update()
    poly = reader.GetOutput()
    assert (poly.GetNumberOfPoints(), poly.GetNumberOfPolys()) == (ball.n_points, ball.n_faces)
    assert poly.GetBounds() == pytest.approx(
        np.stack([ball.points.min(axis=0), ball.points.max(axis=0)], axis=1).ravel(), abs=1e-4
    )
    if suffix in (".vtp", ".vtk"):
        np.testing.assert_array_equal(vtk_to_numpy(poly.GetPointData().GetArray("radius")), ball.point_data["radius"])
        assert poly.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "LPS"
    if suffix == ".ply":
        said = [reader.GetComments().GetValue(i) for i in range(reader.GetComments().GetNumberOfValues())]
    elif suffix == ".obj":
        said = [reader.GetComment()]
    else:
        said = [] if suffix == ".vtp" else [reader.GetHeader()]
    assert suffix == ".vtp" or any("SPACE=LPS" in text for text in said)


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply", ".glb"])
def test_trimesh_opens_it_closed(suffix: str, ball: Mesh, tmp_path: Path) -> None:
    write_mesh(ball, tmp_path / f"m{suffix}")
    mesh = trimesh.load_scene(tmp_path / f"m{suffix}").to_mesh()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(ball.volume * (1e-9 if suffix == ".glb" else 1.0), rel=1e-5)


def test_glb_stands_upright_in_metres(tmp_path: Path) -> None:
    # A needle towards the head, with its foot 1 m to the left and 2 m to the back.
    mesh = Mesh([[1000, 2000, 0], [1000, 2000, 500], [1000, 2001, 0]], [[0, 1, 2]])
    write_mesh(mesh, tmp_path / "m.glb")
    vertices = trimesh.load_scene(tmp_path / "m.glb", process=False).to_mesh().vertices
    np.testing.assert_allclose(vertices, [[1, 0, -2], [1, 0.5, -2], [1, 0, -2.001]], atol=1e-6)
    extras = glb_scene(tmp_path / "m.glb")["asset"]["extras"]
    assert (extras["space"], extras["unit"]) == ("LPS", "mm")


def test_glb_of_another_tool_is_turned_to_lps(ball: Mesh, tmp_path: Path) -> None:
    write_mesh(ball, tmp_path / "own.glb")
    (tmp_path / "other.glb").write_bytes(trimesh.load_scene(tmp_path / "own.glb").export(file_type="glb"))
    back = read_mesh(tmp_path / "other.glb")
    np.testing.assert_allclose(back.points.min(axis=0), ball.points.min(axis=0), atol=1e-3)
    assert back.volume == pytest.approx(ball.volume, rel=1e-4)


def test_glb_shows_trees_else_scores(ball: Mesh, tmp_path: Path) -> None:
    for names, expected in (({"tree_id", "score"}, 3), ({"score"}, ball.n_points), (set(), 0)):
        mesh = Mesh(ball.points, ball.faces, {name: ball.point_data[name] for name in names})
        write_mesh(mesh, tmp_path / "m.glb")
        scene = glb_scene(tmp_path / "m.glb")
        accessor = scene["meshes"][0]["primitives"][0]["attributes"].get("COLOR_0")
        assert (accessor is None) == (expected == 0)
        if accessor is not None:
            view = scene["bufferViews"][scene["accessors"][accessor]["bufferView"]]
            blob = (tmp_path / "m.glb").read_bytes()[-scene["buffers"][0]["byteLength"] :]
            rgba = np.frombuffer(blob, np.uint8, view["byteLength"], view["byteOffset"]).reshape(-1, 4)
            assert len(np.unique(rgba, axis=0)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("suffix", [".vtk", ".stl", ".obj", ".ply"])
def test_a_file_that_says_ras_is_turned(suffix: str, ball: Mesh, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    write_mesh(ball, path)
    path.write_bytes(path.read_bytes().replace(b"LPS", b"RAS"))
    np.testing.assert_allclose(read_mesh(path).points.min(axis=0), (ball.points * [-1, -1, 1]).min(axis=0), atol=1e-4)


def test_text_stl_and_polygons_of_other_tools(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_text(
        "solid x\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid x\n"
    )
    assert read_mesh(tmp_path / "a.stl").area == 0.5
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1 4//1\nf -4 -3 -2\n")
    assert read_mesh(tmp_path / "a.obj").faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    ply = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\n"
    ply += "element face 2\nproperty list uchar int vertex_index\nend_header\n"
    ply += "0 0 0 9\n1 0 0 8\n1 1 0 7\n0 1 0 6\n4 0 1 2 3\n3 0 1 2\n"
    (tmp_path / "a.ply").write_text(ply)
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.point_data["red"].tolist() == [9, 8, 7, 6]
    assert mesh.point_data["red"].dtype == np.uint8


def test_big_endian_ply_with_mixed_faces(tmp_path: Path) -> None:
    header = b"ply\nformat binary_big_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    header += b"element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    body = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0], dtype=">f4").tobytes()
    body += b"\x04" + np.array([0, 1, 2, 3], dtype=">i4").tobytes() + b"\x03" + np.array([0, 1, 2], dtype=">i4").tobytes()
    (tmp_path / "a.ply").write_bytes(header + body)
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert mesh.area == 1.5


def test_surface_of_another_tool(data_dir: Path) -> None:
    mesh = read_mesh(data_dir / "mra_avf" / "avf.vtk")
    assert mesh.n_faces > 1000
    assert mesh.volume != 0


@pytest.mark.parametrize("suffix", EVERY)
def test_truncated_files_are_refused(suffix: str, ball: Mesh, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"m{suffix}"
    write_mesh(ball, path)
    data = path.read_bytes()
    # OBJ has no counts and no end: only a cut within a line can be seen.
    cuts = [data.rindex(b" ") + 1] if suffix == ".obj" else [0, 50, len(data) // 3, len(data) // 2, len(data) - 20]
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError, match=rf"m\{suffix}"):
            read_mesh(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff", b"{}", b"<a/>"])
def test_wrong_content_is_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"m{suffix}").write_bytes(content)
    with pytest.raises(FormatError, match=rf"in m\{suffix}; got "):
        read_mesh(tmp_path / f"m{suffix}")


def test_lines_are_no_surface(tmp_path: Path) -> None:
    text = "# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 2 float\n0 0 0 1 0 0\nLINES 1 3\n2 0 1\n"
    (tmp_path / "a.vtk").write_text(text)
    with pytest.raises(FormatError, match=r"a surface in a\.vtk; got lines without faces; use read_graph"):
        read_mesh(tmp_path / "a.vtk")


def test_faces_that_name_no_point_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 3\n")
    with pytest.raises(FormatError, match=r"an intact surface in a\.obj; got a broken one .*point ids in \[0, 2\)"):
        read_mesh(tmp_path / "a.obj")


def test_doors_refuse_suffixes_and_places(ball: Mesh, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"ending in \.vtp, \.vtk, \.stl, \.obj, \.ply, \.glb; got 'm\.off'"):
        write_mesh(ball, tmp_path / "m.off")
    with pytest.raises(InputError, match=r"an existing file; got .*none\.stl"):
        read_mesh(tmp_path / "none.stl")
    with pytest.raises(OutputError, match="face column 'x' of a plain type; got object"):
        write_mesh(Mesh(ball.points, ball.faces, {}, {"x": np.array([None] * ball.n_faces)}), tmp_path / "m.stl")
    with pytest.raises(OutputError, match="an existing folder"):
        write_mesh(ball, tmp_path / "none" / "m.stl")
    assert list(tmp_path.iterdir()) == []
