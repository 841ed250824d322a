"""Stage 4: a vessel graph becomes a closed surface that can be printed, cut and measured."""

from __future__ import annotations

from vesselgraph.surface.build import build_surface
from vesselgraph.surface.check import SurfaceCheck, check_surface

__all__ = ["SurfaceCheck", "build_surface", "check_surface"]
