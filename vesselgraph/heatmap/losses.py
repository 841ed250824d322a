"""What the network is punished for: heat, missed centerlines, radius, tree names."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.heatmap.network import Output

NEAR = 2.0
"""Within this distance of a centerline, mm, radius and tree are taught."""


class Truth(NamedTuple):
    """Targets of a batch; all (batch, channels, planes, rows, columns) float32.

    ``heat`` in [0, 1]; ``distance`` to the centerline it comes from, mm; ``clarity`` (0 to 1) and ``radius`` (mm) of the vessel
    there; ``identity`` 1 where a centerline of that tree is near (3 channels); ``counts`` 1 where the truth is known, else 0;
    ``named`` (batch, 1, 1, 1, 1) 1 if the trees are known.
    """

    heat: Tensor
    distance: Tensor
    clarity: Tensor
    radius: Tensor
    identity: Tensor
    counts: Tensor
    named: Tensor


class Loss(NamedTuple):
    """The total and its parts, before their weights."""

    total: Tensor
    heat: Tensor
    recall: Tensor
    radius: Tensor
    identity: Tensor


def heatmap_loss(output: Output, truth: Truth, config: TrainHeatmapConfig) -> Loss:
    """Return the loss of a batch.

    Heat is cross-entropy against the soft target, weighted ``1 + foreground_weight * heat``; less the entropy of the target, so
    that a perfect answer costs 0. Recall is how much the heat on the centerline's voxels lacks of their clarity. Radius is a
    smooth L1 error of log mm, and identity a cross-entropy per tree, both within :data:`NEAR` of a centerline, weighted by its
    clarity. A part without voxels is 0.

    References
    ----------
    Kirchhoff et al., "Skeleton recall loss", ECCV 2024, section 3 (soft recall on the true skeleton).
    """
    weight = truth.counts * (1.0 + config.foreground_weight * truth.heat)
    cross = functional.binary_cross_entropy_with_logits(output.heat, truth.heat, reduction="none")
    entropy = functional.binary_cross_entropy(truth.heat, truth.heat, reduction="none")
    heat = _mean(cross - entropy, weight)
    seen = truth.counts * truth.clarity
    recall = _mean((truth.clarity - torch.sigmoid(output.heat)).clamp(min=0.0), seen * (truth.distance <= 0.87 * config.step))
    near = seen * (truth.distance <= NEAR)
    log_radius = truth.radius.clamp(min=0.1).log()
    radius = _mean(functional.smooth_l1_loss(output.log_radius, log_radius, reduction="none", beta=0.2), near)
    names = functional.binary_cross_entropy_with_logits(output.identity, truth.identity, reduction="none")
    identity = _mean(names, (near * truth.named).expand_as(names))
    total = heat + config.recall_weight * recall + config.radius_weight * radius + config.identity_weight * identity
    return Loss(total, heat, recall, radius, identity)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean; 0 without weight."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
