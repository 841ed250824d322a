"""From the index axes of a file's header to a grid."""

from __future__ import annotations

import numpy as np

from vesselgraph.errors import GeometryError
from vesselgraph.space import FloatArray, Space


def space_from_axes(axes: FloatArray, origin: FloatArray) -> Space:
    """Return the grid whose array axis ``a`` moves by the world vector ``axes[:, a]`` (mm, LPS) a voxel.

    Headers round their directions; axes within 1e-3 of right angles become the nearest orthogonal ones.

    Raises
    ------
    GeometryError
        An axis of length zero, NaN, or axes that are not at right angles.
    """
    spacing = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(axes).all() and np.isfinite(origin).all()):
        raise GeometryError(
            "finite axes and origin", f"axes {axes.round(4).tolist()}, origin {origin.tolist()}", "repair the image header"
        )
    if not (spacing > 0).all():
        raise GeometryError("spacing > 0 mm on every axis", f"{spacing.tolist()}", "repair the image header")
    checked = Space(spacing, origin, axes / spacing)
    left, _, right = np.linalg.svd(checked.direction)
    nearest = left @ right
    # Exact axes stay exact: the decomposition would add rounding of its own.
    return checked if np.abs(nearest - checked.direction).max() < 1e-9 else Space(spacing, origin, nearest)
