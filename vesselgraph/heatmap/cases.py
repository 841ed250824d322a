"""Cases to learn from: phases on one isotropic grid, centerlines with radii and trees, and where they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.errors import InputError
from vesselgraph.heatmap.boxes import box_around
from vesselgraph.heatmap.targets import Segments, clarity_of
from vesselgraph.io.atomic import atomic_path
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

CASE_LAYOUT = 2
"""Version of the file of a case; part of its name, so that older files are not read."""

_CONTEXT = 20.0
"""Tissue kept around the organ, mm."""


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One patient, ready for cutting patches.

    Parameters
    ----------
    name : str
    phases : mapping of phase name to (planes, rows, columns) int16 HU
        On one isotropic grid.
    space : Space
        That grid.
    counts : (planes, rows, columns) bool
        Where the truth is complete: the organ with a rim.
    segments : Segments
        Centerlines in voxels of the grid, radii in mm.
    named : bool
        Whether the trees are known.
    visibility : mapping of phase name to (n_segments,) float32
        Contrast to noise of each piece in that phase; a phase that is left out shows all of them.
    places : mapping of phase name to (2, n_segments, 3)
        Starts and ends of the pieces, voxels, where that phase shows them, for phases of another breath than ``segments``.
    """

    name: str
    phases: Mapping[str, NDArray[np.int16]]
    space: Space
    counts: NDArray[np.bool_]
    segments: Segments
    named: bool
    visibility: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    places: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the grid."""
        return self.counts.shape

    def segments_seen(self, phases: Iterable[str], config: TrainHeatmapConfig) -> Segments:
        """Return the pieces with the clarity at which the best of some phases shows them.

        They lie where the reference phase shows them if it is among ``phases``, else where the first of ``phases`` does.
        """
        shown = list(phases)
        moved = self.places[shown[0]] if shown and all(phase in self.places for phase in shown) else None
        pieces = self.segments if moved is None else replace(self.segments, start=moved[0], end=moved[1])
        known = [self.visibility.get(phase) for phase in shown]
        if any(column is None for column in known):
            return pieces
        best = np.max([np.abs(column) for column in known if column is not None], axis=0)
        radius = 0.5 * (pieces.start_radius + pieces.end_radius)
        return replace(pieces, clarity=clarity_of(radius, best, config.clear_radius, config.clear_visibility))


def make_case(
    name: str,
    phases: Mapping[str, Volume],
    organ: Volume,
    segments: Segments,
    *,
    step: float,
    rim: float,
    visibility: Mapping[str, NDArray[np.float32]] | None = None,
    places: Mapping[str, FloatArray] | None = None,
) -> TrainingCase:
    """Return a training case of images on one grid, its trees known.

    The images are brought onto the isotropic grid in the way prediction does it, and cropped to the organ with its rim and
    20 mm around it.

    Parameters
    ----------
    name : str
        For messages.
    phases : mapping of phase name to Volume
        HU, all on one grid.
    organ : Volume
        bool on the same grid: where the truth is complete.
    segments : Segments
        Centerlines in world mm.
    step, rim : mm
        Of the isotropic grid, and around the organ.
    visibility : mapping of phase name to (n_segments,) float32, optional
        Contrast to noise of each segment; everything counts as visible if left out.
    places : mapping of phase name to (2, n_segments, 3), optional
        Starts and ends of the segments, world mm, in phases that show them elsewhere.

    Raises
    ------
    InputError
        The organ is empty.
    """
    if not organ.array.any():
        raise InputError(f"an organ mask that is not empty for {name}", "no voxel", "check the mask")
    first, last = box_around(organ, rim + _CONTEXT)
    around = organ.crop(first, last)
    space, shape = isotropic_grid(around, step)
    inside = resample(around.with_array(around.array != 0), space, shape, interpolation="nearest", fill=0.0).array
    counts = ndimage.distance_transform_edt(inside == 0) * step <= rim
    images = {
        phase: np.rint(resample(volume.crop(first, last), space, shape).array).astype(np.int16)
        for phase, volume in phases.items()
    }
    moved = Segments(
        space.to_index(segments.start),
        space.to_index(segments.end),
        segments.start_radius,
        segments.end_radius,
        segments.tree,
        segments.clarity,
    )
    near = _are_near(moved, shape)
    seen = {phase: values[near].astype(np.float32) for phase, values in (visibility or {}).items()}
    elsewhere = {phase: np.stack([space.to_index(end[near]) for end in ends]) for phase, ends in (places or {}).items()}
    return TrainingCase(
        name, images, space, np.asarray(counts), moved.taken(near), named=True, visibility=seen, places=elsewhere
    )


def _are_near(segments: Segments, shape: tuple[int, int, int], margin: float = 10.0) -> NDArray[np.bool_]:
    """Return which pieces lie within ``margin`` voxels of the grid."""
    middle = 0.5 * (segments.start + segments.end)
    return np.asarray(((middle >= -margin) & (middle <= np.array(shape) + margin)).all(axis=1))


def save_case(case: TrainingCase, path: Path) -> None:
    """Write a case as one file, all or nothing."""
    pieces = case.segments
    arrays: dict[str, Any] = {f"phase {name}": array for name, array in case.phases.items()}
    arrays |= {f"visibility {name}": values for name, values in case.visibility.items()}
    arrays |= {f"places {name}": ends for name, ends in case.places.items()}
    arrays |= {
        "counts": np.packbits(case.counts),
        "shape": np.array(case.shape),
        "ends": np.stack([pieces.start, pieces.end]),
        "radii": np.stack([pieces.start_radius, pieces.end_radius]),
        "tree": pieces.tree,
        "grid": np.concatenate([case.space.spacing, case.space.origin, case.space.direction.ravel()]),
        "named": np.array(case.named),
        "name": np.array(case.name),
    }
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def load_case(path: Path) -> TrainingCase:
    """Return a case that :func:`save_case` wrote."""
    with np.load(path) as file:
        shape = tuple(file["shape"].tolist())
        ends, radii = file["ends"], file["radii"]
        grid = file["grid"]
        return TrainingCase(
            str(file["name"]),
            _named(file, "phase "),
            Space(grid[:3], grid[3:6], grid[6:].reshape(3, 3)),
            np.unpackbits(file["counts"], count=int(np.prod(shape))).reshape(shape).astype(np.bool_),
            Segments(ends[0], ends[1], radii[0], radii[1], file["tree"], np.ones(len(file["tree"]), np.float32)),
            bool(file["named"]),
            _named(file, "visibility "),
            _named(file, "places "),
        )


def _named(file: Any, prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}
