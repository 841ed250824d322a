"""Average path length similarity: do the ways through the predicted graph have the lengths they truly have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesselgraph.errors import RangeError
from vesselgraph.graph import VesselGraph
from vesselgraph.metrics.matching import plain_value
from vesselgraph.metrics.routes import control_places, positions, route_lengths, snap
from vesselgraph.metrics.sampling import clip_graph
from vesselgraph.volume import Volume


@dataclass(frozen=True)
class Apls:
    """Average path length similarity, 0 to 1.

    Parameters
    ----------
    precision : float
        One minus the mean relative error of the ways through the prediction, looked up in the truth. Falls with false
        branches and false joins (two trees that touch).
    recall : float
        The same for the ways through the truth, looked up in the prediction. Falls with gaps and missing branches.
    n_predicted, n_truth : int
        How many ways were compared in each.
    """

    precision: float
    recall: float
    n_predicted: int
    n_truth: int

    @property
    def score(self) -> float:
        """Harmonic mean of both directions: the APLS; NaN if one of them is."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON; undefined is None."""
        figures = {"score": self.score, "precision": self.precision, "recall": self.recall}
        plain = {name: plain_value(value) for name, value in figures.items()}
        return {**plain, "n_predicted": self.n_predicted, "n_truth": self.n_truth}


def apls(
    predicted: VesselGraph,
    truth: VesselGraph,
    *,
    step: float = 10.0,
    tolerance: float = 3.0,
    n_points: int = 500,
    seed: int = 0,
    region: Volume | None = None,
) -> Apls:
    """Return the average path length similarity of two graphs.

    Control points are the tips and branch points of a graph and points every ``step`` mm between them. Each is moved to the
    nearest place on a branch of the other graph. For every two control points that a way joins, the relative error of its
    length in the other graph is ``min(1, |L' - L| / L)``; it is 1 if one of the points has no counterpart within the
    tolerance or no way joins the counterparts. One minus the mean error is the similarity in one direction, the harmonic
    mean of both directions the score. Ways through the truth find gaps, ways through the prediction false joins: a way that
    exists in one graph only is always an error of 1 in one of the directions.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm. Without branches in either the score is 1, without branches in one it is 0.
    step : mm
        Distance of control points along the branches, > 0.
    tolerance : mm
        Largest distance a control point is moved.
    n_points : int
        If a graph has more control points, so many are taken (>= 2), evenly along its branches: all ways between them are
        compared.
    seed : int
        Seed of where the even draw starts.
    region : Volume, optional
        Bool mask; branches of both graphs are cut where they leave it.

    Raises
    ------
    RangeError
        A distance is not positive, or ``n_points`` is below 2.

    References
    ----------
    Van Etten, Lindenbaum and Bacastow, SpaceNet: a remote sensing dataset and challenge series, 2018 (arXiv 1807.01232),
    section 4.2.

    Examples
    --------
    Two of the three pairs of control points (0, 10 and 20 mm) have lost their way; what is there is right.

    >>> truth = VesselGraph.from_paths([[[0, 0, 0], [20, 0, 0]]])
    >>> half = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    >>> result = apls(half, truth)
    >>> result.precision, round(result.recall, 3), round(result.score, 3)
    (1.0, 0.333, 0.5)
    """
    if not all(np.isfinite(value) and value > 0 for value in (step, tolerance)) or n_points < 2:
        raise RangeError(
            "step and tolerance > 0 mm and n_points >= 2",
            f"step {step}, tolerance {tolerance}, n_points {n_points}",
            "pass values like 10, 3 and 500",
        )
    if region is not None:
        predicted, truth = clip_graph(predicted, region), clip_graph(truth, region)
    if not predicted.n_edges or not truth.n_edges:
        same = float(predicted.n_edges == truth.n_edges)
        return Apls(same, same, 0, 0)
    recall, n_truth = _similarity(truth, predicted, step, tolerance, n_points, seed)
    precision, n_predicted = _similarity(predicted, truth, step, tolerance, n_points, seed)
    return Apls(precision, recall, n_predicted, n_truth)


def _similarity(
    graph: VesselGraph, other: VesselGraph, step: float, tolerance: float, n_points: int, seed: int
) -> tuple[float, int]:
    """Return one minus the mean error of the ways through a graph, looked up in the other, and their number."""
    places = control_places(graph, step)
    if len(places) > n_points:
        # At equal distances along the branches laid end to end: a third of the spread of independent draws.
        along = np.lexsort((places.arc, places.edge))
        start = np.random.default_rng(seed).random()
        places = places.subset(along[((np.arange(n_points) + start) * len(places) / n_points).astype(np.int64)])
    upper = np.triu_indices(len(places), 1)
    here = route_lengths(graph, places)[upper]
    there = route_lengths(other, snap(other, positions(graph, places), tolerance))[upper]
    has_way = np.isfinite(here) & (here > 0)
    here, there = here[has_way], there[has_way]
    if not len(here):
        return np.nan, 0
    return float(1.0 - np.minimum(1.0, np.abs(there - here) / here).mean()), len(here)
