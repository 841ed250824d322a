"""What the comparison of two graphs returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesselgraph.metrics.identity import IdentityScore
from vesselgraph.metrics.matching import Score, plain_value
from vesselgraph.metrics.path_similarity import Apls
from vesselgraph.space import FloatArray

BRANCH_COVERAGE = 0.8
"""Share of a branch that one branch of the other graph has to cover (Trexplorer Super)."""

RADIUS_FACTORS = (0.25, 0.5, 0.75)
"""Shares of the true radius that serve as tolerances (RefTr)."""

RADIUS_FLOOR = 1.0
"""The smallest of these tolerances, mm, also where the radius is unknown (RefTr: 1.5 voxels)."""


@dataclass(frozen=True)
class RadiusError:
    """Predicted minus true radius at matched points, mm.

    Parameters
    ----------
    n : int
        Number of matched points with both radii known.
    mae, bias : float, mm
        Mean absolute and mean signed difference; NaN for n = 0.
    """

    n: int
    mae: float
    bias: float

    @classmethod
    def of(cls, difference: FloatArray) -> RadiusError:
        """Return the summary of differences, (n,) mm; NaN entries (unknown radii) are left out."""
        known = difference[np.isfinite(difference)]
        if not len(known):
            return cls(0, np.nan, np.nan)
        return cls(len(known), float(np.abs(known).mean()), float(known.mean()))

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON; undefined is None."""
        return {"n": self.n, "mae": plain_value(self.mae), "bias": plain_value(self.bias)}


@dataclass(frozen=True)
class GraphScores:
    """How well a predicted graph agrees with the true one; see ``docs/metrics.md`` for drawings.

    Parameters
    ----------
    centerline : mapping of tolerance (mm) to Score
        Equal-step points of both graphs under one-to-one matching.
    nearest : mapping of tolerance (mm) to Score
        The plain nearest-distance variant, blind to duplicates.
    adaptive : mapping of radius factor to Score
        One-to-one matching with a tolerance of the factor times the true radius at each true point, 1 mm at least.
    recall_by_calibre : mapping of tolerance (mm) to mapping of calibre to recall
        One-to-one recall of true points by their true radius; NaN where no true point has that calibre.
    branch : Score
        A branch is right (found) if one branch of the other graph covers more than 80 % of it within the branch tolerance.
    bifurcation, tip : Score
        Nodes of degree >= 3, and of degree 1, under one-to-one matching. Close nodes are not merged first.
    radius : RadiusError
        At points matched within the smallest tolerance, nearest first.
    radius_by_calibre : mapping of calibre to RadiusError
        The same, by true radius.
    mean_distance : float, mm
        Mean distance of those points; NaN if none.
    length_predicted, length_truth : float, mm
        Length of vessel within the region.
    cldice : float
        Centerline-Dice with each graph's own round tubes as its mask; NaN if radii are unknown.
    apls : Apls
        Average path length similarity.
    identity : IdentityScore or None
        Trees of the branches; None if one of the graphs has neither a column ``tree`` nor ``tree_id``.
    betti_predicted, betti_truth : (int, int)
        Connected components and independent loops of the whole graphs; the region plays no part.
    step, branch_tolerance, bifurcation_tolerance : float, mm
        The settings.
    """

    centerline: Mapping[float, Score]
    nearest: Mapping[float, Score]
    adaptive: Mapping[float, Score]
    recall_by_calibre: Mapping[float, Mapping[str, float]]
    branch: Score
    bifurcation: Score
    tip: Score
    radius: RadiusError
    radius_by_calibre: Mapping[str, RadiusError]
    mean_distance: float
    length_predicted: float
    length_truth: float
    cldice: float
    apls: Apls
    identity: IdentityScore | None
    betti_predicted: tuple[int, int]
    betti_truth: tuple[int, int]
    step: float
    branch_tolerance: float
    bifurcation_tolerance: float

    @property
    def length_ratio(self) -> float:
        """Predicted over true length; 1 if both are 0, infinite if only the truth is."""
        if self.length_truth:
            return self.length_predicted / self.length_truth
        return 1.0 if not self.length_predicted else np.inf

    @property
    def betti_error(self) -> tuple[int, int]:
        """Absolute differences of the Betti numbers: components, loops."""
        pairs = zip(self.betti_predicted, self.betti_truth, strict=True)
        return tuple(abs(a - b) for a, b in pairs)  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values for JSON; tolerances become text keys like "2", undefined values None."""
        return {
            "centerline": {_key(t): score.to_dict() for t, score in self.centerline.items()},
            "nearest": {_key(t): score.to_dict() for t, score in self.nearest.items()},
            "adaptive": {_key(f): score.to_dict() for f, score in self.adaptive.items()},
            "recall_by_calibre": {
                _key(t): {name: plain_value(value) for name, value in row.items()} for t, row in self.recall_by_calibre.items()
            },
            "branch": self.branch.to_dict(),
            "bifurcation": self.bifurcation.to_dict(),
            "tip": self.tip.to_dict(),
            "radius": self.radius.to_dict(),
            "radius_by_calibre": {name: error.to_dict() for name, error in self.radius_by_calibre.items()},
            "mean_distance": plain_value(self.mean_distance),
            "length": {
                "predicted": self.length_predicted,
                "truth": self.length_truth,
                "ratio": plain_value(self.length_ratio),
            },
            "cldice": plain_value(self.cldice),
            "apls": self.apls.to_dict(),
            "identity": None if self.identity is None else self.identity.to_dict(),
            "betti": {
                "predicted": list(self.betti_predicted),
                "truth": list(self.betti_truth),
                "error": list(self.betti_error),
            },
            "settings": {
                "step": self.step,
                "branch_tolerance": self.branch_tolerance,
                "bifurcation_tolerance": self.bifurcation_tolerance,
                "branch_coverage": BRANCH_COVERAGE,
                "radius_floor": RADIUS_FLOOR,
            },
        }


def _key(number: float) -> str:
    return f"{number:g}"
