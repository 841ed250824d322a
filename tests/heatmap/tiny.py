"""Small cases for the tests of the network: bright tubes in noise, made in milliseconds."""

from __future__ import annotations

import numpy as np

from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.targets import Segments, measure_target
from vesselgraph.space import Space


class TinySource:
    """Numbered tube cases."""

    def __init__(self, n: int = 3, phases: tuple[str, ...] = ("portal", "arterial")) -> None:
        self.n, self.phases = n, phases

    def __len__(self) -> int:
        return self.n

    def case(self, index: int) -> TrainingCase:
        return tube_case(index + 10, self.phases)


class NoCases:
    """A source without cases."""

    def __len__(self) -> int:
        return 0

    def case(self, index: int) -> TrainingCase:
        raise IndexError(index)


def tube_case(seed: int = 0, phases: tuple[str, ...] = ("portal",), side: int = 24) -> TrainingCase:
    """Three straight tubes, one of each tree, 60 HU over tissue with noise 10; the artery shows in the arterial phase only."""
    rng = np.random.default_rng(seed)
    ends = rng.uniform(2, side - 3, (2, 3, 3))
    radius = np.array([2.0, 2.5, 1.5])
    segments = Segments(ends[0], ends[1], radius, radius, np.array([1, 2, 3], np.uint8), np.ones(3, np.float32))
    target = measure_target(segments, (side,) * 3, 1.0, 1.5)
    bright = {"arterial": (3,), "portal": (1, 2)}
    images = {}
    for phase in phases:
        image = 110.0 + 10.0 * rng.standard_normal((side,) * 3)
        for tree in bright.get(phase, (1, 2, 3)):
            image += 60.0 * (target.tree_distance[tree] <= radius[tree - 1])
        images[phase] = np.rint(image).astype(np.int16)
    return TrainingCase(f"tubes {seed}", images, Space.axial(), np.ones((side,) * 3, np.bool_), segments, named=True)
