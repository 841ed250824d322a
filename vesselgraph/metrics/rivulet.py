"""The precision and recall that Rivulet's authors used, to compare with their figures and with nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.metrics.sampling import is_inside
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume


@dataclass(frozen=True)
class RivuletScore:
    """Counts and shares of the Rivulet-compatible metric.

    Parameters
    ----------
    n_predicted : int
        Predicted nodes (points of the traced tree).
    n_near : int
        Predicted nodes nearer to a true node than the tolerance; they stand for the true positives on **both** sides.
    n_missed : int
        True nodes farther from every predicted node than the tolerance.
    """

    n_predicted: int
    n_near: int
    n_missed: int

    @property
    def precision(self) -> float:
        """Share of near predicted nodes; 1 if there are neither predicted nor missed nodes."""
        return self._share(self.n_predicted)

    @property
    def recall(self) -> float:
        """Near **predicted** nodes over these plus the missed true ones: rises with the density of the prediction."""
        return self._share(self.n_near + self.n_missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0

    def _share(self, whole: int) -> float:
        if whole:
            return self.n_near / whole
        return 0.0 if self.n_predicted or self.n_missed else 1.0

    def to_dict(self) -> dict[str, float | int]:
        """Return plain values for JSON."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "n_predicted": self.n_predicted,
            "n_near": self.n_near,
            "n_missed": self.n_missed,
        }


def rivulet_score(
    predicted: VesselGraph, truth: VesselGraph, *, tolerance: float = 4.0, region: Volume | None = None
) -> RivuletScore:
    """Return precision and recall as rivuletpy counts them: path points as they are, nearest distances, tolerance 4.

    Points are not resampled to equal steps, one true point may serve any number of predicted ones, and recall counts
    *predicted* points as found. So it is not symmetric, and a dense prediction raises its own recall. Nodes at exactly the
    tolerance are neither near nor missed.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm. Branches that meet in a node share that point, as in an SWC file.
    tolerance : mm
        4 there, in voxels of the traced image.
    region : Volume, optional
        Bool mask; points of both graphs outside are left out.

    Raises
    ------
    RangeError
        The tolerance is not positive.

    References
    ----------
    ``precision_recall`` of rivuletpy; Liu et al., IEEE Trans. Med. Imaging 37(11), 2018.

    Examples
    --------
    A point more, and recall rises although nothing more was found.

    >>> truth = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]]])
    >>> coarse = VesselGraph.from_paths([[[0, 0, 0], [0, 1, 0]]])
    >>> dense = VesselGraph.from_paths([[[0, 0, 0], [0, 0.5, 0], [0, 1, 0]]])
    >>> [round(rivulet_score(graph, truth).recall, 3) for graph in (coarse, dense)]
    [0.667, 0.75]
    """
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise RangeError("a tolerance > 0 mm", f"{tolerance}", "pass a distance like 4")
    ours, theirs = _points(predicted, region), _points(truth, region)
    n_near = int((_nearest(ours, theirs) < tolerance).sum())
    return RivuletScore(len(ours), n_near, int((_nearest(theirs, ours) > tolerance).sum()))


def _points(graph: VesselGraph, region: Volume | None) -> FloatArray:
    """Return nodes and the path points between them, (P, 3) mm."""
    is_inner = np.ones(graph.n_points, dtype=bool)
    is_inner[graph.path_offset[:-1]] = False
    is_inner[graph.path_offset[1:] - 1] = False
    points = np.concatenate([graph.node_position, graph.path_position[is_inner]])
    return points if region is None else points[is_inside(region, points)]


def _nearest(points: FloatArray, others: FloatArray) -> FloatArray:
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0])
