"""The habit to compare with: the heatmap network's own architecture, trained to draw a vessel mask instead.

Needs torch, MONAI and nothing else of a training: one process, one file of state, so that a run that is killed goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vesselgraph.config import AugmentConfig, TrainHeatmapConfig
from vesselgraph.heatmap.batches import CaseSource
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.network import HeatmapNetwork, normalise
from vesselgraph.heatmap.prediction import predict_maps
from vesselgraph.heatmap.samples import Placement, draw_sample
from vesselgraph.heatmap.targets import LEARNED_AXES
from vesselgraph.heatmap.training import rate_at
from vesselgraph.heatmap.weights import load_network
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.volume import Volume, oriented

CLEAR, SHOWN = 0.5, 0.05
"""Vessels of this clarity are to be drawn; those between the two count neither way, as in the scores."""

STATE = "mask_segmenter.pt"
_SAVE_EVERY = 100


def recipe(*, small: bool = False, n_steps: int = 2400, seed: int = 0) -> TrainHeatmapConfig:
    """Return the settings: those of the shipped network's recipe but for the length, and the portal phase only."""
    told: dict[str, Any] = {"widths": (8, 24, 48, 96), "batch": 2, "rate": 2e-3, "average": 0.998, "seed": seed}
    told |= {"n_steps": n_steps, "n_studies": 120, "first_seed": 100_000, "n_warm_up": 100}
    told["augment"] = AugmentConfig(flip_fraction=0.0, permute_fraction=0.0)
    if small:
        studies = {"shape": (64, 64, 64), "n_portal_tips": (40, 60), "n_hepatic_tips": (40, 60)}
        told |= {"n_steps": 3, "n_studies": 1, "patch": 32, "n_warm_up": 1, "studies": studies}
    return TrainHeatmapConfig(**told)


def train(config: TrainHeatmapConfig, cases: CaseSource, folder: Path, say: Callable[[str], object]) -> HeatmapNetwork:
    """Return the trained network (running mean of the weights); goes on from ``folder`` if a run is there.

    It starts from the shipped heatmap network, and its mask head from the head of the heat, which is more than a segmenter
    usually gets. What a step sees depends on the recipe and its number alone.
    """
    network = load_network()[0].train()
    average = deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    done, path = 0, folder / STATE
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["recipe"] != config.to_toml():
            raise SystemExit(f"{path} is of another recipe; choose another folder")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    folder.mkdir(parents=True, exist_ok=True)
    held: dict[int, TrainingCase] = {}
    losses: list[float] = []
    for step in range(done, config.n_steps):
        losses.append(_step(network, optimizer, _batch(step, config, cases, held), step, config))
        with torch.no_grad():
            kept = min(config.average, (1.0 + step) / (10.0 + step))
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1.0 - kept)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == config.n_steps:
            parts = {"network": network, "average": average, "optimizer": optimizer}
            state = {name: part.state_dict() for name, part in parts.items()} | {"step": step + 1, "recipe": config.to_toml()}
            torch.save(state, path.with_suffix(".writing"))
            path.with_suffix(".writing").replace(path)
            say(f"step {step + 1} of {config.n_steps}: loss {np.mean(losses):.3f}")
            losses.clear()
    return average.eval().channels_last()


def _step(
    network: HeatmapNetwork,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    step: int,
    config: TrainHeatmapConfig,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate_at(step, config)
    optimizer.zero_grad()
    image, label = batch
    loss = mask_loss(network({"portal": image.contiguous(memory_format=torch.channels_last_3d)}).heat, label)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.largest_gradient)
    optimizer.step()
    return float(loss.detach())


def mask_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Return soft Dice + cross-entropy of logits against labels 0, 1 (does not count) and 2, the loss of nnU-Net."""
    counts, truth = (label != 1).float(), (label == 2).float()
    cross = functional.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    said = torch.sigmoid(logit) * counts
    dice = (2 * (said * truth).sum() + 1.0) / (said.sum() + truth.sum() + 1.0)
    return (cross * counts).sum() / counts.sum().clamp(min=1.0) + 1.0 - dice


def _batch(step: int, config: TrainHeatmapConfig, cases: CaseSource, held: dict[int, TrainingCase]) -> tuple[Tensor, Tensor]:
    """Return images and labels of a step: patches of a pool of cases, of which one changes every ``n_steps_a_case`` steps."""
    order = np.random.default_rng([config.seed, 0]).permutation(len(cases))
    oldest = step // config.n_steps_a_case
    pool = [int(order[i % len(cases)]) for i in range(oldest, oldest + min(config.pool, len(cases)))]
    for gone in set(held) - set(pool):
        del held[gone]
    images, labels = [], []
    for slot in range(config.batch):
        rng = np.random.default_rng([config.seed, 1, step, slot])
        chosen = pool[int(rng.integers(len(pool)))]
        if chosen not in held:
            held[chosen] = cases.case(chosen)
        sample = draw_sample(held[chosen], {"portal": "portal"}, config, rng)
        images.append(sample.phases["portal"])
        labels.append(np.where(sample.counts, label_at(held[chosen], sample.place, config), 1))
    return normalise(torch.from_numpy(np.stack(images)[:, None])), torch.from_numpy(np.stack(labels)[:, None])


def label_at(case: TrainingCase, place: Placement, config: TrainHeatmapConfig) -> NDArray[np.uint8]:
    """Return the labels of a patch: 2 in vessels the portal phase shows clearly, 1 in faint ones, 0 elsewhere.

    A voxel lies in a vessel if its centre does, or the centerline passes within half a voxel.
    """
    pieces = case.segments_seen(["portal"], config)
    inverse, middle = np.linalg.inv(place.matrix).T, (config.patch - 1) / 2.0
    ends = [(end - place.centre) @ inverse + middle for end in (pieces.start, pieces.end)]
    radii = [radius / place.scale / config.step for radius in (pieces.start_radius, pieces.end_radius)]
    value = np.where(pieces.clarity >= CLEAR, 2, np.where(pieces.clarity > SHOWN, 1, 0)).astype(np.uint8)
    label = np.zeros((config.patch,) * 3, np.uint8)
    _fill(*ends, *radii, value, label)
    return label


@njit(cache=True, nogil=True)
def _fill(start, end, start_radius, end_radius, value, label):  # type: ignore[no-untyped-def]
    """Raise ``label`` to ``value`` where a voxel lies in a piece (round cone with round ends), in place; all in voxels."""
    n_planes, n_rows, n_columns = label.shape
    for i in range(len(value)):
        if value[i] == 0:
            continue
        az, ay, ax = start[i, 0], start[i, 1], start[i, 2]
        dz, dy, dx = end[i, 0] - az, end[i, 1] - ay, end[i, 2] - ax
        length2 = dz * dz + dy * dy + dx * dx
        far = max(start_radius[i], end_radius[i], 0.5)
        for z in range(max(0, int(np.ceil(min(az, az + dz) - far))), min(n_planes, int(max(az, az + dz) + far) + 1)):
            for y in range(max(0, int(np.ceil(min(ay, ay + dy) - far))), min(n_rows, int(max(ay, ay + dy) + far) + 1)):
                for x in range(max(0, int(np.ceil(min(ax, ax + dx) - far))), min(n_columns, int(max(ax, ax + dx) + far) + 1)):
                    along = (z - az) * dz + (y - ay) * dy + (x - ax) * dx
                    share = min(max(along / length2, 0.0), 1.0) if length2 > 0 else 0.0
                    oz, oy, ox = z - az - share * dz, y - ay - share * dy, x - ax - share * dx
                    radius = max(start_radius[i] + share * (end_radius[i] - start_radius[i]), 0.5)
                    if oz * oz + oy * oy + ox * ox <= radius * radius:
                        label[z, y, x] = max(label[z, y, x], value[i])


def predict_mask(network: HeatmapNetwork, image: Volume, inside: Volume) -> Volume:
    """Return the probability of a vessel at 1 mm, 0 outside of the mask in the boxes of the heatmap network."""
    seen, mask = oriented(image, LEARNED_AXES), oriented(inside, LEARNED_AXES)
    space, shape = isotropic_grid(seen, 1.0)
    values = np.asarray(resample(seen, space, shape).array, np.float32)
    within = resample(mask, space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
    maps = predict_maps(network, {"portal": values}, within, window=64, overlap_fraction=0.25)
    return Volume(maps.heat, space, "vessel")
