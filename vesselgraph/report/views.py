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

_MAX_VOXELS = 48_000_000

# Smallest direction cosine of a grid that is shown voxel by voxel: 0.3 degrees, under a voxel over 200.
_ALIGNED = 0.99999


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

    def to_world(self, pixels: FloatArray, position: float) -> FloatArray:
        """Return the world positions, (n, 3) mm, of picture coordinates (n, 2) in the plane at ``position`` mm."""
        world = np.empty((len(pixels), 3))
        low, high = self.box[:, self.view.down]
        world[:, self.view.depth] = position
        world[:, self.view.right] = self.box[0, self.view.right] + pixels[:, 0] * self.step
        down = pixels[:, 1] * self.step
        world[:, self.view.down] = high - down if self.view.flip_down else low + down
        return world


def display_box(image: Volume, region: Volume | None, graph: VesselGraph | None, margin: float = 8.0) -> FloatArray:
    """Return the world box worth showing, (2, 3) mm: the region and the graph with a margin, inside the image.

    Without a region the whole image is shown. An empty region counts as none.
    """
    bounds = image.bounds
    if region is None or not region.array.any():
        return bounds
    ends = np.array(used_box(region.array)) - 0.5
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    points = region.space.to_world(corners)
    if graph is not None and graph.n_points:
        points = np.concatenate([points, graph.path_position])
    box = np.stack([points.min(axis=0) - margin, points.max(axis=0) + margin])
    clipped = np.stack([np.maximum(box[0], bounds[0]), np.minimum(box[1], bounds[1])])
    return clipped if (clipped[1] > clipped[0]).all() else bounds


def used_box(mask: NDArray[np.generic]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the smallest box, first and last (excluded) index, that holds all true voxels of a mask that has some."""
    used = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    first, last = zip(*((int(where[0]), int(where[-1]) + 1) for where in used), strict=True)
    return first, last


def sample_plane(volume: Volume, frame: Frame, position: float) -> NDArray[np.float32]:
    """Return the values of one display plane, (height, width), linearly interpolated; NaN outside of the volume."""
    # The index is affine in the pixel: three of them tell all.
    corner, right, down = volume.space.to_index(frame.to_world(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]), position))
    width, height = frame.size
    columns, rows = np.arange(width), np.arange(height)[:, None]
    index = np.stack([corner[i] + columns * (right - corner)[i] + rows * (down - corner)[i] for i in range(3)])
    last = np.array(volume.shape)[:, None, None] - 1
    inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=0)
    coordinates = np.clip(index, 0, last)
    source = volume.array.view(np.uint8) if volume.array.dtype.kind == "b" else volume.array
    values = ndimage.map_coordinates(source, coordinates, output=np.float32, order=1, prefilter=False)
    return np.where(inside, values, np.float32(np.nan))


def axial_part(volume: Volume, box: FloatArray) -> Volume:
    """Return the part of a volume around a world box on an axial grid (planes up, rows back, columns left).

    Where the grid's axes are the body's axes these are the voxels themselves, turned; the part may then reach a little beyond
    the box. Otherwise the box is resampled linearly in cubes as fine as the voxels, at most 48 million of them.
    """
    part = _around(volume, box)
    low, high = part.bounds
    is_covered = (box[0] >= low - 1e-6).all() and (box[1] <= high + 1e-6).all()
    if is_covered and np.abs(part.space.direction).max(axis=0).min() > _ALIGNED:
        return _turned(part)
    extent = box[1] - box[0]
    step = max(float(volume.space.spacing.min()), float(np.prod(extent) / _MAX_VOXELS) ** (1 / 3))
    step = min(step, float(extent.min()))
    shape = tuple(max(1, round(float(extent[axis]) / step)) for axis in (2, 1, 0))
    return resample(part, Space.axial((step, step, step), box[0] + step / 2.0), shape)


def _turned(part: Volume) -> Volume:
    direction = part.space.direction
    world_axis = np.abs(direction).argmax(axis=0)
    flipped = [axis for axis in range(3) if direction[world_axis[axis], axis] < 0]
    order = tuple(int(np.flatnonzero(world_axis == axis)[0]) for axis in (2, 1, 0))
    spacing = part.space.spacing[list(order)]
    array: NDArray[np.generic] = np.flip(part.array, tuple(flipped)).transpose(order)
    return Volume(array, Space.axial(spacing, part.bounds[0] + spacing[::-1] / 2.0))


def _around(volume: Volume, box: FloatArray) -> Volume:
    # Only the voxels near the box are copied and smoothed.
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    index = volume.space.to_index(corners)
    shape = np.array(volume.shape)
    first = np.clip(np.floor(index.min(axis=0)) - 2, 0, shape - 1).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 3, first + 1, shape).astype(int)
    return volume.crop(tuple(int(i) for i in first), tuple(int(i) for i in last))  # type: ignore[arg-type]


def project(volume: Volume, frame: Frame) -> tuple[NDArray[np.generic], tuple[float, float, float, float]]:
    """Return the maximum of an axial volume along the frame's depth, rows as on the screen, and where the frame lies in it.

    The place is left, top, right, bottom in pixels of the projection.
    """
    view = frame.view
    picture = volume.array.max(axis=2 - view.depth)
    low, high = volume.bounds
    right, down = (float(volume.space.spacing[2 - axis]) for axis in (view.right, view.down))
    left = (frame.box[0, view.right] - low[view.right]) / right
    top = (high[view.down] - frame.box[1, view.down]) if view.flip_down else (frame.box[0, view.down] - low[view.down])
    width, height = ((frame.box[1] - frame.box[0])[axis] for axis in (view.right, view.down))
    edges = np.array([left, top / down, left + width / right, (top + height) / down])
    n_rows, n_columns = picture.shape
    inside = np.clip(edges, 0.0, [n_columns, n_rows, n_columns, n_rows])
    return picture[::-1] if view.flip_down else picture, tuple(float(edge) for edge in inside)  # type: ignore[return-value]
