"""Mesh: a triangle surface with its data, in world millimetres (LPS). No algorithm lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.graph import Column, IntArray, _read_only
from vesselgraph.space import FloatArray, Rebuilt


@dataclass(frozen=True, eq=False)
class Mesh(Rebuilt):
    """A triangle surface; faces turn counter-clockwise seen from outside.

    Letters: P points, F faces.

    Parameters
    ----------
    points : (P, 3) float64, mm
        World LPS.
    faces : (F, 3) int64
        Point ids.
    point_data : mapping of name to (P,) array
        ``radius`` (mm), ``branch_id``, ``tree_id``, ``score`` where the surface came from a graph.
    face_data : mapping of name to (F,) array
        More columns.

    Raises
    ------
    ShapeError
        An array has the wrong shape, or a column another length than its axis.
    RangeError
        A point is not finite, or a face names a point that is not there.

    Examples
    --------
    >>> one = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    >>> one.n_faces, one.area
    (1, 0.5)
    """

    points: FloatArray
    faces: IntArray
    point_data: Mapping[str, Column] = field(default_factory=dict)
    face_data: Mapping[str, Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        points, faces = _read_only(self.points, np.float64), _read_only(self.faces, np.int64)
        for name, array in (("points", points), ("faces", faces)):
            if array.ndim != 2 or array.shape[1] != 3:
                raise ShapeError(f"{name} of shape (n, 3)", f"shape {array.shape}", "pass triangles in 3-D")
        if not np.isfinite(points).all():
            raise RangeError("finite points", "NaN or infinite coordinates", "drop these points")
        if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
            raise RangeError(f"point ids in [0, {len(points)})", f"{faces.min()}..{faces.max()}", "relabel the faces")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "faces", faces)
        for axis, size in (("point_data", len(points)), ("face_data", len(faces))):
            columns = {key: _read_only(value, None) for key, value in getattr(self, axis).items()}
            wrong = {key: column.shape for key, column in columns.items() if column.shape != (size,)}
            if wrong:
                raise ShapeError(f"{axis} columns of shape ({size},)", f"{wrong}", "pass one value an element")
            object.__setattr__(self, axis, MappingProxyType(columns))

    @property
    def n_points(self) -> int:
        """Number of points P."""
        return len(self.points)

    @property
    def n_faces(self) -> int:
        """Number of faces F."""
        return len(self.faces)

    @property
    def area(self) -> float:
        """Surface area, square mm."""
        a, b, c = (self.points[self.faces[:, i]] for i in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2.0)

    @property
    def volume(self) -> float:
        """Enclosed volume, cubic mm; meaningful for a closed surface, negative if it is inside out."""
        a, b, c = (self.points[self.faces[:, i]] for i in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)

    @classmethod
    def empty(cls) -> Mesh:
        """Return a surface without points."""
        return cls(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
