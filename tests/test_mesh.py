"""Mesh: its checks, area and volume."""

import numpy as np
import pytest

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.mesh import Mesh

CORNERS = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
OUTWARD = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]


def test_a_corner_of_the_cube_has_a_sixth_of_its_volume() -> None:
    mesh = Mesh(CORNERS, OUTWARD)
    assert (mesh.n_points, mesh.n_faces) == (4, 4)
    assert mesh.volume == pytest.approx(1 / 6)
    assert mesh.area == pytest.approx(1.5 + np.sqrt(3) / 2)
    assert Mesh(CORNERS, np.array(OUTWARD)[:, ::-1]).volume == pytest.approx(-1 / 6)
    assert Mesh(np.array(CORNERS) + np.array([100, -50, 7]), OUTWARD).volume == pytest.approx(1 / 6)
    assert (Mesh.empty().area, Mesh.empty().volume) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("points", "faces", "columns", "error", "message"),
    [
        ([[0, 0]], [[0, 0, 0]], {}, ShapeError, r"points of shape \(n, 3\); got shape \(1, 2\)"),
        (CORNERS, [[0, 1, 2, 3]], {}, ShapeError, r"faces of shape \(n, 3\); got shape \(1, 4\)"),
        ([[0, 0, np.nan]] * 3, [[0, 1, 2]], {}, RangeError, "finite points"),
        (CORNERS, [[0, 1, 4]], {}, RangeError, r"point ids in \[0, 4\); got 0..4"),
        (CORNERS, [[0, 1, -1]], {}, RangeError, r"got -1..1"),
        (CORNERS, OUTWARD, {"radius": np.ones(3)}, ShapeError, r"point_data columns of shape \(4,\)"),
    ],
)
def test_broken_surfaces_are_refused(points: object, faces: object, columns: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Mesh(points, faces, columns)


def test_arrays_are_read_only() -> None:
    mesh = Mesh(CORNERS, OUTWARD, {"radius": np.ones(4)}, {"branch_id": np.arange(4)})
    for array in (mesh.points, mesh.faces, mesh.point_data["radius"], mesh.face_data["branch_id"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
