"""What a classifier is taught by: prevalence-weighted focal loss, or the loss of evidence. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.subjective_logic import evidence_loss, evidence_of


def label_weights(labels: Tensor, most: float) -> Tensor:
    """Return the weights of a 0 and of a 1 of each label, (2, labels), from how often they are seen in (cases, labels).

    ``0.5 / share`` of each answer, so that both count alike in sum, at most ``most``; unknown labels (NaN) are not counted, and
    a label with one answer only, or none, has weights 1.

    Examples
    --------
    >>> label_weights(torch.tensor([[1.0], [0.0], [0.0], [0.0]]), 10.0).T.tolist()
    [[0.6666666865348816, 2.0]]
    """
    known = ~labels.isnan()
    n_known = known.sum(0).clamp(min=1)
    share = torch.where(known, labels, 0.0).sum(0) / n_known
    both = (share > 0) & (share < 1)
    weights = torch.stack([0.5 / (1.0 - share).clamp(min=1e-6), 0.5 / share.clamp(min=1e-6)]).clamp(max=most)
    return torch.where(both, weights, 1.0)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Return ``(1 - p_t)^gamma`` times the cross-entropy, elementwise; gamma 0 is the cross-entropy.

    References
    ----------
    Lin et al., Focal loss for dense object detection, arXiv 1708.02002, equation 4.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (1.0 - torch.exp(-entropy)) ** gamma * entropy


def task_loss(raw: Tensor, labels: Tensor, weights: Tensor, config: TrainClassifierConfig, epoch: int) -> Tensor:
    """Return the mean loss of raw answers (batch, labels, numbers) over the labels (batch, labels) that are known.

    Zero, but connected to the answers, where none is known.
    """
    known = ~labels.isnan()
    truth = torch.where(known, labels, 0.0)
    if config.plugin.head == "evidence":
        pull = config.pull * min(1.0, epoch / config.n_pull_epochs)
        each = evidence_loss(evidence_of(raw), truth, pull)
    else:
        each = focal_loss(raw[..., 0], truth, config.focal_gamma)
    weight = torch.where(truth > 0.5, weights[1], weights[0]) * known
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)
