"""HU of every tissue in every phase, and the image of a phase before the scanner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PhaseLook
from vesselgraph.phantom.study.tissue import TissueMap
from vesselgraph.phantom.study.tissues import Tissue

Image = NDArray[np.float32]

_FIXED = {
    Tissue.AIR: -1000.0,
    Tissue.LUNG: -830.0,
    Tissue.FAT: -104.0,
    Tissue.MUSCLE: 58.0,
    Tissue.CORTEX: 520.0,
    Tissue.MARROW: 190.0,
    Tissue.GUT_CONTENT: 22.0,
    Tissue.GAS: -850.0,
    Tissue.BILE: 8.0,
    Tissue.DISC: 80.0,
    Tissue.CYST: 6.0,
    Tissue.SKIN: 10.0,
}


_ROUGH = {Tissue.AIR: 0.0, Tissue.LUNG: 8.0, Tissue.FAT: 1.5, Tissue.MUSCLE: 2.5, Tissue.CORTEX: 10.0, Tissue.MARROW: 10.0}
_ROUGH |= {Tissue.GUT_WALL: 2.0, Tissue.GUT_CONTENT: 5.0, Tissue.PANCREAS: 4.0, Tissue.METASTASIS: 2.0, Tissue.RIM: 2.0}
_ROUGH |= {Tissue.CYST: 0.3, Tissue.BILE: 0.3, Tissue.KIDNEY_CORTEX: 1.5, Tissue.KIDNEY_MEDULLA: 2.0, Tissue.GAS: 2.0}
ROUGHNESS = np.array([_ROUGH.get(label, 1.0) for label in Tissue], dtype=np.float32)
"""How much more each tissue varies than the liver."""


def tissue_values(look: PhaseLook, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the HU of each label of :class:`Tissue` in one phase, float32."""
    values = dict(_FIXED)
    values[Tissue.LIVER] = look.liver
    values[Tissue.SPLEEN] = look.spleen
    values[Tissue.KIDNEY_CORTEX] = look.kidney
    values[Tissue.KIDNEY_MEDULLA] = 0.6 * look.kidney + 20.0
    values[Tissue.GUT_WALL] = 0.5 * (look.liver + 60.0)
    values[Tissue.PANCREAS] = 0.75 * look.liver + 15.0
    values[Tissue.HEART] = 0.5 * (look.artery + look.hepatic) - 15.0
    values[Tissue.METASTASIS] = 35.0 + 0.35 * (look.liver - 35.0)
    values[Tissue.RIM] = look.liver + 0.1 * (look.artery - look.liver)
    values[Tissue.HYPERVASCULAR] = look.liver + 0.3 * (look.artery - look.liver) - 10.0
    jitter = rng.normal(0.0, 6.0, len(Tissue))
    return np.array([values[label] + (jitter[label] if label != Tissue.LIVER else 0.0) for label in Tissue], dtype=np.float32)


def compose(tissue: TissueMap, values: NDArray[np.float32]) -> Image:
    """Return the value of every voxel by its labels' values: HU without vessels, or roughness."""
    result = values[tissue.second]
    result += tissue.share * (values[tissue.first] - result)
    return np.asarray(result)
