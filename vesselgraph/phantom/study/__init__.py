"""Multi-phase abdominal CT with exact truth, for training and for benchmarks."""

from vesselgraph.phantom.study.make import GENERATOR, Study, make_study, study_grid
from vesselgraph.phantom.study.sampling import sample_study_config

__all__ = ["GENERATOR", "Study", "make_study", "sample_study_config", "study_grid"]
