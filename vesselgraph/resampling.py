"""Moving volumes from grid to grid, world-true."""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.space import Space
from vesselgraph.volume import Volume

Interpolation = Literal["linear", "nearest", "cubic"]

_SITK_INTERPOLATION = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}


def to_sitk(volume: Volume) -> sitk.Image:
    """Return a SimpleITK image of a volume; bool becomes uint8, float16 becomes float32. Values are copied."""
    array = volume.array
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing([float(s) for s in volume.space.spacing[::-1]])
    image.SetOrigin([float(o) for o in volume.space.origin])
    image.SetDirection(volume.space.direction[:, ::-1].ravel().tolist())
    return image


def from_sitk(image: sitk.Image, name: str = "") -> Volume:
    """Return the volume of a scalar 3-D SimpleITK image; values are copied.

    Raises
    ------
    ShapeError
        The image is not 3-D and scalar.
    GeometryError
        Its grid is impossible.
    """
    space = space_of_sitk(image)
    return Volume(sitk.GetArrayFromImage(image), space, name)


def space_of_sitk(image: sitk.Image) -> Space:
    """Return the grid of a scalar 3-D SimpleITK image.

    Raises
    ------
    ShapeError
        The image is not 3-D and scalar.
    GeometryError
        Its grid is impossible.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        got = f"{image.GetDimension()} axes, {image.GetNumberOfComponentsPerPixel()} channels"
        raise ShapeError("a scalar 3-D image", got, "pick one 3-D channel")
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)[:, ::-1]
    return Space(np.array(image.GetSpacing())[::-1], np.array(image.GetOrigin()), direction)


def resample(
    volume: Volume,
    space: Space,
    shape: tuple[int, int, int],
    *,
    interpolation: Interpolation = "linear",
    fill: float | None = None,
) -> Volume:
    """Return the volume on another grid, world-true.

    Where the new grid is coarser the image is smoothed first (Gaussian of half the missing resolution), so that thin
    bright vessels fade instead of flickering; masks (``interpolation="nearest"``) are not.

    Parameters
    ----------
    volume : Volume
        Any real type. Linear and cubic return float32, nearest returns the input type.
    space, shape : Space, (3,)
        The grid to fill.
    interpolation : {"linear", "nearest", "cubic"}
        Cubic is a B-spline.
    fill : float, optional
        Value outside the image; the smallest value of the image if left out.

    Raises
    ------
    RangeError
        The shape is not positive.
    """
    if min(shape) < 1:
        raise RangeError("a positive grid shape", f"{shape}", "check the extent")
    smallest = float(volume.array.min())
    if interpolation == "nearest":
        source = volume
    else:
        source = _smoothed_for(volume, space)
    reference = sitk.ResampleImageFilter()
    reference.SetSize([int(n) for n in shape[::-1]])
    reference.SetOutputSpacing([float(s) for s in space.spacing[::-1]])
    reference.SetOutputOrigin([float(o) for o in space.origin])
    reference.SetOutputDirection(space.direction[:, ::-1].ravel().tolist())
    reference.SetInterpolator(_SITK_INTERPOLATION[interpolation])
    reference.SetDefaultPixelValue(smallest if fill is None else fill)
    array = sitk.GetArrayFromImage(reference.Execute(to_sitk(source)))
    if volume.array.dtype.kind == "b":
        array = array > 0.5
    return Volume(array, space, volume.name)


def _smoothed_for(volume: Volume, space: Space) -> Volume:
    array = volume.array.astype(np.float32)
    # Per old axis, the coarsest new spacing that projects onto it.
    share = np.abs(volume.space.direction.T @ space.direction)
    new_spacing = (share * space.spacing).max(axis=1)
    ratio = new_spacing / volume.space.spacing
    sigma = np.where(ratio > 1.0, 0.5 * np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)), 0.0)
    for axis in range(3):
        if sigma[axis] > 0.2:
            array = ndimage.gaussian_filter1d(array, sigma[axis], axis=axis, mode="nearest", truncate=3.0)
    return volume.with_array(array)


def resample_like(volume: Volume, like: Volume, *, interpolation: Interpolation = "linear", fill: float = 0.0) -> Volume:
    """Return the volume on the grid of ``like``; see :func:`resample`. Outside of ``volume`` the value is ``fill``."""
    if volume.is_on_grid_of(like):
        return volume
    return resample(volume, like.space, like.shape, interpolation=interpolation, fill=fill)


def isotropic_grid(volume: Volume, step: float) -> tuple[Space, tuple[int, int, int]]:
    """Return the isotropic grid with the axes of ``volume`` that covers its box with the given step in mm.

    Raises
    ------
    RangeError
        The step is not positive.
    """
    if not step > 0:
        raise RangeError("a step > 0 mm", f"{step}", "set heatmap.step")
    shape = tuple(int(n) for n in np.maximum(1, np.round(volume.extent / step)))
    return volume.space.rescaled((step, step, step)), shape  # type: ignore[return-value]
