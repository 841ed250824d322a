"""Arrays that know where they lie: Volume, PhaseSet and Heatmap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import InputError, RangeError, ShapeError, SpaceMismatchError
from vesselgraph.space import FloatArray, Rebuilt, Space

# World LPS: x grows to Left, y to Posterior, z to Superior.
_WAYS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True, eq=False)
class Volume(Rebuilt):
    """A read-only 3-D array with its place in the patient.

    Parameters
    ----------
    array : (planes, rows, columns)
        Bool, integer or floating; at least one voxel. A read-only view is kept, nothing is copied.
    space : Space
        World place of the voxels, mm, LPS.
    name : str
        What it shows, for reports and messages ("portal", "liver mask"); may be empty.

    Raises
    ------
    ShapeError
        The array is not 3-D, is empty, or is neither bool nor a real number type.

    Examples
    --------
    >>> ct = Volume(np.zeros((2, 3, 4), dtype=np.int16), Space.axial())
    >>> ct.shape, ct.extent.tolist()
    ((2, 3, 4), [2.0, 3.0, 4.0])
    """

    array: NDArray[Any]
    space: Space
    name: str = ""

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3:
            raise ShapeError("a 3-D volume", f"{array.ndim} axes, shape {array.shape}", "pass one 3-D channel or phase")
        if array.size == 0:
            raise ShapeError("at least one voxel", f"shape {array.shape}", "check the crop or the file")
        if array.dtype.kind not in "biuf":
            raise ShapeError("bool, integer or floating voxels", f"dtype {array.dtype}", "convert the array first")
        view = array.view()
        view.setflags(write=False)
        object.__setattr__(self, "array", view)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of planes, rows and columns."""
        return self.array.shape

    @property
    def extent(self) -> FloatArray:
        """Size of the box in mm, (3,) in array order."""
        return np.asarray(self.shape, dtype=np.float64) * self.space.spacing

    @property
    def bounds(self) -> FloatArray:
        """World box of the voxel corners, (2, 3) mm: lowest and highest x, y, z."""
        ends = np.array([[-0.5, n - 0.5] for n in self.shape])
        corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
        world = self.space.to_world(corners)
        return np.stack([world.min(axis=0), world.max(axis=0)])

    def with_array(self, array: NDArray[Any], name: str | None = None) -> Volume:
        """Return a volume with other values of the same shape on the same grid.

        Raises
        ------
        ShapeError
            The shape differs.
        """
        if np.shape(array) != self.shape:
            raise ShapeError(f"an array of shape {self.shape}", f"shape {np.shape(array)}", "resample it first")
        return Volume(array, self.space, self.name if name is None else name)

    def crop(self, first: tuple[int, int, int], last: tuple[int, int, int]) -> Volume:
        """Return the box of voxels from ``first`` up to but without ``last``, (plane, row, column), as a view.

        Raises
        ------
        RangeError
            The box is empty or leaves the volume.
        """
        if any(not 0 <= a < b <= n for a, b, n in zip(first, last, self.shape, strict=True)):
            raise RangeError(f"a box inside {self.shape}", f"{tuple(first)} to {tuple(last)}", "clip the box first")
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        return Volume(self.array[box], self.space.shifted(first), self.name)

    def is_on_grid_of(self, other: Volume) -> bool:
        """Return whether both volumes have the same shape and the same space."""
        return self.shape == other.shape and self.space.is_close(other.space)


def oriented(volume: Volume, code: str) -> Volume:
    """Return a view of a volume whose axes grow, as nearly as they can without resampling, to where ``code`` says.

    Parameters
    ----------
    volume : Volume
    code : str
        Three of L/R, P/A and S/I, one each, for planes, rows and columns.

    Raises
    ------
    InputError
        The code is none.

    Examples
    --------
    >>> ct = Volume(np.arange(24).reshape(2, 3, 4), Space.axial())
    >>> turned = oriented(ct, "SRA")
    >>> turned.shape, int(turned.array[0, 0, 0])
    ((2, 4, 3), 11)
    """
    ways = [_WAYS.get(letter, (-1, 0)) for letter in code]
    if sorted(axis for axis, _ in ways) != [0, 1, 2]:
        raise InputError("three letters, one each of L/R, P/A and S/I", repr(code), "write for example SPL")
    direction = volume.space.direction
    # The assignment of array axes to the three wanted directions that agrees best.
    order = max(permutations(range(3)), key=lambda p: sum(abs(direction[w, a]) for (w, _), a in zip(ways, p, strict=True)))
    signs = [np.sign(direction[world, axis]) * way for (world, way), axis in zip(ways, order, strict=True)]
    array = volume.array.transpose(order)
    first = np.zeros(3)
    for new, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        if sign < 0:
            array = np.flip(array, new)
            first[axis] = volume.shape[axis] - 1
    space = Space(
        volume.space.spacing[list(order)],
        volume.space.to_world(first),
        direction[:, list(order)] * np.where(np.asarray(signs) < 0, -1.0, 1.0),
    )
    return Volume(array, space, volume.name)


def require_same_grid(volume: Volume, reference: Volume, what: str) -> None:
    """Check that ``volume`` lies on the grid of ``reference``.

    Raises
    ------
    SpaceMismatchError
        Shape, spacing, origin or direction differ; the message states both.
    """
    if volume.is_on_grid_of(reference):
        return
    raise SpaceMismatchError(
        f"{what} on the grid of {reference.name or 'the image'} ({_describe(reference)})",
        _describe(volume),
        "resample it onto that grid with vesselgraph.resample_like",
    )


def _describe(volume: Volume) -> str:
    spacing = " x ".join(f"{s:.4g}" for s in volume.space.spacing)
    origin = ", ".join(f"{o:.2f}" for o in volume.space.origin)
    return f"shape {volume.shape}, spacing {spacing} mm, origin ({origin})"


@dataclass(frozen=True, eq=False)
class PhaseSet(Rebuilt, Mapping[str, Volume]):
    """Named contrast phases on one grid, in a stated order; the first is the reference.

    Parameters
    ----------
    phases : mapping of name to Volume
    quality : mapping of name to figures
        How well each phase fits the reference, before and after; see :func:`~vesselgraph.registration.register_phases`.
    warnings : tuple of str
        What a reader of the result should know, in plain words.

    Raises
    ------
    InputError
        No phase was given.
    SpaceMismatchError
        A phase lies on another grid than the first.
    """

    phases: Mapping[str, Volume]
    quality: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.phases:
            raise InputError("at least one phase", "none", "pass a mapping of phase name to volume")
        first = next(iter(self.phases.values()))
        for name, volume in self.phases.items():
            require_same_grid(volume, first, f"phase {name!r}")
        object.__setattr__(self, "phases", MappingProxyType(dict(self.phases)))
        frozen = {name: MappingProxyType(dict(values)) for name, values in self.quality.items()}
        object.__setattr__(self, "quality", MappingProxyType(frozen))

    @property
    def reference(self) -> Volume:
        """The phase that gave the grid."""
        return next(iter(self.phases.values()))

    def __getitem__(self, name: str) -> Volume:
        """Return the phase called ``name``."""
        return self.phases[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the phase names, the reference first."""
        return iter(self.phases)

    def __len__(self) -> int:
        """Return the number of phases."""
        return len(self.phases)


@dataclass(frozen=True, eq=False)
class Heatmap(Rebuilt):
    """How much each voxel looks like a vessel centerline, and how wide the vessel there seems.

    Parameters
    ----------
    heat : Volume
        float32 in [0, 1]; 1 on a certain centerline.
    radius : Volume or None
        float32 mm on the same grid, 0 where nothing was estimated; None if the source gives no calibre.
    source : str
        Where it came from: "ridge", "network", "file", "mask".
    identity : (3, planes, rows, columns) or None
        float16, probability of portal vein, hepatic vein and artery given that a vessel is there; from a network only.
    features : (channels, planes, rows, columns) or None
        float16, what the network saw there (its last decoder level); from a network only.
    weights : str
        SHA-256 of the weights of the network; empty for all other sources.

    Raises
    ------
    RangeError
        Heat holds NaN or leaves [0, 1].
    SpaceMismatchError
        The radius lies on another grid.
    ShapeError
        Identity or features have another grid shape than the heat.
    """

    heat: Volume
    radius: Volume | None = None
    source: str = "ridge"
    identity: NDArray[np.float16] | None = None
    features: NDArray[np.float16] | None = None
    weights: str = ""

    def __post_init__(self) -> None:
        low, high = float(self.heat.array.min()), float(self.heat.array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise RangeError(
                "a heatmap within [0, 1] without NaN",
                f"values from {low:.4g} to {high:.4g}",
                "scale probabilities to [0, 1]; pass masks as 0 and 1",
            )
        if self.radius is not None:
            require_same_grid(self.radius, self.heat, "the radius map")
        for name in ("identity", "features"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.shape[1:] != self.heat.shape:
                raise ShapeError(f"{name} of shape (channels, *{self.heat.shape})", f"{values.shape}", "resample them alike")
            view = values.view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    @property
    def is_mask(self) -> bool:
        """Whether the heat holds only 0 and 1, so that it is a segmentation and not a probability."""
        # By planes: ends at the first plane with other values, and makes nothing of the volume's size.
        return all(bool(((plane == 0) | (plane == 1)).all()) for plane in self.heat.array)
