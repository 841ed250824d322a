"""What lies in the liver beside vessels: lesions, cysts, calcified spots, and the fatty cleft."""

from __future__ import annotations

import numpy as np

from vesselgraph.config import StudyConfig
from vesselgraph.phantom.study.field import Field, distances
from vesselgraph.phantom.study.tissues import FIELD_BOX, Shapes, Tissue
from vesselgraph.space import FloatArray

_LESIONS = (
    ((1.0, Tissue.METASTASIS),),
    ((1.0, Tissue.RIM), (0.8, Tissue.METASTASIS)),
    ((1.0, Tissue.HYPERVASCULAR),),
)
_LESION_ODDS = (0.5, 0.3, 0.2)


def make_lesions(config: StudyConfig, liver: Field, scale: float, rng: np.random.Generator) -> Shapes:
    """Return lesions, cysts, calcified spots and the fatty cleft of the liver, in painting order."""
    shapes: list[FloatArray] = []
    labels: list[float] = []

    def add(centre: FloatArray, axes: FloatArray, label: Tissue) -> None:
        shapes.append(np.stack([centre, axes]))
        labels.append(float(label))

    if config.fissure > 0.3:
        place = np.array([1.0, -88.0, -6.0]) + rng.normal(0.0, 4.0, 3)
        for _ in range(5):
            add(scale * place, scale * config.fissure * np.array([1.0, 5.0, 9.0]) * rng.uniform(0.6, 1.0, 3), Tissue.FAT)
            place = place + np.array([rng.normal(0.0, 2.0), 6.0, rng.normal(0.0, 3.0)])
    for n in range(config.n_lesions + config.n_cysts):
        centre = _free_place(liver, scale, rng)
        radius = float(np.exp(rng.uniform(np.log(min(3.0, config.lesion_radius)), np.log(config.lesion_radius))))
        if centre is None:
            continue
        # One to three lobes that overlap.
        lobes = [(np.zeros(3), 1.0)] + [
            (rng.normal(0.0, 0.45, 3), rng.uniform(0.5, 0.8)) for _ in range(int(rng.integers(0, 3)))
        ]
        kind = ((1.0, Tissue.CYST),) if n >= config.n_lesions else _LESIONS[int(rng.choice(3, p=_LESION_ODDS))]
        axes = radius * rng.uniform(0.75, 1.25, 3)
        for share, label in kind:
            for offset, size in lobes:
                add(centre + radius * offset, share * size * axes, label)
    for _ in range(config.n_spots):
        centre = _free_place(liver, scale, rng)
        if centre is not None:
            add(centre, rng.uniform(0.7, 2.2, 3), Tissue.MARROW)
    return Shapes(np.array(shapes).reshape(-1, 2, 3), np.array(labels))


def _free_place(liver: Field, scale: float, rng: np.random.Generator) -> FloatArray | None:
    """Return a random place in the liver away from the hilum and the great veins; None if there is none."""
    box = scale * FIELD_BOX
    points = rng.uniform(box[0], box[1], (400, 3))
    far = np.linalg.norm(points - scale * np.array([-34.0, -14.0, 5.0]), axis=1) > 42.0 * scale
    clear = (distances(liver, points) < -6.0) & far
    return points[int(clear.argmax())] if clear.any() else None
