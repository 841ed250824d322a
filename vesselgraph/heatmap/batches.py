"""Which patches a training step sees: a function of the step alone, so that a run can be taken up anywhere.

Loaded only for training: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.encoders.encoded import Encoded
from vesselgraph.heatmap.cases import TrainingCase
from vesselgraph.heatmap.foundation import Context, Foundation, joined
from vesselgraph.heatmap.losses import NEAR, Truth
from vesselgraph.heatmap.network import normalise
from vesselgraph.heatmap.samples import Sample, draw_phases, draw_sample


class Batch(NamedTuple):
    """What one step sees: phases by name, (batch, 1, ...) normalised; the truth; and the maps of an encoder, if any."""

    phases: dict[str, Tensor]
    truth: Truth
    context: Sequence[Tensor]


_Key = tuple[str, int]

_ORDER, _BATCH, _SAMPLE = range(3)


class CaseSource(Protocol):
    """A numbered collection of cases; the same number always gives the same case."""

    def __len__(self) -> int:
        """Return the number of cases."""

    def case(self, index: int) -> TrainingCase:
        """Return one case; may take a while."""


class Batches(Dataset[Batch]):
    """The batch of every step.

    Patches come from a pool of cases; every ``n_steps_a_case`` steps the next case takes the place of the oldest. Which
    cases, where in them, which phases and which changes depend on ``config.seed``, the step and the rank only.

    Parameters
    ----------
    config : TrainHeatmapConfig
    generated, real : CaseSource
        At least one holds a case.
    rank : int
        Of this process among those that train together; each sees patches of its own.
    foundation : Foundation, optional
        Whose maps are read wherever a patch lies. The encoder sees the case as it is: of the changes of a patch, its place is
        followed, its intensities are not.
    """

    def __init__(
        self,
        config: TrainHeatmapConfig,
        generated: CaseSource,
        real: CaseSource,
        rank: int = 0,
        foundation: Foundation | None = None,
    ) -> None:
        self.config, self.rank, self.foundation = config, rank, foundation
        self.sources = {"generated": generated, "real": real}
        self._held: dict[_Key, TrainingCase] = {}
        self._seen: dict[tuple[_Key, str], Encoded] = {}

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.config.n_steps

    def __getitem__(self, step: int) -> Batch:
        """Return what one step sees."""
        config = self.config
        rng = np.random.default_rng([config.seed, _BATCH, step, self.rank])
        drawn = [self._draw_case(step, rng) for _ in range(config.batch)]
        cases = [self._held[key] for key in drawn]
        common = sorted(set.intersection(*(set(case.phases) for case in cases)))
        if common:
            shown = [draw_phases(common, config, rng)] * config.batch
        else:
            shown = [{"unknown": sorted(case.phases)[int(rng.integers(len(case.phases)))]} for case in cases]
        samples = [
            draw_sample(case, which, config, np.random.default_rng([config.seed, _SAMPLE, step, self.rank, slot]))
            for slot, (case, which) in enumerate(zip(cases, shown, strict=True))
        ]
        batch = collate(samples)
        if self.foundation is None:
            return batch
        sides = (config.patch,) * 3
        maps = [
            self._context(key, which).patch(sample.place.matrix, sample.place.first(config.patch), sides)
            for key, which, sample in zip(drawn, shown, samples, strict=True)
        ]
        return batch._replace(context=joined(maps))

    def _context(self, key: _Key, shown: Mapping[str, str]) -> Context:
        """Return the encoded phases of a case; they stay in memory as long as the case does."""
        assert self.foundation is not None
        self._seen = {one: seen for one, seen in self._seen.items() if one[0] in self._held}
        case = self._held[key]
        for phase in shown.values():
            if (key, phase) not in self._seen:
                self._seen[key, phase] = self.foundation.look(case.phases[phase].astype(np.float32), case.space)
        seen = tuple(self._seen[key, phase] for phase in sorted(shown.values()))
        return Context(seen, case.space, self.foundation.card.maps)

    def _draw_case(self, step: int, rng: np.random.Generator) -> _Key:
        real, generated = len(self.sources["real"]), len(self.sources["generated"])
        kind = "real" if real and (not generated or rng.random() < self.config.real_fraction) else "generated"
        pool = self._pool(kind, step)
        chosen = pool[int(rng.integers(len(pool)))]
        # Cases that left the pool are not needed again for a long time.
        self._held = {key: case for key, case in self._held.items() if key[0] != kind or key[1] in pool}
        if (kind, chosen) not in self._held:
            self._held[kind, chosen] = self.sources[kind].case(chosen)
        return kind, chosen

    def _pool(self, kind: str, step: int) -> list[int]:
        n = len(self.sources[kind])
        oldest = step // self.config.n_steps_a_case
        # Another order in every round over the cases.
        numbers = range(oldest, oldest + min(self.config.pool, n))
        orders = {
            turn: np.random.default_rng([self.config.seed, _ORDER, turn]).permutation(n) for turn in {i // n for i in numbers}
        }
        return [int(orders[i // n][i % n]) for i in numbers]


def collate(samples: list[Sample]) -> Batch:
    """Return samples with the same phases as one batch."""
    phases = {
        name: normalise(torch.from_numpy(np.stack([sample.phases[name] for sample in samples])[:, None]))
        for name in samples[0].phases
    }
    stacked: dict[str, list[Any]] = {
        "heat": [sample.target.heat[None] for sample in samples],
        "distance": [sample.target.distance[None] for sample in samples],
        "clarity": [sample.target.clarity[None] for sample in samples],
        "radius": [sample.target.radius[None] for sample in samples],
        "identity": [sample.target.tree_distance[1:] <= NEAR for sample in samples],
        "counts": [sample.counts[None] for sample in samples],
        "named": [np.full((1, 1, 1, 1), sample.named) for sample in samples],
    }
    truth = Truth(**{name: torch.from_numpy(np.stack(values).astype(np.float32)) for name, values in stacked.items()})
    return Batch(phases, truth, ())
