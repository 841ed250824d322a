"""The settings of encoders, re-exported by ``vesselgraph.config``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vesselgraph.stage_config import StageConfig


class SliceConfig(StageConfig):
    """How a 2-D network looks at a volume."""

    policy: Literal["repeat", "windows", "neighbours"] = Field(
        "repeat",
        description="what the three channels show: the slice three times, three HU windows of it, or it and its neighbours",
    )
    windows: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] = Field(
        ((-1000.0, 1000.0), (-150.0, 250.0), (-1000.0, 400.0)),
        description="HU windows of the three channels when policy is windows: lowest and highest value of each",
    )
    scale: float = Field(1.0, gt=0.0, le=16.0, description="network pixels per voxel in the slice; > 1 gives finer maps")
    planes: Literal[1, 3] = Field(1, description="1: slices along the planes; 3: along all three axes, maps averaged")
    chunk: int = Field(8, ge=1, description="slices that go through the network at once; bounds memory, not the result")
    half: bool = Field(False, description="keep maps as float16: half the memory, 3 digits")
    attention: bool = Field(False, description="also return the attention of the class token; slower")


class TileConfig(StageConfig):
    """How a 3-D network goes through a volume that is too large for one look."""

    tile: int = Field(0, ge=0, description="side of the tiles, voxels; 0: the whole volume at once")
    margin: int = Field(32, ge=0, description="voxels around a tile that are seen but not kept")
