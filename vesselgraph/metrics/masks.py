"""A predicted mask against the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure, morphology

from vesselgraph.errors import InputError
from vesselgraph.metrics.matching import Score
from vesselgraph.volume import Volume, require_same_grid


@dataclass(frozen=True)
class MaskScores:
    """How well a predicted mask agrees with the true one.

    Parameters
    ----------
    dice : float
        2 |P and T| / (|P| + |T|); 1 if both are empty.
    cldice : Score
        Centerline-Dice: its precision, recall and F1 are topology precision, topology sensitivity and clDice.
    betti_predicted, betti_truth : (int, int, int)
        Components, loops, cavities.
    volume_predicted, volume_truth : float, mm^3
        Volume of the True voxels.
    """

    dice: float
    cldice: Score
    betti_predicted: tuple[int, int, int]
    betti_truth: tuple[int, int, int]
    volume_predicted: float
    volume_truth: float

    @property
    def betti_error(self) -> tuple[int, int, int]:
        """Absolute differences of the Betti numbers: components, loops, cavities."""
        pairs = zip(self.betti_predicted, self.betti_truth, strict=True)
        return tuple(abs(a - b) for a, b in pairs)  # type: ignore[return-value]

    def to_dict(self) -> dict[str, object]:
        """Return nested plain values for JSON."""
        return {
            "dice": self.dice,
            "cldice": self.cldice.to_dict(),
            "betti": {
                "predicted": list(self.betti_predicted),
                "truth": list(self.betti_truth),
                "error": list(self.betti_error),
            },
            "volume": {"predicted": self.volume_predicted, "truth": self.volume_truth},
        }


def mask_scores(predicted: Volume, truth: Volume) -> MaskScores:
    """Return Dice, clDice and Betti numbers of two masks on one grid.

    Parameters
    ----------
    predicted, truth : Volume
        Bool, or 0 and anything else. Either may be empty.

    Raises
    ------
    SpaceMismatchError
        The masks lie on different grids.
    InputError
        A mask holds NaN.

    References
    ----------
    clDice: Shit et al., CVPR 2021 (arXiv 2003.07311), section 3, with Lee's thinning as the skeleton.

    Examples
    --------
    >>> from vesselgraph import Space
    >>> array = np.zeros((3, 3, 9), dtype=bool)
    >>> array[1, 1, 1:8] = True
    >>> line = Volume(array, Space.axial())
    >>> scores = mask_scores(line, line)
    >>> scores.dice, scores.cldice.f1, scores.betti_truth
    (1.0, 1.0, (1, 0, 0))
    """
    ours, theirs = _cropped(predicted, truth)
    total = int(ours.sum()) + int(theirs.sum())
    return MaskScores(
        dice=2.0 * int((ours & theirs).sum()) / total if total else 1.0,
        cldice=_cldice(ours, theirs),
        betti_predicted=betti_of_mask(ours),
        betti_truth=betti_of_mask(theirs),
        volume_predicted=float(ours.sum() * predicted.space.voxel_volume),
        volume_truth=float(theirs.sum() * truth.space.voxel_volume),
    )


def mask_cldice(predicted: Volume, truth: Volume) -> float:
    """Return the clDice of two masks on one grid, in [0, 1]: 1 if both are empty, 0 if one is; see :func:`mask_scores`."""
    return _cldice(*_cropped(predicted, truth)).f1


def betti_of_mask(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return the number of components (26 neighbours), independent loops and cavities (6 neighbours) of a 3-D mask.

    Notes
    -----
    From the Euler number: b1 = b0 + b2 - chi.

    Examples
    --------
    >>> ring = np.zeros((1, 3, 3), dtype=bool)
    >>> ring[0] = [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    >>> betti_of_mask(ring)
    (1, 1, 0)
    """
    padded = np.pad(np.asarray(mask, dtype=bool), 1)
    components = int(ndimage.label(padded, np.ones((3, 3, 3)))[1])
    cavities = int(ndimage.label(~padded)[1]) - 1
    return components, components + cavities - int(measure.euler_number(padded, connectivity=3)), cavities


def _cropped(predicted: Volume, truth: Volume) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return both masks as bool arrays, cut to the box that holds them."""
    require_same_grid(predicted, truth, "the predicted mask")
    for volume in (predicted, truth):
        if volume.array.dtype.kind == "f" and np.isnan(volume.array).any():
            raise InputError("a mask", "NaN voxels", "pass a bool array")
    ours, theirs = predicted.array != 0, truth.array != 0
    boxes = ndimage.find_objects((ours | theirs).astype(np.uint8))
    return (ours[boxes[0]], theirs[boxes[0]]) if boxes else (ours[:1, :1, :1], theirs[:1, :1, :1])


def _cldice(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Score:
    thin_ours, thin_theirs = (morphology.skeletonize(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] != 0 for mask in (ours, theirs))
    return Score(
        n_predicted=int(thin_ours.sum()),
        n_truth=int(thin_theirs.sum()),
        n_right=int((thin_ours & theirs).sum()),
        n_found=int((thin_theirs & ours).sum()),
    )
