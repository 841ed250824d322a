"""Seeded liver CT with exact truth, and analytic shapes, for tests, benchmarks and the demo."""

from vesselgraph.phantom.build import Phantom, grid_of, make_phantom
from vesselgraph.phantom.raster import clean_mask
from vesselgraph.phantom.shapes import tube_graph, tube_phantom
from vesselgraph.phantom.study import (
    GENERATOR,
    Study,
    make_study,
    sample_study_config,
)

__all__ = [
    "GENERATOR",
    "Phantom",
    "Study",
    "clean_mask",
    "grid_of",
    "make_phantom",
    "make_study",
    "sample_study_config",
    "tube_graph",
    "tube_phantom",
]
