"""Region: where vessels are looked for, and how far that choice can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from vesselgraph.errors import RangeError, ShapeError
from vesselgraph.space import Rebuilt
from vesselgraph.volume import Volume


@dataclass(frozen=True, eq=False)
class Region(Rebuilt):
    """Where vessels are looked for.

    Parameters
    ----------
    mask : Volume
        Bool on the image grid, the rim of ``RegionConfig.margin`` included.
    organ : Volume
        Bool on the same grid, without the rim; the same as ``mask`` for the whole field of view.
    kind : {"liver", "given", "whole"}
        Estimated liver, a mask that was passed in, or the whole field of view.
    confidence : float
        In [0, 1]. Liver: share of the plausibility checks that passed clearly. Given: share of the mask that lies in the
        image. Whole: 1, since nothing was estimated.
    note : str
        What was done and why, in plain words, for reports.
    measurements : mapping of str to float
        Of the organ without its rim. ``volume_ml`` always; ``mean_hu`` and ``sd_hu`` on CT, ``mean_value`` and ``sd_value``
        on other images; more by kind.

    Raises
    ------
    ShapeError
        The mask is not bool.
    RangeError
        The mask is empty, or the confidence leaves [0, 1].
    """

    mask: Volume
    organ: Volume
    kind: Literal["liver", "given", "whole"]
    confidence: float
    note: str
    measurements: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.array.dtype.kind != "b":
            raise ShapeError("a bool region mask", f"dtype {self.mask.array.dtype}", "compare it with a threshold first")
        if not self.mask.array.any():
            raise RangeError("a region with at least one voxel", "an empty mask", "pass another mask")
        if not 0.0 <= self.confidence <= 1.0:
            raise RangeError("a confidence in [0, 1]", f"{self.confidence}", "clip it")
        frozen = {name: float(value) for name, value in self.measurements.items()}
        object.__setattr__(self, "measurements", MappingProxyType(frozen))
