"""What is known about the place a graph was traced in: image and its noise, the organ, the maps of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.errors import InputError
from vesselgraph.space import FloatArray
from vesselgraph.volume import Heatmap, Volume

if TYPE_CHECKING:
    from vesselgraph.encoders import Encoded

BORDER, FAR = 10.0, 50.0
"""Depths are cut to -BORDER..FAR, mm."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What else is known where a graph was traced.

    Attributes
    ----------
    noise : float
        Robust standard deviation of the image inside the organ, in its units; contrast is counted in it. 0 if unknown.
    image : Volume or None
        CT.
    depth : Volume or None
        mm to the border of the organ, positive inside.
    bounds : (2, 3) or None
        World bounds of the organ, lowest and highest, mm.
    maps : NDArray or None
        (C, planes, rows, columns) identity and features of the heatmap network.
    maps_space : Volume or None
        A volume on the grid of ``maps``.
    encoded : Encoded or None
        What a frozen encoder sees in the image.
    """

    noise: float = 0.0
    image: Volume | None = None
    depth: Volume | None = None
    bounds: FloatArray | None = None
    maps: NDArray[np.floating] | None = None
    maps_space: Volume | None = None
    encoded: Encoded | None = None


def measure_surroundings(
    image: Volume | None, organ: Volume | None, heatmap: Heatmap | None = None, *, encoded: Encoded | None = None
) -> Surroundings:
    """Return the noise of an image inside an organ, the distance to the organ's border, and what a network saw.

    Parameters
    ----------
    image : Volume, optional
        CT.
    organ : Volume, optional
        bool on the grid of the image; without one the noise is that of the whole image and ``depth`` is None.
    heatmap : Heatmap, optional
        Of a network: its identity and feature maps are taken.
    encoded : Encoded, optional
        Of the image, by a frozen encoder; passed on.

    Raises
    ------
    InputError
        The organ is empty.
    """
    depth = bounds = None
    inside = np.ones((), np.bool_)
    if organ is not None:
        inside = organ.array.astype(np.bool_)
        if not inside.any():
            raise InputError("an organ mask with voxels in it", "an empty mask", "check the mask")
        depth, bounds = _signed_depth(organ), _bounds(organ)
    noise = 0.0
    if image is not None:
        values = image.array[np.broadcast_to(inside, image.shape)]
        noise = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    if heatmap is None or heatmap.features is None or heatmap.identity is None:
        return Surroundings(noise, image, depth, bounds, encoded=encoded)
    maps = np.concatenate([heatmap.identity, heatmap.features])
    return Surroundings(noise, image, depth, bounds, maps, heatmap.heat, encoded)


def _bounds(organ: Volume) -> FloatArray:
    """Return the lowest and highest world coordinates of voxel centres of the organ, (2, 3) mm."""
    inside = organ.array.astype(np.bool_)
    # The first and last voxel of every line along the columns suffice, since the map to the world is linear.
    plane, row = np.nonzero(inside.any(axis=2))
    lines = inside[plane, row]
    first, last = lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    world = np.concatenate(
        [organ.space.to_world(np.stack([plane, row, column], axis=1).astype(float)) for column in (first, last)]
    )
    return np.stack([world.min(axis=0), world.max(axis=0)])


def _signed_depth(organ: Volume) -> Volume:
    """Return mm to the border of the organ, positive inside, cut to -10..50, on the box around it."""
    spacing = organ.space.spacing
    pad = np.ceil(BORDER / spacing).astype(np.int64) + 1
    first, last = [], []
    for axis, axes in enumerate(((1, 2), (0, 2), (0, 1))):
        occupied = np.flatnonzero(organ.array.any(axis=axes))
        first.append(max(0, int(occupied[0] - pad[axis])))
        last.append(min(organ.shape[axis], int(occupied[-1] + 1 + pad[axis])))
    box = organ.crop((first[0], first[1], first[2]), (last[0], last[1], last[2]))
    inside = box.array.astype(np.bool_)
    if inside.all():
        # The whole field of view: there is no border.
        return box.with_array(np.full(box.shape, FAR, np.float32))
    signed = ndimage.distance_transform_edt(inside, sampling=spacing)
    signed -= ndimage.distance_transform_edt(~inside, sampling=spacing)
    return box.with_array(np.clip(signed, -BORDER, FAR).astype(np.float32))


def sample(maps: NDArray[np.floating], grid: Volume, position: FloatArray) -> FloatArray:
    """Return the trilinear values of maps (C, planes, rows, columns) at world points, (M, C); the border goes on outside."""
    index = grid.space.to_index(position).T
    # The maps of the network are halves, which the interpolation does not take.
    columns = [ndimage.map_coordinates(np.asarray(one, np.float32), index, order=1, mode="nearest") for one in maps]
    return np.stack(columns, axis=1).astype(np.float64)
