"""Reading features at places of the patient."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vesselgraph.encoders.encoded import Encoded, FeatureMap
from vesselgraph.errors import RangeError, ShapeError


def sample(encoded: Encoded, points: ArrayLike, *, item: int = 0, outside: Literal["raise", "nearest"] = "raise") -> Tensor:
    """Return the features of all maps at world points, (n, channels of all maps together), in the order of the maps.

    Trilinear between the centres of cells, so a field that is linear in space is read exactly. Between the outermost cell
    centres and the image's edge the outermost cell counts.

    Parameters
    ----------
    encoded : Encoded
    points : (n, 3) mm
        World LPS; n may be 0.
    item : int
        Which image of the batch.
    outside : {"raise", "nearest"}
        What to do with points outside of the image: raise, or take the nearest cell.

    Raises
    ------
    ShapeError
        The points are not (n, 3).
    RangeError
        A point is not finite or lies outside of the image, or there is no such item.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> data = torch.arange(3.0).view(1, 1, 1, 1, 3)
    >>> maps = (FeatureMap(data, (1.0, 1.0, 4.0), (0.0, 0.0, 1.5)),)
    >>> one = Encoded(maps, (Space.axial((1.0, 1.0, 0.5)),), (1, 1, 12))
    >>> sample(one, [[0.75, 0.0, 0.0], [1.75, 0.0, 0.0]]).tolist()
    [[0.0], [0.5]]
    """
    where = np.asarray(points, dtype=np.float64)
    if where.ndim != 2 or where.shape[1] != 3:
        raise ShapeError("points of shape (n, 3), mm", f"shape {where.shape}", "pass world x, y, z")
    if not 0 <= item < len(encoded.spaces):
        raise RangeError(f"an item below {len(encoded.spaces)}", f"{item}", "count from 0")
    index = encoded.spaces[item].to_index(where)
    if not np.isfinite(index).all():
        raise RangeError("finite points", f"points {_first(~np.isfinite(index).all(axis=1))} are not", "drop them first")
    if outside == "raise":
        # Half a voxel beyond the outer centres is the image's edge; a little more for rounding.
        beyond = ((index < -0.5 - 1e-6) | (index > np.asarray(encoded.shape) - 0.5 + 1e-6)).any(axis=1)
        if beyond.any():
            raise RangeError(
                "points inside the encoded image",
                f"{int(beyond.sum())} outside, the first {_first(beyond)}",
                'encode a larger crop, or pass outside="nearest"',
            )
    return torch.cat([read_map(one, torch.from_numpy(index), item) for one in encoded.maps], dim=1)


def read_map(one: FeatureMap, index: Tensor, item: int = 0) -> Tensor:
    """Return one map at fractional input indices (n, 3), (n, channels); float16 maps are read as float32."""
    data = one.data[item]
    sides = torch.tensor(data.shape[1:], dtype=torch.float64)
    cell = (index.double() - torch.tensor(one.offset, dtype=torch.float64)) / torch.tensor(one.stride, dtype=torch.float64)
    cell = cell.clamp(min=0.0).minimum(sides - 1.0)
    low = cell.floor().minimum((sides - 2.0).clamp(min=0.0))
    share = (cell - low).to(data.device)
    low = low.long().to(data.device)
    high = (low + 1).minimum((sides - 1).long().to(data.device))
    flat = data.flatten(1)
    dtype = torch.promote_types(data.dtype, torch.float32)
    total = torch.zeros(len(index), data.shape[0], dtype=dtype, device=data.device)
    for corner in product((0, 1), repeat=3):
        ends = [(high if up else low)[:, axis] for axis, up in enumerate(corner)]
        weight = torch.ones(len(index), dtype=torch.float64, device=data.device)
        for axis, up in enumerate(corner):
            weight = weight * (share[:, axis] if up else 1.0 - share[:, axis])
        position = (ends[0] * data.shape[2] + ends[1]) * data.shape[3] + ends[2]
        total = total + flat[:, position].T.to(dtype) * weight.to(dtype)[:, None]
    return total


def resampled_map(one: FeatureMap, stride: tuple[float, ...], offset: tuple[float, ...], shape: tuple[int, ...]) -> Tensor:
    """Return a map's data on another grid of cells, (batch, channels, *shape); linear along each axis, edges held."""
    data = one.data
    for axis in range(3):
        where = (offset[axis] + stride[axis] * torch.arange(shape[axis], dtype=torch.float64) - one.offset[axis]) / one.stride[
            axis
        ]
        data = torch.movedim(_between(torch.movedim(data, 2 + axis, -1), where.to(data.device)), -1, 2 + axis)
    return data


def _between(data: Tensor, where: Tensor) -> Tensor:
    last = data.shape[-1] - 1
    where = where.clamp(0.0, float(last))
    low = where.floor().long().clamp(max=max(last - 1, 0))
    share = (where - low).to(data.dtype)
    return torch.lerp(data[..., low], data[..., (low + 1).clamp(max=last)], share)


def _first(wrong: ArrayLike) -> list[int]:
    return [int(one) for one in np.flatnonzero(wrong)[:5]]
