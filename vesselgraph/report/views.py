"""Where display pictures lie in the patient: axis-aligned planes in world space, in radiological convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.graph import VesselGraph
from vesselgraph.resampling import resample
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

ViewName = Literal["axial", "coronal", "sagittal"]

_MAX_MIP_VOXELS = 24_000_000


@dataclass(frozen=True)
class View:
    """How world axes lie on the screen.

    ``depth`` is the world axis (0 x to the Left, 1 y to Posterior, 2 z to Superior) looked along, ``right`` the axis that
    grows to the right of the picture, ``down`` the axis of its rows; ``flip_down`` says that this axis falls from row to row.
    ``labels`` are the patient's sides at the left, right, top and bottom edge.
    """

    name: ViewName
    depth: int
    right: int
    down: int
    flip_down: bool
    labels: tuple[str, str, str, str]


VIEWS: dict[ViewName, View] = {
    "axial": View("axial", depth=2, right=0, down=1, flip_down=False, labels=("R", "L", "A", "P")),
    "coronal": View("coronal", depth=1, right=0, down=2, flip_down=True, labels=("R", "L", "S", "I")),
    "sagittal": View("sagittal", depth=0, right=1, down=2, flip_down=True, labels=("A", "P", "S", "I")),
}


@dataclass(frozen=True)
class Frame:
    """A picture's place: the world box it shows, seen in a view, with square pixels.

    Parameters
    ----------
    view : View
        Which axes lie where.
    box : (2, 3) mm
        Lowest and highest x, y, z.
    step : float
        Edge of a pixel, mm.
    """

    view: View
    box: FloatArray
    step: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, at least 1."""
        extent = self.box[1] - self.box[0]
        width, height = (max(1, round(float(extent[axis]) / self.step)) for axis in (self.view.right, self.view.down))
        return width, height

    def to_pixel(self, points: FloatArray) -> FloatArray:
        """Return picture coordinates, (n, 2) as (right, down), of world points; pixel i covers [i, i + 1)."""
        right = (points[:, self.view.right] - self.box[0, self.view.right]) / self.step
        down = points[:, self.view.down]
        if self.view.flip_down:
            down = (self.box[1, self.view.down] - down) / self.step
        else:
            down = (down - self.box[0, self.view.down]) / self.step
        return np.stack([right, down], axis=1)

    def plane(self, position: float) -> FloatArray:
        """Return the world positions, (height, width, 3) mm, of the pixel centres of the plane at ``position`` mm."""
        width, height = self.size
        world = np.empty((height, width, 3))
        world[..., self.view.depth] = position
        world[..., self.view.right] = self.box[0, self.view.right] + (np.arange(width) + 0.5) * self.step
        down = (np.arange(height)[:, None] + 0.5) * self.step
        low, high = self.box[:, self.view.down]
        world[..., self.view.down] = high - down if self.view.flip_down else low + down
        return world


def display_box(image: Volume, region: Volume | None, graph: VesselGraph | None, margin: float = 8.0) -> FloatArray:
    """Return the world box worth showing, (2, 3) mm: the region and the graph with a margin, inside the image.

    Without a region the whole image is shown. An empty region counts as none.
    """
    bounds = image.bounds
    if region is None or not region.array.any():
        return bounds
    ends = np.stack([_end_indices(region.array, axis) for axis in range(3)], axis=1) + np.array([[-0.5], [0.5]])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    points = region.space.to_world(corners)
    if graph is not None and graph.n_points:
        points = np.concatenate([points, graph.path_position])
    box = np.stack([points.min(axis=0) - margin, points.max(axis=0) + margin])
    clipped = np.stack([np.maximum(box[0], bounds[0]), np.minimum(box[1], bounds[1])])
    return clipped if (clipped[1] > clipped[0]).all() else bounds


def _end_indices(mask: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    others = tuple(a for a in range(3) if a != axis)
    used = np.flatnonzero(mask.any(axis=others))
    return np.array([used[0], used[-1]], dtype=np.float64)


def sample_plane(volume: Volume, frame: Frame, position: float) -> NDArray[np.float32]:
    """Return the values of one display plane, (height, width), linearly interpolated; NaN outside of the volume."""
    index = volume.space.to_index(frame.plane(position))
    last = np.array(volume.shape) - 1
    inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=-1)
    coordinates = np.moveaxis(np.clip(index, 0, last), -1, 0)
    source = volume.array.view(np.uint8) if volume.array.dtype.kind == "b" else volume.array
    values = ndimage.map_coordinates(source, coordinates, output=np.float32, order=1, prefilter=False)
    return np.where(inside, values, np.float32(np.nan))


def sample_box(volume: Volume, box: FloatArray) -> Volume:
    """Return the volume on an axial grid of cubes that fills a world box; the step keeps it under 24 million voxels."""
    extent = box[1] - box[0]
    step = max(float(volume.space.spacing.min()), float(np.prod(extent) / _MAX_MIP_VOXELS) ** (1 / 3))
    step = min(step, float(extent.min()))
    shape = tuple(max(1, round(float(extent[axis]) / step)) for axis in (2, 1, 0))
    space = Space.axial((step, step, step), box[0] + step / 2.0)
    return resample(_around(volume, box), space, shape)


def _around(volume: Volume, box: FloatArray) -> Volume:
    # Only the voxels near the box are copied and smoothed.
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    index = volume.space.to_index(corners)
    shape = np.array(volume.shape)
    first = np.clip(np.floor(index.min(axis=0)) - 2, 0, shape - 1).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 3, first + 1, shape).astype(int)
    return volume.crop(tuple(int(i) for i in first), tuple(int(i) for i in last))  # type: ignore[arg-type]


def project_box(volume: Volume, view: View) -> NDArray[np.float32]:
    """Return the maximum of an axial volume along a view's depth, (height, width), rows as on the screen."""
    picture = volume.array.max(axis=2 - view.depth).astype(np.float32)
    return picture[::-1] if view.flip_down else picture
