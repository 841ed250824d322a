"""How good probabilities are, and how honest uncertainties: AUC with intervals, calibration, rejection curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from vesselgraph.errors import ShapeError

Values = NDArray[np.float64]


def auc(score: Values, label: Values) -> float:
    """Return the area under the ROC curve: how often a 1 has a higher score than a 0, ties half; NaN if one of both is missing.

    Unknown labels (NaN) are left out.

    Examples
    --------
    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    known = ~np.isnan(label)
    score, positive = score[known], label[known] > 0.5
    n_one, n_zero = int(positive.sum()), int((~positive).sum())
    if not n_one or not n_zero:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_one * (n_one + 1) / 2) / (n_one * n_zero))


def mean_auc(score: Values, label: Values) -> float:
    """Return the mean AUC over labels, both (cases, labels), of those that can be judged; NaN if none can."""
    each = np.array([auc(score[:, k], label[:, k]) for k in range(label.shape[1])])
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


@dataclass(frozen=True)
class Interval:
    """A figure with the 2.5 and 97.5 % points of its bootstrap distribution."""

    value: float
    low: float
    high: float


def with_interval(
    figure: Callable[[Values, Values], float], score: Values, label: Values, *, n_resamples: int, seed: int
) -> Interval:
    """Return a figure of scores and labels with its interval: cases drawn with replacement, percentiles 2.5 and 97.5.

    Resamples in which the figure cannot be had (one answer missing) are left out; NaN ends where none is left.

    References
    ----------
    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13 (percentile intervals).
    """
    rng = np.random.default_rng(seed)
    drawn = [figure(score[rows], label[rows]) for rows in rng.integers(len(label), size=(n_resamples, len(label)))]
    usable = [one for one in drawn if np.isfinite(one)]
    low, high = np.percentile(usable, (2.5, 97.5)) if usable else (np.nan, np.nan)
    return Interval(figure(score, label), float(low), float(high))


def calibration_error(probability: Values, label: Values, n_bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between probability and share of ones, over bins of equal width.

    Unknown labels (NaN) are left out; NaN if none is known.

    References
    ----------
    Naeini et al., AAAI 2015, section 3.
    """
    known = ~np.isnan(label)
    p, y = probability[known], label[known]
    if not len(p):
        return float("nan")
    bins = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    gaps = [abs(p[bins == k].mean() - y[bins == k].mean()) * (bins == k).sum() for k in np.unique(bins)]
    return float(np.sum(gaps) / len(p))


@dataclass(frozen=True, eq=False)
class RejectionCurve:
    """What is left when the least trusted answers are handed back.

    ``coverage`` (n,): share kept, from 1 down; ``risk``: share of wrong answers (at 0.5) among those kept. ``area`` is the mean
    risk over all coverages (AURC): lower is better.
    """

    coverage: Values
    risk: Values
    area: float


def rejection_curve(probability: Values, label: Values, doubt: Values) -> RejectionCurve:
    """Return what is left as answers are rejected in the order of their doubt, the largest first.

    Parameters
    ----------
    probability, label, doubt : (n,)
        Of one label; unknown ones (NaN) are left out. Answers of equal doubt leave together in the order given.

    Raises
    ------
    ShapeError
        The three differ in length, or no label is known.

    References
    ----------
    Geifman et al., arXiv 1805.08206, section 2 (area under the risk-coverage curve).

    Examples
    --------
    >>> curve = rejection_curve(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 0.0]), np.array([0.1, 0.2, 0.8]))
    >>> curve.risk.round(3).tolist(), round(curve.area, 3)
    ([0.333, 0.0, 0.0], 0.111)
    """
    p, y = _trusted_first(probability, label, doubt)
    n_kept = np.arange(1, len(p) + 1)
    risk = (np.cumsum((p >= 0.5) != (y > 0.5)) / n_kept)[::-1]
    return RejectionCurve(n_kept[::-1] / len(p), risk, float(risk.mean()))


def auc_at(probability: Values, label: Values, doubt: Values, coverage: float) -> float:
    """Return the AUC of the most trusted share ``coverage`` of the answers (rounded up); NaN where one answer is missing.

    Raises
    ------
    ShapeError
        As of :func:`rejection_curve`.
    """
    p, y = _trusted_first(probability, label, doubt)
    n_kept = int(np.ceil(coverage * len(p) - 1e-9))
    return auc(p[:n_kept], y[:n_kept])


def _trusted_first(probability: Values, label: Values, doubt: Values) -> tuple[Values, Values]:
    if not probability.shape == label.shape == doubt.shape or not (~np.isnan(label)).any():
        raise ShapeError("probabilities, known labels and doubts of one length", f"{probability.shape}", "pass one label's")
    known = ~np.isnan(label)
    order = np.argsort(doubt[known], kind="stable")
    return probability[known][order], label[known][order]


def doubts(probability: Values, uncertainty: Values, seed: int = 0) -> dict[str, Values]:
    """Return three orders of rejection: by uncertainty, by closeness to 0.5, and at random. The last two are the controls."""
    return {
        "uncertainty": uncertainty,
        "|p - 0.5|": -np.abs(probability - 0.5),
        "random": np.random.default_rng(seed).random(probability.shape),
    }


def score_table(
    probability: Values,
    uncertainty: Values,
    label: Values,
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Return the figures of each label, of each group, and of all labels together ("all").

    Parameters
    ----------
    probability, uncertainty, label : (cases, labels)
    names, groups : sequence, mapping
        Names of the labels; the labels of each group.
    n_resamples, seed : int
        Of the intervals.

    Returns
    -------
    mapping of name to mapping
        ``n``, ``n_positive``, ``auc``, ``auc_low``, ``auc_high``; for labels also ``ece`` and the areas under the risk-coverage
        curves ``aurc_uncertainty``, ``aurc_confidence`` (|p - 0.5|) and ``aurc_random``.
    """
    table: dict[str, dict[str, float]] = {}
    for k, name in enumerate(names):
        p, u, y = probability[:, k], uncertainty[:, k], label[:, k]
        known = ~np.isnan(y)
        table[name] = _auc_row(p[:, None], y[:, None], n_resamples, seed) | {"ece": calibration_error(p, y)}
        if known.any():
            areas = {key: rejection_curve(p, y, doubt).area for key, doubt in doubts(p, u, seed).items()}
            table[name] |= {
                "aurc_uncertainty": areas["uncertainty"],
                "aurc_confidence": areas["|p - 0.5|"],
                "aurc_random": areas["random"],
            }
    for group, members in {**groups, **({"all": names} if len(names) > 1 else {})}.items():
        columns = [list(names).index(name) for name in members]
        table[group] = _auc_row(probability[:, columns], label[:, columns], n_resamples, seed)
    return table


def _auc_row(probability: Values, label: Values, n_resamples: int, seed: int) -> dict[str, float]:
    found = with_interval(mean_auc, probability, label, n_resamples=n_resamples, seed=seed)
    n, n_positive = int((~np.isnan(label)).any(1).sum()), int((label > 0.5).sum())
    return {"n": n, "n_positive": n_positive, "auc": found.value, "auc_low": found.low, "auc_high": found.high}
