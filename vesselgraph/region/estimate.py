"""Choosing the region of an image without a mask."""

from __future__ import annotations

import numpy as np

from vesselgraph.config import RegionConfig
from vesselgraph.progress import Progress, silent
from vesselgraph.region.measure import describe
from vesselgraph.region.model import Region
from vesselgraph.volume import PhaseSet, Volume


def estimate_region(
    image: Volume | PhaseSet,
    config: RegionConfig = RegionConfig(),  # noqa: B008
    *,
    progress: Progress = silent,
) -> Region:
    """Return where to look for vessels in an image."""
    progress("region", 0.0)
    volume = image.reference if isinstance(image, PhaseSet) else image
    region = _whole(volume, "The whole field of view.")
    progress("region", 1.0)
    return region


def _whole(image: Volume, note: str) -> Region:
    everything = np.ones(image.shape, dtype=bool)
    return Region(image.with_array(everything, "whole field of view"), "whole", 1.0, note, describe(image, everything))
