"""What scores say over many cases: means with bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesselgraph.errors import RangeError

_NO_FIGURES = ("settings", "confusion")


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its confidence interval.

    Parameters
    ----------
    mean, low, high : float
        NaN without cases; ``low`` and ``high`` also with a single one.
    n : int
        Number of cases in which the figure is defined.
    """

    mean: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON; undefined is None."""
        bounds = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{name: value if np.isfinite(value) else None for name, value in bounds.items()}, "n": self.n}


def mean_interval(values: ArrayLike, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of a figure over cases and its bootstrap confidence interval.

    Cases are drawn with replacement ``n_resamples`` times; the interval holds the middle ``level`` of the means (percentile
    bootstrap). With few cases it is too narrow: read it with care below about ten. To compare two methods on the same
    cases, pass the differences: the interval of a paired difference is much narrower than that of either mean.

    Parameters
    ----------
    values : (n,) float
        One value a case; NaN (undefined) is left out.
    level : float
        Between 0 and 1.
    n_resamples : int
        >= 1.
    seed : int
        The same seed and number of cases draw the same cases.

    Raises
    ------
    RangeError
        The level or the number of resamples is out of range.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Examples
    --------
    >>> ours, theirs = np.array([0.8, 0.7, 0.9, 0.6]), np.array([0.7, 0.6, 0.8, 0.5])
    >>> gain = mean_interval(ours - theirs)
    >>> round(gain.mean, 6), round(gain.low, 6), round(gain.high, 6), gain.n
    (0.1, 0.1, 0.1, 4)
    """
    if not 0 < level < 1 or n_resamples < 1:
        raise RangeError("a level in (0, 1) and n_resamples >= 1", f"{level}, {n_resamples}", "pass values like 0.95 and 2000")
    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else np.nan, np.nan, np.nan, len(known))
    drawn = known[_draws(len(known), n_resamples, seed)].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), len(known))


def _draws(n: int, n_resamples: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, n, (n_resamples, n))


def figures(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figures of nested scores by their dotted names; settings and confusion tables are left out.

    Examples
    --------
    >>> figures({"branch": {"f1": 0.5}, "betti": {"error": [0, 2]}, "cldice": None, "settings": {"step": 0.5}})
    {'branch.f1': 0.5, 'betti.error.0': 0, 'betti.error.1': 2, 'cldice': None}
    """
    return dict(_leaves(scores, ()))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterable[tuple[str, float | None]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name not in _NO_FIGURES:
                yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, (*path, str(i)))
    else:
        yield ".".join(path), value


def summarise(
    cases: Sequence[Mapping[str, Any]], *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Return mean and confidence interval of every figure over the scores of many cases, by dotted names.

    Figures that are defined in all cases share their resampled cases. A case that lacks a figure
    (an order of branches it has not, ``None``) is left out of that figure; ``n`` says how many are left.

    Parameters
    ----------
    cases : sequence of mapping
        Nested scores as ``evaluate_graphs`` or ``GraphScores.to_dict`` return them.
    level, n_resamples, seed
        See :func:`mean_interval`.
    """
    rows = [figures(case) for case in cases]
    names = dict.fromkeys(name for row in rows for name in row)
    # float64 turns None into NaN.
    table = {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in names}
    return {name: mean_interval(column, level=level, n_resamples=n_resamples, seed=seed) for name, column in table.items()}
