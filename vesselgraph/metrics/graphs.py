"""A predicted graph against the true one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from vesselgraph.errors import RangeError
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.metrics.graph_scores import BRANCH_COVERAGE, RADIUS_FACTORS, RADIUS_FLOOR, GraphScores, RadiusError
from vesselgraph.metrics.identity import IdentityScore, score_identity, tree_labels
from vesselgraph.metrics.matching import (
    Pairs,
    Score,
    match_nearest_first,
    match_one_to_one,
    pairs_within,
    pairs_within_each,
    score_nearest,
    score_one_to_one,
)
from vesselgraph.metrics.path_similarity import apls
from vesselgraph.metrics.sampling import Samples, is_inside, sample_graph
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume


def compare_graphs(
    predicted: VesselGraph,
    truth: VesselGraph,
    *,
    tolerances: Sequence[float] = (1.0, 2.0, 4.0),
    step: float = 0.5,
    branch_tolerance: float = 2.0,
    bifurcation_tolerance: float = 3.0,
    calibres: Sequence[float] = (1.5, 3.0),
    region: Volume | None = None,
) -> GraphScores:
    """Return how well a predicted graph agrees with the true one.

    Both graphs are cut into pieces of ``step`` mm; the points in the middle of the pieces are compared.

    Parameters
    ----------
    predicted, truth : VesselGraph
        World LPS mm. Either may be empty: then precision, recall and F1 are 0, or 1 if both are.
    tolerances : sequence of mm
        Largest distances at which a point counts as right, each > 0.
    step : mm
        Distance of the compared points along each branch.
    branch_tolerance : mm
        Largest distance at which a point of a branch counts as covered by another branch.
    bifurcation_tolerance : mm
        Largest distance of matched bifurcations and tips.
    calibres : sequence of mm
        Rising radii between which results are also given apart.
    region : Volume, optional
        Bool mask; points, bifurcations and tips of both graphs outside of it are left out.

    Raises
    ------
    RangeError
        A tolerance or the step is not positive, or calibres do not rise.

    References
    ----------
    Branch rule: Naeem et al., Trexplorer Super, MICCAI 2025 (arXiv 2507.10881). clDice: Shit et al., CVPR 2021 (arXiv
    2003.07311), here on tubes around the graphs. Betti numbers: b0 components, b1 = E - N + b0. Tolerance by radius: RefTr,
    2025 (arXiv 2511.20823), with a floor in mm instead of 1.5 voxels. APLS: see :func:`apls`.

    Examples
    --------
    >>> truth = VesselGraph.from_paths([[[0, 0, 0], [10, 0, 0]]])
    >>> half = VesselGraph.from_paths([[[0, 0, 0], [5, 0, 0]]])
    >>> score = compare_graphs(half, truth).centerline[1.0]
    >>> score.precision, score.recall
    (1.0, 0.5)
    """
    _check_settings(tolerances, calibres, branch_tolerance, bifurcation_tolerance)
    ours, theirs = sample_graph(predicted, step), sample_graph(truth, step)
    if region is not None:
        ours = ours.subset(is_inside(region, ours.position))
        theirs = theirs.subset(is_inside(region, theirs.position))
    names, calibre = _calibres(theirs.radius, calibres)
    pairs = pairs_within(ours.position, theirs.position, max(*tolerances, branch_tolerance))
    matches = {float(t): match_one_to_one(pairs.within(t)) for t in sorted(tolerances)}
    difference, compared, distance = _differences(ours, theirs, pairs.within(min(tolerances)), calibre)
    return GraphScores(
        centerline={t: _matched_score(partner, len(theirs)) for t, partner in matches.items()},
        nearest={t: score_nearest(pairs.within(t)) for t in matches},
        adaptive=_score_adaptive(ours, theirs),
        recall_by_calibre={t: _recall_by_calibre(partner, calibre, names) for t, partner in matches.items()},
        branch=_score_branches(ours, theirs, pairs.within(branch_tolerance)),
        bifurcation=score_one_to_one(
            pairs_within(_bifurcations(predicted, region), _bifurcations(truth, region), bifurcation_tolerance)
        ),
        tip=score_one_to_one(pairs_within(_tips(predicted, region), _tips(truth, region), bifurcation_tolerance)),
        radius=RadiusError.of(difference),
        radius_by_calibre={name: RadiusError.of(difference[compared == i]) for i, name in enumerate(names)},
        mean_distance=float(distance.mean()) if len(distance) else np.nan,
        length_predicted=float(ours.weight.sum()),
        length_truth=float(theirs.weight.sum()),
        cldice=_tube_cldice(ours, theirs),
        apls=apls(predicted, truth, region=region),
        identity=_identity(predicted, truth, ours, theirs, pairs.within(branch_tolerance)),
        betti_predicted=betti_of_graph(predicted),
        betti_truth=betti_of_graph(truth),
        step=float(step),
        branch_tolerance=float(branch_tolerance),
        bifurcation_tolerance=float(bifurcation_tolerance),
    )


def betti_of_graph(graph: VesselGraph) -> tuple[int, int]:
    """Return the number of connected components (isolated nodes count) and of independent loops of a graph."""
    if not graph.n_nodes:
        return 0, 0
    start, end = graph.edge_nodes.T
    link = sparse.coo_matrix((np.ones(graph.n_edges), (start, end)), shape=(graph.n_nodes,) * 2)
    components = int(csgraph.connected_components(link, directed=False)[0])
    return components, graph.n_edges - graph.n_nodes + components


def _check_settings(tolerances: Sequence[float], calibres: Sequence[float], *others: float) -> None:
    distances = [*tolerances, *others]
    if not len(tolerances) or not all(np.isfinite(t) and t > 0 for t in distances):
        raise RangeError("tolerances > 0 mm", f"{list(distances)}", "pass distances like (1, 2, 4)")
    if any(b <= a for a, b in pairwise(calibres)):
        raise RangeError("rising calibres", f"{list(calibres)}", "pass radii like (1.5, 3.0)")


def _calibres(radius: FloatArray, limits: Sequence[float]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the radius classes and the class of each radius, (S,); -1 where unknown."""
    texts = [f"{limit:g}" for limit in limits]
    between = [f"{low}-{high}" for low, high in pairwise(texts)]
    names = [f"<{texts[0]}", *between, f">={texts[-1]}"] if texts else ["all"]
    classes = np.searchsorted(np.asarray(limits, dtype=np.float64), radius, side="right")
    return names, np.where(np.isnan(radius), -1, classes)


def _matched_score(partner: NDArray[np.int64], n_truth: int) -> Score:
    n_matched = int((partner >= 0).sum())
    return Score(len(partner), n_truth, n_matched, n_matched)


def _differences(
    ours: Samples, theirs: Samples, pairs: Pairs, calibre: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Return radius difference, calibre class and distance of the points that are matched nearest first, (K,) each."""
    partner = match_nearest_first(pairs)
    right = np.flatnonzero(partner >= 0)
    found = partner[right]
    distance = np.linalg.norm(ours.position[right] - theirs.position[found], axis=1)
    return ours.radius[right] - theirs.radius[found], calibre[found], distance


def _recall_by_calibre(partner: NDArray[np.int64], calibre: NDArray[np.int64], names: list[str]) -> dict[str, float]:
    is_found = np.zeros(len(calibre), dtype=bool)
    is_found[partner[partner >= 0]] = True
    groups = {name: is_found[calibre == i] for i, name in enumerate(names)}
    return {name: float(group.mean()) if len(group) else np.nan for name, group in groups.items()}


def _bifurcations(graph: VesselGraph, region: Volume | None) -> FloatArray:
    return _nodes(graph, graph.degree >= 3, region)


def _tips(graph: VesselGraph, region: Volume | None) -> FloatArray:
    return _nodes(graph, graph.degree == 1, region)


def _nodes(graph: VesselGraph, wanted: NDArray[np.bool_], region: Volume | None) -> FloatArray:
    if region is not None:
        wanted = wanted & is_inside(region, graph.node_position)
    return graph.node_position[wanted]


def _score_adaptive(ours: Samples, theirs: Samples) -> dict[float, Score]:
    """Return the one-to-one scores with tolerances that grow with the true radius; unknown radii have the smallest."""
    radius = np.where(np.isnan(theirs.radius), 0.0, theirs.radius)
    largest = np.maximum(max(RADIUS_FACTORS) * radius, RADIUS_FLOOR)
    pairs = pairs_within_each(ours.position, theirs.position, largest)
    scores = {}
    for factor in RADIUS_FACTORS:
        near = pairs.distance <= np.maximum(factor * radius, RADIUS_FLOOR)[pairs.truth]
        scores[factor] = score_one_to_one(pairs.subset(near))
    return scores


def _identity(predicted: VesselGraph, truth: VesselGraph, ours: Samples, theirs: Samples, pairs: Pairs) -> IdentityScore | None:
    our_labels, their_labels = tree_labels(predicted), tree_labels(truth)
    if our_labels is None or their_labels is None:
        return None
    return score_identity(pairs, ours, theirs, our_labels, their_labels)


def _score_branches(ours: Samples, theirs: Samples, pairs: Pairs) -> Score:
    return Score(
        n_predicted=len(np.unique(ours.branch)),
        n_truth=len(np.unique(theirs.branch)),
        n_right=_n_covered(ours.branch, theirs.branch, pairs.predicted, pairs.truth),
        n_found=_n_covered(theirs.branch, ours.branch, pairs.truth, pairs.predicted),
    )


def _n_covered(branch: IntArray, other_branch: IntArray, point: IntArray, other_point: IntArray) -> int:
    """Return how many branches have one other branch within the tolerance of > 80 % of their points.

    Parameters
    ----------
    branch, other_branch : (S,), (T,)
        Branch of each point.
    point, other_point : (K,)
        Points that lie within the tolerance of each other.
    """
    if not len(point):
        return 0
    n_others = int(other_branch.max()) + 1
    # Pairs of numbers as one number: sorting them is many times faster than sorting rows.
    covered = np.unique(point * n_others + other_branch[other_point])
    key, count = np.unique(branch[covered // n_others] * n_others + covered % n_others, return_counts=True)
    size = np.bincount(branch)
    return len(np.unique(key[count > BRANCH_COVERAGE * size[key // n_others]] // n_others))


def _tube_cldice(ours: Samples, theirs: Samples) -> float:
    if np.isnan(ours.radius).any() or np.isnan(theirs.radius).any():
        return np.nan
    right, found = int(_in_tubes(ours, theirs).sum()), int(_in_tubes(theirs, ours).sum())
    return Score(len(ours), len(theirs), right, found).f1


def _in_tubes(points: Samples, tubes: Samples) -> NDArray[np.bool_]:
    """Return which points lie inside any ball of the other samples.

    |p - q|^2 <= r^2 for any ball is a nearest-neighbour question in 4-D: give q the extra coordinate sqrt(R^2 - r^2), R the
    largest radius, and p the coordinate 0; then the squared distance is |p - q|^2 - r^2 + R^2.
    """
    if not len(points) or not len(tubes):
        return np.zeros(len(points), dtype=bool)
    largest = float(tubes.radius.max())
    lifted = np.column_stack([tubes.position, np.sqrt(np.maximum(largest**2 - tubes.radius**2, 0.0))])
    flat = np.column_stack([points.position, np.zeros(len(points))])
    return np.asarray(cKDTree(lifted).query(flat)[0] <= largest * (1.0 + 1e-9))
