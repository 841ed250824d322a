"""Labels of tissues, and the plain shapes they are painted from."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from vesselgraph.space import FloatArray

FIELD_BOX = np.array([[-150.0, -115.0, -115.0], [110.0, 110.0, 110.0]])
"""Box of world mm, at body scale 1, in which the liver lies."""


class Tissue(IntEnum):
    """Labels of the tissue map; their order is that of the columns of a phase's table of HU."""

    AIR = 0
    LUNG = 1
    FAT = 2
    MUSCLE = 3
    CORTEX = 4
    MARROW = 5
    LIVER = 6
    SPLEEN = 7
    KIDNEY_CORTEX = 8
    KIDNEY_MEDULLA = 9
    GUT_WALL = 10
    GUT_CONTENT = 11
    GAS = 12
    BILE = 13
    PANCREAS = 14
    DISC = 15
    HEART = 16
    METASTASIS = 17
    RIM = 18
    CYST = 19
    HYPERVASCULAR = 20
    SKIN = 21


class Shapes(NamedTuple):
    """Ellipsoids in painting order: centre and axes (n, 2, 3) mm, and the label (n,) of each."""

    shapes: FloatArray
    labels: FloatArray


class Tubes(NamedTuple):
    """Capsules in painting order: ends (n, 3) and radius (n,) mm, and the label (n,) of each."""

    start: FloatArray
    end: FloatArray
    radius: FloatArray
    labels: FloatArray
