"""Losses: what costs nothing, what counts, what does not."""

from __future__ import annotations

import math

import pytest
import torch

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.heatmap.losses import Truth, heatmap_loss
from vesselgraph.heatmap.network import Output

CONFIG = TrainHeatmapConfig(foreground_weight=4.0, recall_weight=0.5, radius_weight=0.25, identity_weight=0.125)


def truth(heat: float = 1.0, distance: float = 0.0, *, clarity: float = 1.0, counts: float = 1.0, named: float = 1.0) -> Truth:
    shape = (1, 1, 2, 2, 2)
    identity = torch.zeros((1, 3, 2, 2, 2))
    identity[:, 1] = 1.0
    filled = (torch.full(shape, value) for value in (heat, distance, clarity, math.e))
    return Truth(*filled, identity, torch.full(shape, counts), torch.full((1, 1, 1, 1, 1), named))


def said(heat: float, log_radius: float = 1.0, identity: float = 20.0) -> Output:
    shape = (1, 1, 2, 2, 2)
    logits = torch.full((1, 3, 2, 2, 2), -identity)
    logits[:, 1] = identity
    return Output(torch.full(shape, heat), torch.full(shape, log_radius), logits, torch.zeros(shape))


def test_a_right_answer_costs_nothing() -> None:
    loss = heatmap_loss(said(20.0), truth(), CONFIG)
    assert [float(part) for part in loss] == pytest.approx([0.0] * 5, abs=1e-6)


def test_a_half_heat_where_it_is_half_costs_nothing() -> None:
    assert float(heatmap_loss(said(0.0), truth(0.5, 1.77), CONFIG).heat) == pytest.approx(0.0, abs=1e-6)


def test_parts_by_hand() -> None:
    loss = heatmap_loss(said(0.0, 1.5, 0.0), truth(), CONFIG)
    assert float(loss.heat) == pytest.approx(math.log(2))
    assert float(loss.recall) == pytest.approx(0.5)
    # Smooth L1 with beta 0.2 of an error of 0.5.
    assert float(loss.radius) == pytest.approx(0.4)
    assert float(loss.identity) == pytest.approx(math.log(2))
    total = math.log(2) + 0.5 * 0.5 + 0.25 * 0.4 + 0.125 * math.log(2)
    assert float(loss.total) == pytest.approx(total)


def test_foreground_weighs_more_than_background() -> None:
    both = truth()
    both.heat[..., 0] = 0.0
    missed, invented = said(0.0), said(0.0)
    missed.heat[..., 0], missed.heat[..., 1] = -20.0, 0.0
    invented.heat[..., 0], invented.heat[..., 1] = 0.0, 20.0
    ratio = heatmap_loss(missed, both, CONFIG).heat / heatmap_loss(invented, both, CONFIG).heat
    assert float(ratio) == pytest.approx(5.0, rel=1e-4)


def test_where_the_truth_is_not_known_nothing_counts() -> None:
    assert float(heatmap_loss(said(-5.0, 9.0, -3.0), truth(counts=0.0), CONFIG).total) == 0.0


def test_far_from_centerlines_only_heat_counts() -> None:
    loss = heatmap_loss(said(0.0, 9.0, -3.0), truth(0.0, 6.0), CONFIG)
    assert float(loss.heat) == pytest.approx(math.log(2))
    assert [float(part) for part in loss[2:]] == [0.0, 0.0, 0.0]


def test_faint_vessels_are_asked_for_their_clarity_only() -> None:
    # Logit 0 is a heat of 0.5: enough for a clarity of 0.4, 0.3 short of 0.8.
    assert float(heatmap_loss(said(0.0), truth(0.4, clarity=0.4), CONFIG).recall) == 0.0
    assert float(heatmap_loss(said(0.0), truth(0.8, clarity=0.8), CONFIG).recall) == pytest.approx(0.3)


def test_unnamed_trees_are_not_taught() -> None:
    assert float(heatmap_loss(said(20.0, 1.0, -9.0), truth(named=0.0), CONFIG).identity) == 0.0
