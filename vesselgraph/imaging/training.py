"""Training of a classifier on a frozen encoder: one call that can be killed at any time and taken up again. Needs torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import RandGaussianNoised
from monai.transforms.spatial.dictionary import RandFlipd
from torch import Tensor

from vesselgraph.errors import ConfigError, InputError
from vesselgraph.imaging.adapting import adapted
from vesselgraph.imaging.cases import EMPTY, CaseList, ImageCase, read_case_list
from vesselgraph.imaging.decoder import pixel_loss
from vesselgraph.imaging.fitting import Fit, case_rng, fit_plugin
from vesselgraph.imaging.looking import Backbone, Looker, encode, load_backbone, summarise, tokens_of
from vesselgraph.imaging.losses import label_weights
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.scores import Values, score_table
from vesselgraph.imaging.weights import TaskCard, make_plugin, save_task
from vesselgraph.imaging_config import TrainClassifierConfig
from vesselgraph.io import read_mask
from vesselgraph.io.atomic import atomic_path
from vesselgraph.progress import Progress, silent
from vesselgraph.resampling import resample_like
from vesselgraph.training import make_run_folder, write_recipe
from vesselgraph.volume import Volume

WEIGHTS, SCORES, PREDICTIONS = "classifier.safetensors", "scores.csv", "predictions.csv"


@dataclass(frozen=True)
class ClassifierTraining:
    """What a training has come to.

    ``scores`` are those of the test split, else of validation, else out of nothing (empty); ``dropped`` the training cases that
    were left out of the final fit as too uncertain.
    """

    weights: Path
    n_parameters: int
    scores: dict[str, dict[str, float]]
    judged_on: str
    dropped: tuple[str, ...]


def train_classifier(
    config: TrainClassifierConfig,
    folder: str | Path,
    *,
    backbone: Backbone | None = None,
    progress: Progress = silent,
) -> ClassifierTraining:
    """Train a classifier, or go on with a training that was interrupted.

    What an epoch sees depends on the recipe and the epoch alone, so a run that was killed and taken up gives the same
    weights as one that was not, on the same machine with the same number of threads.

    Parameters
    ----------
    config : TrainClassifierConfig
        The recipe.
    folder : path
        Gets ``recipe.toml``, ``train.csv``, ``tensorboard/``, ``scores.csv``, ``predictions.csv``, ``features/`` (vectors of
        the bare encoder), ``checkpoint.pt`` and the weights ``classifier.safetensors`` with their card.
    backbone : Backbone, optional
        A loaded encoder; left out: the one the recipe names.
    progress : Progress
        Told what is done and the done fraction.

    Raises
    ------
    ConfigError
        No training case, a group of unknown labels, pixel supervision without adapters in blocks or without masks, or a
        folder with a run of another recipe.
    FormatError
        The manifest cannot be read or lacks a column.
    InputError
        An image cannot be used; the message names the case.
    CheckpointError
        The encoder's weights are missing or have another digest.
    OutputError
        The folder cannot be written.
    BackendUnavailableError
        TensorBoard is not installed.
    """
    folder = Path(folder)
    listed = read_case_list(config.manifest, config.labels)
    _check(config, listed)
    make_run_folder(folder)
    backbone = backbone or load_backbone(config)
    looker = Looker(backbone, config, folder / "features")
    write_recipe(config, folder)
    _look_at_all(looker, listed, progress)
    cases, dropped = listed.of("train"), tuple[str, ...]()
    if config.drop_fraction:
        cases, dropped = _without_doubtful(config, looker, listed, folder, progress)
    plugin = _fit(config, looker, listed, cases, folder, progress)
    _remember(looker, plugin, cases)
    judged_on = next((split for split in ("test", "validation") if listed.of(split)), "")
    scores = _judge(config, looker, plugin, listed, judged_on, folder) if judged_on else {}
    card = _card(config, backbone, listed, scores)
    save_task(plugin, card, folder / WEIGHTS)
    return ClassifierTraining(folder / WEIGHTS, plugin.n_trained(), scores, judged_on, dropped)


def predict_cases(looker: Looker, plugin: TaskPlugin, cases: Sequence[ImageCase]) -> tuple[Values, Values]:
    """Return probability and uncertainty of cases, (cases, labels) each."""
    p, u = (np.zeros((len(cases), len(plugin.labels))) for _ in range(2))
    plugin.eval()
    for number, case in enumerate(cases):
        with torch.no_grad():
            said = plugin.opinion(plugin(plugin.batch([looker.views(plugin, case.images)])).raw)
        p[number], u[number] = said.probability[0].cpu().numpy(), said.uncertainty[0].cpu().numpy()
    return p, u


def _check(config: TrainClassifierConfig, listed: CaseList) -> None:
    if not listed.of("train"):
        raise ConfigError("at least one case of the split train", "none", "fill the column split, or leave it out")
    strange = sorted({name for members in config.groups.values() for name in members} - set(listed.labels))
    if strange:
        raise ConfigError(f"groups of the labels {', '.join(listed.labels)}", ", ".join(strange), "correct `groups`")
    in_blocks = config.plugin.adapter != "none" and config.plugin.place == "blocks"
    if config.pixel_weight and not (in_blocks and any(case.mask for case in listed.of("train"))):
        raise ConfigError(
            "adapters in blocks and masks with pixel_weight",
            f"adapter {config.plugin.adapter} in {config.plugin.place}",
            "set plugin.adapter, and fill the column mask: only what is shared with the classifier can be taught so",
        )


def _look_at_all(looker: Looker, listed: CaseList, progress: Progress) -> None:
    """Encode every image once, so that a bad one is found before the work; also what the scaling is taken from."""
    for number, case in enumerate(listed.cases):
        progress(f"looking at {case.name}", 0.5 * number / len(listed.cases))
        for path in case.images.values():
            try:
                looker.bare(path)
            except InputError as error:
                raise type(error)(f"{error.expected} in case {case.name} ({path})", error.got, error.do) from error


def _fit(
    config: TrainClassifierConfig, looker: Looker, listed: CaseList, cases: list[ImageCase], folder: Path, progress: Progress
) -> TaskPlugin:
    plugin = make_plugin(looker.backbone, config, listed.labels, listed.views).to(config.device)
    for view, part in zip(plugin.view_names, plugin.views, strict=True):
        part.set_scaling([looker.bare(case.images[view]) for case in cases if view in case.images])  # type: ignore[operator]
    known = torch.tensor(np.stack([case.labels for case in cases]), dtype=torch.float32, device=config.device)
    examples = _Examples(looker, plugin, cases, config)
    fit = Fit(config, folder, label_weights(known, config.most_weight), known)
    return fit_plugin(plugin, fit, examples, progress=lambda text, share: progress(text, 0.5 + 0.5 * share))


def _remember(looker: Looker, plugin: TaskPlugin, cases: list[ImageCase]) -> None:
    """Let a fitted plugin learn what its training images look like, through its adapters where there are any."""
    seen = [looker.views(plugin, case.images) for case in cases]
    for view, part in zip(plugin.view_names, plugin.views, strict=True):
        tokens = [one[view].to(plugin.head.weight.device) for one in seen if one[view] is not None]  # type: ignore[union-attr]
        if tokens:
            part.set_familiarity(tokens)  # type: ignore[operator]


class _Examples:
    """The training cases of a fit: vectors of a batch, and the loss of the pixels where a mask was drawn."""

    def __init__(self, looker: Looker, plugin: TaskPlugin, cases: list[ImageCase], config: TrainClassifierConfig) -> None:
        self.looker, self.plugin, self.cases, self.config = looker, plugin, cases, config
        self._masks: dict[str, Tensor] = {}
        self._images: dict[str, Volume] = {}

    def __call__(self, chosen: Sequence[int], epoch: int) -> tuple[list[dict[str, Tensor | None]], Tensor | None]:
        """Return the vectors of the chosen cases by view, and the mean pixel loss if there is one."""
        views, losses = [], list[Tensor]()
        for number in chosen:
            found, loss = self._one(number, epoch)
            views.append(found)
            losses += [] if loss is None else [loss]
        return views, torch.stack(losses).mean() if losses else None

    def _one(self, number: int, epoch: int) -> tuple[dict[str, Tensor | None], Tensor | None]:
        case, plugin = self.cases[number], self.plugin
        if not any(plugin.adapters.values()):
            return self.looker.views(plugin, case.images), None
        rng, loss = case_rng(self.config, epoch, number), None
        found: dict[str, Tensor | None] = dict.fromkeys(plugin.view_names)
        for view, path in case.images.items():
            if path not in self._images:
                self._images[path] = self.looker.image(path)
            volume = self._images[path]
            mask = (
                self._mask(case, volume) if plugin.decoder is not None and case.mask and view == plugin.view_names[0] else None
            )
            volume, mask = changed(volume, mask, self.config, rng)
            with adapted(self.looker.backbone.encoder.network, plugin.adapters[view]):
                if mask is None or plugin.decoder is None:
                    found[view] = summarise(self.looker.backbone, volume)
                else:
                    encoded = encode(self.looker.backbone, volume)
                    found[view] = tokens_of(encoded)
                    loss = pixel_loss(plugin.decoder(encoded.maps[-1].data, volume.shape), mask)
        return found, loss

    def _mask(self, case: ImageCase, volume: Volume) -> Tensor:
        if case.mask == EMPTY:
            return torch.zeros(1, 1, *volume.shape, device=self.config.device)
        if case.mask not in self._masks:
            array = resample_like(read_mask(case.mask), volume, interpolation="nearest").array
            self._masks[case.mask] = torch.tensor(array.astype(np.float32), device=self.config.device)[None, None]
        return self._masks[case.mask]


def changed(
    volume: Volume, mask: Tensor | None, config: TrainClassifierConfig, rng: np.random.Generator
) -> tuple[Volume, Tensor | None]:
    """Return an image, and its mask, as a training step sees them: mirrored along the columns or not, with noise or without."""
    steps = Compose(
        [
            RandFlipd(("image", "mask"), prob=config.flip_fraction, spatial_axis=2, allow_missing_keys=True),
            RandGaussianNoised(("image",), prob=float(config.noise > 0), std=config.noise, sample_std=False),
        ]
    )
    steps.set_random_state(int(rng.integers(2**31)))
    # A copy: the array of a volume is read-only, which torch does not take.
    given: dict[str, Any] = {"image": np.array(volume.array, np.float32)[None]}
    if mask is not None:
        given["mask"] = mask[0]
    seen = steps(given)
    array = np.ascontiguousarray(np.asarray(seen["image"])[0], np.float32)
    return volume.with_array(array), None if mask is None else torch.as_tensor(seen["mask"])[None]


def _without_doubtful(
    config: TrainClassifierConfig, looker: Looker, listed: CaseList, folder: Path, progress: Progress
) -> tuple[list[ImageCase], tuple[str, ...]]:
    """Return the training cases without the most uncertain ones, judged by plugins that had not seen them."""
    cases = listed.of("train")
    if len(cases) < config.n_folds:
        raise ConfigError(f"at least {config.n_folds} training cases for the folds", f"{len(cases)}", "set n_folds lower")
    fold = np.random.default_rng([config.seed, 77]).permutation(len(cases)) % config.n_folds
    doubt = np.zeros(len(cases))
    for number in range(config.n_folds):
        learned = [case for case, one in zip(cases, fold, strict=True) if one != number]
        plugin = _fit(config, looker, listed, learned, folder / "folds" / str(number), progress)
        held = np.flatnonzero(fold == number)
        doubt[held] = predict_cases(looker, plugin, [cases[k] for k in held])[1].mean(1)
    n_dropped = math.floor(config.drop_fraction * len(cases))
    out = set(np.argsort(-doubt, kind="stable")[:n_dropped].tolist())
    return [case for k, case in enumerate(cases) if k not in out], tuple(cases[k].name for k in sorted(out))


def _judge(
    config: TrainClassifierConfig, looker: Looker, plugin: TaskPlugin, listed: CaseList, split: str, folder: Path
) -> dict[str, dict[str, float]]:
    cases = listed.of(split)
    p, u = predict_cases(looker, plugin, cases)
    scores = score_table(
        p, u, listed.known(split), listed.labels, config.groups, n_resamples=config.n_resamples, seed=config.seed
    )
    rows: list[list[Any]] = [
        [case.name, split, name, _number(case.labels[k]), f"{p[n, k]:.6f}", f"{u[n, k]:.6f}"]
        for n, case in enumerate(cases)
        for k, name in enumerate(listed.labels)
    ]
    write_rows(folder / PREDICTIONS, ["case", "split", "label", "truth", "probability", "uncertainty"], rows)
    columns = list(dict.fromkeys(key for row in scores.values() for key in row))
    table = [[name, *(_number(row.get(key, math.nan)) for key in columns)] for name, row in scores.items()]
    write_rows(folder / SCORES, ["label", *columns], table)
    return scores


def _card(config: TrainClassifierConfig, backbone: Backbone, listed: CaseList, scores: dict[str, dict[str, float]]) -> TaskCard:
    return TaskCard(
        labels=listed.labels,
        views=listed.views,
        encoder=backbone.name,
        encoder_digest=backbone.card_digest,
        weights_digest=backbone.weights_digest,
        n_cases={split: len(listed.of(split)) for split in ("train", "validation", "test")},
        recipe=config.model_dump(mode="json"),
        scores={
            name: {key: value if math.isfinite(value) else None for key, value in row.items()} for name, row in scores.items()
        },
    )


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV, all or nothing.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
