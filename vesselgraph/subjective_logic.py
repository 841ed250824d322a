"""Explicit uncertainty: evidence for and against a label, as a subjective-logic opinion with a Beta distribution behind it.

Needs torch; for any head that gives two non-negative numbers a label.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vesselgraph.errors import RangeError, ShapeError


class Opinion(NamedTuple):
    """What a head thinks of each label; all of the shape of the labels.

    ``probability`` is the mean of the Beta distribution. ``belief + disbelief + uncertainty = 1``: uncertainty is the share of
    the opinion that no evidence covers, 1 where there is none at all.
    """

    probability: Tensor
    uncertainty: Tensor
    belief: Tensor
    disbelief: Tensor


def evidence_of(raw: Tensor) -> Tensor:
    """Return non-negative evidence of a head's unbounded answers, by softplus (a choice of ours)."""
    return functional.softplus(raw)


def opinion(evidence: Tensor) -> Opinion:
    """Return the opinion that evidence (..., 2), for and against, amounts to.

    Raises
    ------
    ShapeError
        The last axis is not 2.
    RangeError
        There is negative evidence.

    References
    ----------
    Two classes of Sensoy et al., "Evidential deep learning", NeurIPS 2018 (arXiv 1806.01768), section 3, equations 1 and 2.

    Examples
    --------
    >>> [round(float(part), 3) for part in opinion(torch.tensor([6.0, 2.0]))]
    [0.7, 0.2, 0.6, 0.2]
    >>> [round(float(part), 3) for part in opinion(torch.zeros(2))]
    [0.5, 1.0, 0.0, 0.0]
    """
    _check(evidence)
    if bool((evidence < 0).any()):
        raise RangeError("evidence of at least 0", f"{float(evidence.min()):g}", "apply evidence_of to a head's answer first")
    total = evidence.sum(-1) + 2.0
    belief, disbelief = evidence[..., 0] / total, evidence[..., 1] / total
    uncertainty = 2.0 / total
    return Opinion(belief + uncertainty / 2.0, uncertainty, belief, disbelief)


def evidence_loss(evidence: Tensor, label: Tensor, pull: float) -> Tensor:
    """Return the loss of evidence (..., 2) for labels in {0, 1}, elementwise.

    The expected squared error under the Beta distribution plus ``pull`` times the divergence of the misleading evidence from
    none: ``(y - p)^2 + p (1 - p) / (S + 1) + pull KL(Beta(a', b') || Beta(1, 1))``, where a' and b' are the parameters with the
    evidence for the true side taken off.

    Parameters
    ----------
    evidence : (..., 2)
        For and against, at least 0.
    label : (...)
        0 or 1, float.
    pull : float
        Rises from 0 over the first epochs, so that evidence is found before it is doubted.

    Raises
    ------
    ShapeError
        The last axis of the evidence is not 2.

    References
    ----------
    Sensoy et al., arXiv 1806.01768, equations 5 (expanded) and the regulariser below it, for two classes.
    """
    _check(evidence)
    alpha, beta = evidence[..., 0] + 1.0, evidence[..., 1] + 1.0
    total = alpha + beta
    p = alpha / total
    fit = (label - p) ** 2 + p * (1.0 - p) / (total + 1.0)
    # Where y = 1 only the evidence against misleads, and the other way round.
    misleading = torch.where(label > 0.5, beta, alpha)
    return fit + pull * divergence_from_even(misleading)


def divergence_from_even(parameter: Tensor) -> Tensor:
    """Return KL(Beta(1, b) || Beta(1, 1)) = ln b + 1 / b - 1 of b >= 1, the same as of Beta(b, 1).

    Examples
    --------
    >>> float(divergence_from_even(torch.tensor(1.0)))
    0.0
    """
    return parameter.log() + 1.0 / parameter - 1.0


def _check(evidence: Tensor) -> None:
    if evidence.ndim < 1 or evidence.shape[-1] != 2:
        raise ShapeError("evidence with two numbers a label, for and against", f"shape {tuple(evidence.shape)}", "unflatten it")
