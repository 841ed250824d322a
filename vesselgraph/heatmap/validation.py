"""How good a network is on whole boxes of cases it never learned from: figures and a picture.

Loaded only for training: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.foundation import Context, Foundation
from vesselgraph.heatmap.losses import NEAR
from vesselgraph.heatmap.network import HeatmapNetwork
from vesselgraph.heatmap.prediction import Maps, predict_maps
from vesselgraph.heatmap.targets import Float32, Target, measure_target
from vesselgraph.io.atomic import atomic_path
from vesselgraph.progress import Progress, silent

THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)
CLEAR = 0.5
"""Vessels of this clarity are to be found; those below are neither asked for nor forbidden."""

_SLAB = 12
_WINDOW = 96


@dataclass(frozen=True, eq=False)
class Box:
    """A box of a case with its truth, and what an encoder sees of the phases of each test."""

    phases: dict[str, Float32]
    counts: NDArray[np.bool_]
    targets: dict[str, Target]
    named: bool
    context: Mapping[str, Context] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, list[str]]:
        """Phases of each test: ``one`` (portal if there), and ``all`` if there are several."""
        return _shown(list(self.phases))


def make_box(case: TrainingCase, config: TrainHeatmapConfig, foundation: Foundation | None = None) -> Box:
    """Return the middle of what counts, ``validation_side`` voxels along each axis or less; the encoder sees the whole case."""
    used = np.argwhere(case.counts)
    middle = (used.min(axis=0) + used.max(axis=0) + 1) // 2
    first = np.maximum(middle - config.validation_side // 2, 0)
    last = np.minimum(first + config.validation_side, case.shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    counts = case.counts[part]
    targets, context = {}, {}
    for which, phases in _shown(list(case.phases)).items():
        pieces = case.segments_seen(phases, config)
        moved = replace(pieces, start=pieces.start - first, end=pieces.end - first)
        targets[which] = measure_target(moved, counts.shape, config.step, config.sigma)
        if foundation is not None:
            context[which] = foundation.context(case.phases, phases, case.space).shifted(first)
    images = {name: array[part].astype(np.float32) for name, array in case.phases.items()}
    return Box(images, counts, targets, case.named, context)


def _shown(phases: list[str]) -> dict[str, list[str]]:
    one = "portal" if "portal" in phases else sorted(phases)[0]
    return {"one": [one]} | ({"all": phases} if len(phases) > 1 else {})


def score_maps(maps: Maps, target: Target, box: Box, config: TrainHeatmapConfig) -> dict[str, float]:
    """Return the figures of a prediction against the truth of its box.

    ``mse`` of the heat; ``threshold`` with the best ``f1`` of ``precision`` (share of the voxels hotter than it that lie within
    2 mm of a centerline) and ``recall`` (share of the centerline's voxels hotter than it); ``radius`` the median error of the
    radius on centerlines, as a share; ``identity`` the share of centerline voxels whose likeliest tree is the true one, NaN if
    trees are not known. All where the truth counts; the figures but ``mse`` leave out what lies near vessels of a clarity below
    :data:`CLEAR`.
    """
    close = target.distance <= NEAR
    inside = box.counts & ~(close & (target.clarity < CLEAR))
    close &= inside
    line = inside & (target.distance <= 0.87 * config.step)
    n_line = max(int(line.sum()), 1)
    best = {"f1": 0.0, "precision": 0.0, "recall": 0.0, "threshold": float(THRESHOLDS[0])}
    for threshold in THRESHOLDS:
        hot = inside & (maps.heat > threshold)
        precision = float((hot & close).sum()) / max(int(hot.sum()), 1)
        recall = float((hot & line).sum()) / n_line
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        if f1 > best["f1"]:
            best = {"f1": f1, "precision": precision, "recall": recall, "threshold": float(threshold)}
    error = np.abs(np.log(np.maximum(maps.radius[line], 0.1) / np.maximum(target.radius[line], 0.1)))
    tree = target.tree_distance[:, line].argmin(axis=0)
    right = (maps.identity[:, line].argmax(axis=0) + 1 == tree)[tree > 0]
    difference = (maps.heat - target.heat)[box.counts]
    return {
        "mse": float(np.mean(difference**2)) if len(difference) else float("nan"),
        **best,
        "radius": float(np.expm1(np.median(error))) if line.any() else float("nan"),
        "identity": float(right.mean()) if box.named and len(right) else float("nan"),
    }


def validate(
    network: HeatmapNetwork,
    boxes: list[Box],
    config: TrainHeatmapConfig,
    picture: Path | None = None,
    *,
    progress: Progress = silent,
) -> dict[str, float]:
    """Return the mean figures over the boxes, named ``one/mse``, ``all/mse`` and so on; write a picture of the first box."""
    rows: dict[str, list[float]] = {}
    for number, box in enumerate(boxes):
        progress("validation", number / len(boxes))
        for which, names in box.shown.items():
            phases = {name: box.phases[name] for name in names}
            context = box.context.get(which)
            maps = predict_maps(network, phases, box.counts, window=_WINDOW, overlap_fraction=0.25, context=context)
            for name, value in score_maps(maps, box.targets[which], box, config).items():
                rows.setdefault(f"{which}/{name}", []).append(value)
            if number == 0 and which == "one" and picture is not None:
                draw_picture(phases[names[0]], maps.heat, box, picture)
    return {name: _mean(values) for name, values in rows.items()}


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def draw_picture(image: Float32, heat: Float32, box: Box, path: Path) -> None:
    """Write image, heat and truth side by side: a slab of 12 planes above, everything below, brightest along planes."""
    middle = len(image) // 2
    slab = slice(max(middle - _SLAB // 2, 0), middle + _SLAB // 2)
    ct = np.clip((image + 20.0) / 240.0, 0.0, 1.0) * np.where(box.counts, 1.0, 0.35)
    truth = np.where(box.counts, box.targets["one"].heat, 0.0)
    rows = [np.hstack([volume[planes].max(axis=0) for volume in (ct, heat, truth)]) for planes in (slab, slice(None))]
    picture = Image.fromarray(np.rint(np.vstack(rows) * 255.0).astype(np.uint8))
    with atomic_path(path) as temporary:
        picture.resize((picture.width * 2, picture.height * 2)).save(temporary)
