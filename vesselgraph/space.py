"""Where an array lies in the patient: the only index <-> world conversions of the project.

World is LPS (x grows to the patient's Left, y to Posterior, z to Superior) in millimetres, as in DICOM and ITK.
Array axes are plane, row, column; x, y, z exist only in world space.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesselgraph.errors import GeometryError

FloatArray = NDArray[np.float64]

_ORTHOGONAL_TOLERANCE = 1e-3


def _frozen(values: ArrayLike, shape: tuple[int, ...], name: str) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if array.shape != shape:
        raise GeometryError(f"{name} of shape {shape}", f"shape {array.shape}", "pass one value per array axis")
    if not np.isfinite(array).all():
        raise GeometryError(f"finite {name}", f"{array.tolist()}", "repair the image header")
    array.setflags(write=False)
    return array


def _each_axis(ufunc: np.ufunc, points: FloatArray, values: FloatArray) -> FloatArray:
    """Return a ufunc of points (..., 3) and one value an axis; many go axis by axis, as broadcasting over three is slow."""
    if points.ndim < 2 or points.shape[-1] != 3:
        return np.asarray(ufunc(points, values))
    result = np.empty(points.shape)
    for axis in range(3):
        ufunc(points[..., axis], values[axis], out=result[..., axis])
    return result


def _turned(points: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return ``points @ matrix``; many without BLAS, whose threads cost more than three products, and without products by 0."""
    if points.ndim < 2 or points.shape[-1] != 3:
        return np.asarray(points @ matrix)
    result = np.zeros(points.shape)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        result[..., column] += points[..., row] * matrix[row, column]
    return result


class Rebuilt:
    """Base of frozen dataclasses: copying and pickling call the constructor, so that a copy is checked and read-only too."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the class and the arguments that make this object again."""
        return type(self), tuple(_plain(getattr(self, entry.name)) for entry in fields(self))  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, MappingProxyType) else value


@dataclass(frozen=True, eq=False)
class Space(Rebuilt):
    """A regular, possibly oblique grid in world millimetres (LPS).

    ``world = origin + direction @ (index * spacing)`` with ``index`` in array order (plane, row, column).

    Parameters
    ----------
    spacing : (3,) mm
        Distance between neighbours along each array axis, > 0.
    origin : (3,) mm
        World position of the centre of voxel (0, 0, 0).
    direction : (3, 3)
        Column ``a`` is the world unit vector of array axis ``a``. Orthonormal; left-handed frames are allowed (reversing
        ITK's axes to array order makes the usual axial CT one).

    Raises
    ------
    GeometryError
        Non-positive or non-finite spacing, sheared or non-unit direction.

    Examples
    --------
    >>> space = Space.axial(spacing=(2.0, 1.0, 1.0))
    >>> space.to_world([[1, 0, 3]]).tolist()
    [[3.0, 0.0, 2.0]]
    >>> space.to_index([[3.0, 0.0, 2.0]]).tolist()
    [[1.0, 0.0, 3.0]]
    """

    spacing: FloatArray
    origin: FloatArray
    direction: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "spacing", _frozen(self.spacing, (3,), "spacing"))
        object.__setattr__(self, "origin", _frozen(self.origin, (3,), "origin"))
        object.__setattr__(self, "direction", _frozen(self.direction, (3, 3), "direction"))
        if not (self.spacing > 0).all():
            raise GeometryError("spacing > 0 mm on every axis", f"{self.spacing.tolist()}", "repair the image header")
        error = float(np.abs(self.direction.T @ self.direction - np.eye(3)).max())
        if error > _ORTHOGONAL_TOLERANCE:
            raise GeometryError(
                "orthogonal unit axes",
                f"a direction matrix that is off by {error:.3g}: {self.direction.round(4).tolist()}",
                "resample the image onto an orthogonal grid first (a tilted gantry gives a sheared grid)",
            )

    @classmethod
    def axial(cls, spacing: ArrayLike = (1.0, 1.0, 1.0), origin: ArrayLike = (0.0, 0.0, 0.0)) -> Space:
        """Return the usual axial grid: planes go up, rows go back, columns go left.

        Parameters
        ----------
        spacing : (3,) mm
            In array order (plane, row, column).
        origin : (3,) mm
            World x, y, z of voxel (0, 0, 0).
        """
        return cls(
            np.asarray(spacing, dtype=np.float64),
            np.asarray(origin, dtype=np.float64),
            np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        )

    @cached_property
    def voxel_volume(self) -> float:
        """Volume of one voxel in cubic millimetres."""
        return float(np.prod(self.spacing))

    @cached_property
    def is_isotropic(self) -> bool:
        """Whether the three spacings agree to 0.1 %."""
        return bool(np.ptp(self.spacing) <= 1e-3 * self.spacing.min())

    def to_world(self, index: ArrayLike) -> FloatArray:
        """Return the world positions, (..., 3) mm, of (possibly fractional) indices (..., 3) in array order."""
        scaled = _each_axis(np.multiply, np.asarray(index, dtype=np.float64), self.spacing)
        return _each_axis(np.add, _turned(scaled, self.direction.T), self.origin)

    def to_index(self, position: ArrayLike) -> FloatArray:
        """Return the fractional indices, (..., 3) in array order, of world positions (..., 3) mm."""
        relative = _each_axis(np.subtract, np.asarray(position, dtype=np.float64), self.origin)
        return _each_axis(np.divide, _turned(relative, self.direction), self.spacing)

    def vector_to_world(self, vector: ArrayLike) -> FloatArray:
        """Return world vectors (..., 3) mm of vectors (..., 3) given in index steps; the origin plays no part."""
        return np.asarray((np.asarray(vector, dtype=np.float64) * self.spacing) @ self.direction.T)

    def shifted(self, first_index: ArrayLike) -> Space:
        """Return the space of a crop whose voxel (0, 0, 0) is ``first_index`` here."""
        return Space(self.spacing, self.to_world(np.asarray(first_index)), self.direction)

    def rescaled(self, spacing: ArrayLike) -> Space:
        """Return a space with other spacing whose first voxel has the same outer corner as here."""
        new = np.asarray(spacing, dtype=np.float64)
        corner_index = (new / self.spacing - 1.0) / 2.0
        return Space(new, self.to_world(corner_index), self.direction)

    def is_close(self, other: Space, tolerance: float = 1e-3) -> bool:
        """Return whether two spaces agree: spacing relative to itself, origin in voxels, direction absolute."""
        voxel = float(self.spacing.min())
        return bool(
            np.allclose(self.spacing, other.spacing, rtol=tolerance, atol=0.0)
            and np.abs(self.origin - other.origin).max() <= max(tolerance * 10.0, 1e-6) * voxel
            and np.abs(self.direction - other.direction).max() <= tolerance
        )

    def to_dict(self) -> dict[str, list[float] | list[list[float]] | str]:
        """Return plain lists for JSON; the frame is named."""
        return {
            "frame": "LPS",
            "unit": "mm",
            "axis_order": "plane, row, column",
            "spacing": self.spacing.tolist(),
            "origin": self.origin.tolist(),
            "direction": self.direction.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> Space:
        """Return the space that :meth:`to_dict` described.

        Raises
        ------
        GeometryError
            A field is missing, or the frame is another than LPS mm.
        """
        if data.get("frame", "LPS") != "LPS" or data.get("unit", "mm") != "mm":
            raise GeometryError("a space in LPS mm", f"{data.get('frame')} {data.get('unit')}", "convert it first")
        missing = [key for key in ("spacing", "origin", "direction") if key not in data]
        if missing:
            raise GeometryError("spacing, origin and direction", f"no {', '.join(missing)}", "write the space in full")
        return cls(np.array(data["spacing"]), np.array(data["origin"]), np.array(data["direction"]))

    def __eq__(self, other: object) -> bool:
        """Return whether both spaces hold exactly the same numbers."""
        if not isinstance(other, Space):
            return NotImplemented
        return bool(
            np.array_equal(self.spacing, other.spacing)
            and np.array_equal(self.origin, other.origin)
            and np.array_equal(self.direction, other.direction)
        )

    def __hash__(self) -> int:
        """Return a hash of the numbers, so that equal spaces hash alike."""
        return hash((self.spacing.tobytes(), self.origin.tobytes(), self.direction.tobytes()))
