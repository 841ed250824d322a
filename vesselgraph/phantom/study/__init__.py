"""Multi-phase abdominal CT with exact truth, for training and for benchmarks."""

from vesselgraph.phantom.study.cache import StudyCache
from vesselgraph.phantom.study.make import Study, make_study, study_grid
from vesselgraph.phantom.study.sampling import sample_study_config
from vesselgraph.phantom.study.stream import PhantomStream
from vesselgraph.phantom.study.targets import TrainingVolume, training_volume

__all__ = [
    "PhantomStream",
    "Study",
    "StudyCache",
    "TrainingVolume",
    "make_study",
    "sample_study_config",
    "study_grid",
    "training_volume",
]
