"""An endless, seeded, resumable stream of training patches cut from generated studies."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vesselgraph.config import StudyConfig, StudyRanges
from vesselgraph.errors import ConfigError
from vesselgraph.phantom.study.cache import StudyCache
from vesselgraph.phantom.study.make import make_study
from vesselgraph.phantom.study.sampling import sample_study_config
from vesselgraph.phantom.study.targets import TrainingVolume, training_volume


@dataclass(frozen=True)
class PhantomStream:
    """Patches of random studies; patch ``i`` depends on nothing but these settings and ``i``.

    Iterating starts at ``start`` and never ends: a run that was cut off goes on where it was with ``start`` set to the number
    of patches it has seen. Patches of ``mixed`` studies take turns, so that neighbours in the stream are not of one patient.

    Parameters
    ----------
    ranges : StudyRanges
        What the studies are drawn from.
    seed : int
        Another seed gives other studies; studies of two seeds never coincide.
    patch_shape : (3,)
        Voxels of a patch, at 1 mm.
    patches_per_study : int
        Patches cut from each study.
    mixed : int
        Studies that take turns; as many are kept in memory.
    start : int
        First patch, counted in this shard.
    shard : (index, count)
        Of several workers, this one takes every ``count``-th group of ``mixed`` studies.
    cache : StudyCache, optional
        Where studies are kept between runs.
    organ_fraction : float
        Share of the patches whose middle lies in the liver; the others lie anywhere.

    Examples
    --------
    >>> ranges = StudyRanges(shape=(32, 32, 32), n_portal_tips=(40, 60), n_hepatic_tips=(40, 60))
    >>> stream = PhantomStream(ranges, patch_shape=(24, 24, 24))
    >>> patch = next(iter(stream))
    >>> patch.heat(1.5).shape, sorted(patch.phases)[0]
    ((24, 24, 24), 'arterial')
    """

    ranges: StudyRanges
    seed: int = 0
    patch_shape: tuple[int, int, int] = (64, 64, 64)
    patches_per_study: int = 16
    mixed: int = 4
    start: int = 0
    shard: tuple[int, int] = (0, 1)
    cache: StudyCache | None = None
    organ_fraction: float = 0.85

    def __iter__(self) -> Iterator[TrainingVolume]:
        """Yield patches without end."""
        open_studies: OrderedDict[int, TrainingVolume] = OrderedDict()
        index = self.start
        while True:
            study, number = self.place_of(index)
            if study not in open_studies:
                open_studies[study] = self.volume(study)
                if len(open_studies) > self.mixed:
                    open_studies.popitem(last=False)
            yield self._cut(open_studies[study], study, number)
            index += 1

    def place_of(self, index: int) -> tuple[int, int]:
        """Return the study patch ``index`` of this shard is cut from, and its number among that study's patches."""
        group, within = divmod(index, self.mixed * self.patches_per_study)
        number, turn = divmod(within, self.mixed)
        return (group * self.shard[1] + self.shard[0]) * self.mixed + turn, number

    def config_of(self, study: int) -> StudyConfig:
        """Return the configuration of a study of this stream."""
        return sample_study_config(int(np.random.SeedSequence([self.seed, study]).generate_state(1)[0]), self.ranges)

    def volume(self, study: int) -> TrainingVolume:
        """Return a study of this stream with its targets, from the cache if it is there."""
        config = self.config_of(study)
        found = self.cache.get(config) if self.cache else None
        if found is not None:
            return found
        made = training_volume(make_study(config))
        if self.cache:
            self.cache.put(config, made)
        return made

    def _cut(self, volume: TrainingVolume, study: int, number: int) -> TrainingVolume:
        """Return patch ``number`` of a study."""
        room = np.array(volume.shape) - np.array(self.patch_shape)
        if room.min() < 0:
            raise ConfigError(f"patches no larger than a study of {volume.shape}", f"{self.patch_shape}", "lower patch_shape")
        rng = np.random.default_rng([self.seed, study, number])
        wants_organ = rng.random() < self.organ_fraction
        for _ in range(64):
            first = rng.integers(0, room + 1)
            middle = first + np.array(self.patch_shape) // 2
            if not wants_organ or volume.organ[tuple(middle)]:
                break
        return volume.crop((int(first[0]), int(first[1]), int(first[2])), self.patch_shape)
