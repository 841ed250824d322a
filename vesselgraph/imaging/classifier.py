"""A trained classifier: one encoder in memory, any number of tasks on it. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vesselgraph.errors import CheckpointError, InputError
from vesselgraph.imaging.adapting import adapted
from vesselgraph.imaging.heat import HeatKind, heat_of
from vesselgraph.imaging.looking import Backbone, load_backbone, prepared, summarise
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.weights import TaskCard, load_task, read_task_card
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.volume import Volume

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one task says of one case.

    Parameters
    ----------
    task : str
    labels : tuple of str
    probability, uncertainty, belief, disbelief : (labels,)
        ``belief + disbelief + uncertainty = 1``; see :class:`~vesselgraph.subjective_logic.Opinion`.
    strangeness : float
        Share of held-out training images that are less strange than this case, 0 to 1; NaN where there were too few.
        Uncertainty does not tell images of another kind; this does.
    slice_weights : mapping of view to (n,)
        How much each slice (each cell, for 3-D encoders) counted.
    view_weights : (views,)
    heat : mapping of view to Volume
        In [0, 1] on the grid the encoder was shown; empty if none was asked for.
    heat_label : str
        The label the heat belongs to.
    shown : mapping of view to Volume
        The images as the encoder was shown them; empty if no heat was asked for.
    """

    task: str
    labels: tuple[str, ...]
    probability: Values
    uncertainty: Values
    belief: Values
    disbelief: Values
    strangeness: float
    slice_weights: Mapping[str, Values]
    view_weights: Values
    heat: Mapping[str, Volume]
    heat_label: str
    shown: Mapping[str, Volume]


class Classifier:
    """An encoder with tasks on it. Adding one leaves the answers of the others as they are, bit for bit.

    Parameters
    ----------
    backbone : Backbone
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._tasks: dict[str, tuple[TaskPlugin, TrainClassifierConfig]] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self._tasks)

    @property
    def first_view(self) -> str:
        """Name of the first view of the first task; what single images are taken for."""
        return next(plugin.view_names[0] for plugin, _ in self._tasks.values())

    def add(self, name: str, plugin: TaskPlugin, config: TrainClassifierConfig) -> None:
        """Add a task under a name of its own.

        Raises
        ------
        InputError
            The name is taken.
        """
        if name in self._tasks:
            raise InputError(f"a name other than {', '.join(self._tasks)}", repr(name), "rename the weights file")
        self._tasks[name] = plugin.eval(), config

    def load(self, path: str | Path) -> TaskCard:
        """Add the task of a weights file, named after it; return its card.

        Raises
        ------
        CheckpointError
            The file is missing or damaged, or was trained on another encoder.
        """
        plugin, card, config = load_task(path, self.backbone)
        self.add(Path(path).stem, plugin, config)
        return card

    def classify(
        self,
        images: Volume | Mapping[str, Volume],
        task: str = "",
        *,
        heat: HeatKind | None = None,
        heat_label: str = "",
    ) -> Prediction:
        """Return what one task says of a case.

        Parameters
        ----------
        images : Volume, or mapping of view to Volume
            In the encoder's unit (HU for CT). Of several views some may be missing.
        task : str
            Empty: the only one.
        heat : {"auto", "attention", "gradient"}, optional
            Also return where the answer comes from.
        heat_label : str
            The label it is asked for; empty: the most probable one.

        Raises
        ------
        InputError
            There is no such task, view or label, or no image.
        RangeError
            An image holds values that are not finite, or nothing.
        """
        name, plugin, config = self._find(task)
        given = images if isinstance(images, Mapping) else {plugin.view_names[0]: images}
        unknown = sorted(set(given) - set(plugin.view_names))
        if unknown or not given or (heat_label and heat_label not in plugin.labels):
            raise InputError(
                f"images of the views {plugin.view_names} and a label of {plugin.labels}",
                f"views {sorted(given)}, label {heat_label!r}",
                "name those the task was trained on",
            )
        shown = {view: prepared(volume, config, self.backbone) for view, volume in given.items()}
        tokens: dict[str, Tensor | None] = {}
        for view in plugin.view_names:
            tokens[view] = self._look(plugin, view, shown[view]) if view in shown else None
        with torch.no_grad():
            answer = plugin(plugin.batch([tokens]))
            said = plugin.opinion(answer.raw)
        parts = [_plain(part[0]) for part in said]
        label = plugin.labels.index(heat_label) if heat_label else int(parts[0].argmax())
        found = {}
        if heat is not None:
            for view, volume in shown.items():
                with adapted(self.backbone.encoder.network, plugin.adapters[view]):
                    found[view] = heat_of(self.backbone, plugin, tokens, view, volume, kind=heat, label=label)
        weights = {view: _plain(answer.slice_weights[view][0]) for view in shown}
        return Prediction(
            task=name,
            labels=plugin.labels,
            probability=parts[0],
            uncertainty=parts[1],
            belief=parts[2],
            disbelief=parts[3],
            strangeness=plugin.strangeness(tokens),
            slice_weights=weights,
            view_weights=_plain(answer.view_weights[0]),
            heat=found,
            heat_label=plugin.labels[label],
            shown=shown if found else {},
        )

    def _look(self, plugin: TaskPlugin, view: str, volume: Volume) -> Tensor:
        with torch.no_grad(), adapted(self.backbone.encoder.network, plugin.adapters[view]):
            return summarise(self.backbone, volume)

    def _find(self, task: str) -> tuple[str, TaskPlugin, TrainClassifierConfig]:
        if not task and len(self._tasks) == 1:
            task = next(iter(self._tasks))
        if task not in self._tasks:
            raise InputError(f"a task of {', '.join(self._tasks) or '(none)'}", repr(task), "load it, or name one")
        return task, *self._tasks[task]


def load_classifier(paths: Sequence[str | Path], *, encoder_weights: str | Path | None = None, sha256: str = "") -> Classifier:
    """Return a classifier with the tasks of one or more weights files, all of one encoder, which is loaded once.

    Parameters
    ----------
    paths : sequence of path
        Weights of tasks, with their cards beside them.
    encoder_weights : path, optional
        Where the encoder's weights are here; left out: where they were when the task was trained.
    sha256 : str
        Their digest, where the encoder's card pins none.

    Raises
    ------
    CheckpointError
        A file is missing, damaged, or of another encoder than the first.
    """
    if not paths:
        raise CheckpointError(
            "the weights of at least one task",
            "none",
            "name a file",
        )
    config = TrainClassifierConfig.build(read_task_card(paths[0]).recipe)
    if encoder_weights is not None:
        config = config.model_copy(update={"weights": str(encoder_weights), "sha256": sha256 or config.sha256})
    made = Classifier(load_backbone(config))
    for path in paths:
        made.load(path)
    return made


def _plain(values: Tensor) -> Values:
    return np.asarray(values.detach().cpu().numpy(), np.float64)
