"""A region from an organ mask that the caller brings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import RegionConfig
from vesselgraph.errors import RangeError, SpaceMismatchError
from vesselgraph.region.margin import add_margin
from vesselgraph.region.measure import describe
from vesselgraph.region.model import Region
from vesselgraph.resampling import resample_like
from vesselgraph.volume import Volume

_FULL_OVERLAP = 0.995


def region_from_mask(mask: Volume, image: Volume, config: RegionConfig = RegionConfig()) -> Region:  # noqa: B008
    """Return the region of a given organ mask, with its rim.

    Parameters
    ----------
    mask : Volume
        The organ, bool or 0 and 1, on any grid of the same patient frame; brought onto the image grid world-true (nearest
        voxel).
    image : Volume
        The image whose vessels are looked for.
    config : RegionConfig
        Only ``margin`` is used.

    Returns
    -------
    Region
        Kind "given"; ``confidence`` and ``measurements["overlap_fraction"]`` are the share of the mask's volume that lies
        in the image, ``measurements["volume_ml"]`` is the volume in the image without the rim.

    Raises
    ------
    RangeError
        The mask is empty or holds other values than 0 and 1.
    SpaceMismatchError
        The mask does not overlap the image; the message states both boxes.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> image = Volume(np.zeros((4, 4, 4), dtype=np.int16), Space.axial())
    >>> mask = Volume(np.ones((2, 2, 2), dtype=bool), Space.axial(origin=(2.0, 2.0, 3.0)))
    >>> region_from_mask(mask, image, RegionConfig(margin=0.0)).measurements["overlap_fraction"]
    0.5
    """
    binary = _as_bool(mask)
    share = _overlap(binary, image)
    organ = resample_like(binary, image, interpolation="nearest")
    if share == 0.0 or not organ.array.any():
        raise SpaceMismatchError(
            f"a mask that overlaps the image ({_box_text(image)})",
            f"a mask that does not ({_box_text(binary)})",
            "check that both are of one patient and in one world frame",
        )
    measurements = describe(image, np.asarray(organ.array, dtype=bool)) | {"overlap_fraction": share}
    note = f"Organ mask given; a rim of {config.margin:g} mm was added."
    if share < _FULL_OVERLAP:
        note += f" {1.0 - share:.1%} of the mask's volume lies outside the image and was left out."
    if not binary.is_on_grid_of(image):
        note += " The mask came on another grid and was moved onto the image's."
    return Region(add_margin(organ, config.margin), organ, "given", share, note, measurements)


def _as_bool(mask: Volume) -> Volume:
    array = mask.array
    if array.dtype.kind == "b":
        inside = np.asarray(array, dtype=bool)
    else:
        inside = array == 1
        if not (inside | (array == 0)).all():
            raise RangeError(
                "an organ mask of 0 and 1",
                f"values from {array.min()} to {array.max()}",
                "choose the organ's label of a label map first (mask == label)",
            )
    if not inside.any():
        raise RangeError("an organ mask with at least one voxel", "an empty mask", "check the label or the file")
    return mask.with_array(inside)


def _overlap(mask: Volume, image: Volume) -> float:
    """Return the share of the mask's voxels whose centre lies in the box of the image."""
    if mask.is_on_grid_of(image):
        return 1.0
    n_inside, n_all = 0, 0
    for plane in range(mask.shape[0]):
        rows, columns = np.nonzero(mask.array[plane])
        if rows.size == 0:
            continue
        index = image.space.to_index(mask.space.to_world(_planar_index(plane, rows, columns)))
        n_inside += int(((index >= -0.5) & (index <= np.array(image.shape) - 0.5)).all(axis=1).sum())
        n_all += rows.size
    return n_inside / n_all


def _planar_index(plane: int, rows: NDArray[np.int_], columns: NDArray[np.int_]) -> NDArray[np.int_]:
    return np.stack([np.full(rows.size, plane), rows, columns], axis=1)


def _box_text(volume: Volume) -> str:
    low, high = volume.bounds.round(1)
    axes = ", ".join(f"{name} {a:g} to {b:g}" for name, a, b in zip("xyz", low, high, strict=True))
    return f"box {axes} mm"
