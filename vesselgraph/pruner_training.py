"""Training of the learned pruner: graphs traced in generated studies, labelled and kept on disk, then one fit.

Loaded only for training. It knows the stages before the pruner, as :mod:`vesselgraph.pipeline` does.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig, RegionConfig
from vesselgraph.edit import subset
from vesselgraph.errors import CheckpointError, ConfigError, OutputError
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.io.atomic import atomic_path
from vesselgraph.metrics.sampling import is_inside, sample_graph
from vesselgraph.phantom import GENERATOR, make_study, sample_study_config
from vesselgraph.progress import Progress, silent
from vesselgraph.pruner_config import TrainPrunerConfig
from vesselgraph.pruning.branch_graph import build_branch_graph, mean_width
from vesselgraph.pruning.features import GROUPS, piece_features
from vesselgraph.pruning.labels import Labels, label_pieces
from vesselgraph.pruning.learning import Fit, PrunerCase, calibration_error, fit_pruner
from vesselgraph.pruning.presence import keep_present
from vesselgraph.pruning.surroundings import measure_surroundings
from vesselgraph.pruning.traced_case import LAYOUT, TracedCase
from vesselgraph.pruning.weights import PrunerCard, save_pruner
from vesselgraph.region import region_from_mask
from vesselgraph.tracing import trace

WEIGHTS, RECIPE, CURVE, RELIABILITY = "pruner.safetensors", "recipe.toml", "train.csv", "reliability.png"

_STEP = 0.5

_TRIED = tuple(round(0.2 + 0.05 * k, 2) for k in range(13))
"""Values of ``min_presence`` tried on the validation studies."""


@dataclass(frozen=True)
class PrunerTraining:
    """What a training has come to: the weights file and the figures on the validation studies."""

    weights: Path
    scores: dict[str, float]


def train_pruner(
    config: TrainPrunerConfig, folder: str | Path, *, kind: str = "attention", progress: Progress = silent
) -> PrunerTraining:
    """Train a pruner on generated studies.

    Parameters
    ----------
    config : TrainPrunerConfig
        The recipe.
    folder : path
        Gets ``graphs/``, ``recipe.toml``, ``train.csv``, ``reliability.png`` and the weights ``pruner.safetensors`` with their
        card. Graphs that are there and were made with the same settings are not made again, so a run that was killed goes
        on where it stopped and gives the same weights (on one machine with one number of threads).
    kind : str
        See :func:`~vesselgraph.pruning.learning.make_model`.
    progress : Progress
        Told the study or epoch and the done fraction.

    Raises
    ------
    ConfigError
        The studies do not have the phase.
    CheckpointError
        The weights of the heatmap network are missing or damaged.
    OutputError
        The folder cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / "graphs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"to write into {folder}", error.strerror or str(error), "check the path and its rights") from error
    with atomic_path(folder / RECIPE) as temporary:
        temporary.write_text(config.to_toml(), encoding="utf-8")
    seeds = range(config.first_seed - config.n_validation, config.first_seed + config.n_studies)
    traced = []
    for n, seed in enumerate(seeds):
        progress(f"study {seed}", 0.9 * n / len(seeds))
        traced.append(traced_study(seed, config, folder / "graphs"))
    graphs = [LabelledGraph.of(case, config) for case in traced]
    validation, training = graphs[: config.n_validation], graphs[config.n_validation :]
    learned_from, judged_on = ([graph.as_case(config.groups) for graph in part] for part in (training, validation))
    fit = fit_pruner(learned_from, judged_on, config, kind=kind, progress=lambda step, done: progress(step, 0.9 + 0.1 * done))
    scores, min_presence = judge_fit(fit, judged_on, validation)
    _write_curve(fit, folder / CURVE)
    draw_reliability(fit, judged_on, folder / RELIABILITY)
    card = PrunerCard(
        model=kind,
        features=traced[0].features_of(config.groups)[1],
        heat=config.heatmap.method,
        temperature=fit.temperature,
        min_presence=min_presence,
        recipe=config.model_dump(mode="json", exclude_none=True),
        data=f"Graphs traced in the {config.phase} phase of {config.n_studies} generated studies of the liver, seeds "
        f"{config.first_seed} to {seeds[-1]}; chosen and calibrated on {config.n_validation} more, from seed {seeds[0]}.",
        not_trained_on="Real patients; other organs; other phases; masks and heatmaps of other tools; MR.",
        scores=scores,
    )
    save_pruner(fit, card, folder / WEIGHTS)
    progress("done", 1.0)
    return PrunerTraining(folder / WEIGHTS, scores)


def traced_study(seed: int, config: TrainPrunerConfig, folder: Path) -> TracedCase:
    """Return the traced graph of one study, from ``folder`` if it was made before with the same settings.

    Raises
    ------
    ConfigError
        The studies do not have the phase.
    """
    if config.phase not in ("native", "arterial", "portal", "delayed"):
        raise ConfigError("a phase of native, arterial, portal, delayed", repr(config.phase), "set phase")
    settings = sample_study_config(seed, config.studies)
    settings = settings.model_copy(update={"phases": (config.phase,), "reference": config.phase})
    path = folder / f"{seed}-{_key(settings.digest(), config)}.npz"
    if path.exists():
        return TracedCase.load(path)
    study = make_study(settings)
    image = study.phases[config.phase]
    region = region_from_mask(study.organ_mask, image, RegionConfig())
    heatmap = predict_heatmap(image, config.heatmap, region=region.mask, organ=region.organ)
    graph = trace(heatmap, config.trace, image=image, region=region.mask)
    branches = build_branch_graph(graph, config.piece_length)
    measured = GROUPS if heatmap.features is not None else GROUPS[:-1]
    features, names = piece_features(branches, measure_surroundings(image, region.organ, heatmap), measured)
    made = TracedCase(branches.pieces, study.graph, region.mask, features, names, branches.link, branches.relation)
    made.save(path)
    return made


@dataclass(frozen=True, eq=False)
class LabelledGraph:
    """A traced graph with the verdict of the truth.

    Attributes
    ----------
    case : TracedCase
        Pieces and features.
    truth : VesselGraph
        The true vessels that count, with the edge columns ``tree`` and ``sure`` (bool).
    labels : Labels
        Of the pieces.
    wanted : float
        Length of the sure truth in the region, mm.
    """

    case: TracedCase
    truth: VesselGraph
    labels: Labels
    wanted: float

    @classmethod
    def of(cls, case: TracedCase, config: TrainPrunerConfig) -> LabelledGraph:
        """Return a traced graph with its labels: what counts as true is as the settings say."""
        visibility, radius = case.truth.edge_data[f"visibility_{config.phase}"], mean_width(case.truth)
        there = (visibility >= config.least_visibility) & (radius >= config.least_radius)
        sure = (visibility >= config.sure_visibility) & (radius >= config.sure_radius)
        truth, _ = subset(case.truth.with_columns(edge={"sure": sure}), edges=there, drop_isolated=True)
        labels = label_pieces(case.pieces, truth, truth.edge_data["sure"])
        samples = sample_graph(subset(truth, edges=truth.edge_data["sure"])[0], _STEP)
        return cls(case, truth, labels, float(is_inside(case.region, samples.position).sum()) * _STEP)

    def as_case(self, groups: Sequence[str]) -> PrunerCase:
        """Return what the fit needs."""
        case, labels = self.case, self.labels
        length = case.pieces.edge_length.astype(np.float32)
        return PrunerCase(case.features_of(groups)[0], case.link, case.relation, labels.presence, labels.tree, length)

    def f1(self, keep: NDArray[np.bool_]) -> float:
        """Return F1 by length if these pieces are kept; what lies on truth that is not sure is left out."""
        length, labels = self.case.pieces.edge_length, self.labels
        hit = float((length * labels.share)[keep].sum())
        counted = float((length * (1.0 - labels.doubtful))[keep].sum())
        return 2.0 * hit / max(counted + self.wanted, 1e-9)


def judge_fit(fit: Fit, cases: Sequence[PrunerCase], graphs: Sequence[LabelledGraph]) -> tuple[dict[str, float], float]:
    """Return the figures of a fit on cases, and the ``min_presence`` that gives the best mean F1.

    F1 is by length: of the kept pieces the share that lies on the truth, and of the sure truth the share that is found;
    stretches on truth that is not sure are left out.
    """
    probability = [fit.probabilities(case).astype(np.float64) for case in cases]
    config = PruneConfig()
    mean = {}
    for threshold in _TRIED:
        kept = [
            keep_present(graph.case.pieces, p[:, 0], config, threshold)[0] for graph, p in zip(graphs, probability, strict=True)
        ]
        mean[threshold] = float(np.mean([graph.f1(keep) for graph, keep in zip(graphs, kept, strict=True)]))
    best = max(mean, key=lambda threshold: mean[threshold])
    everything = float(np.mean([graph.f1(np.ones(graph.case.pieces.n_edges, np.bool_)) for graph in graphs]))
    flat = {name: np.concatenate([getattr(case, name) for case in cases]) for name in ("presence", "length", "tree")}
    said = np.concatenate(probability)
    named = flat["tree"] > 0
    right = said[named, 1:].argmax(axis=1) + 1 == flat["tree"][named]
    scores = {
        "f1": mean[best],
        "f1_unpruned": everything,
        "average_precision": average_precision(said[:, 0], flat["presence"], flat["length"]),
        "calibration_error": calibration_error(said[:, 0], flat["presence"], flat["length"])[0],
        "calibration_error_before": calibration_error(_uncalibrated(said[:, 0], fit), flat["presence"], flat["length"])[0],
        "identity_by_piece": float(np.average(right, weights=flat["length"][named])) if named.any() else float("nan"),
    }
    return scores, best


def average_precision(presence: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating]) -> float:
    """Return the area under the curve of precision over recall, by weight; pieces whose truth is NaN are left out.

    Examples
    --------
    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([1.0, 0.0, 1.0]), np.ones(3)).__round__(3)
    0.833
    """
    known = np.isfinite(truth)
    order = np.argsort(-presence[known], kind="stable")
    true, size = truth[known][order], weight[known][order]
    hits = np.cumsum(true * size)
    if not len(hits) or hits[-1] <= 0:
        return float("nan")
    return float(np.sum(hits / np.cumsum(size) * true * size) / hits[-1])


def draw_reliability(fit: Fit, cases: Sequence[PrunerCase], path: Path) -> None:
    """Draw how often pieces said to be real with some probability are, before and after calibration."""
    from matplotlib.figure import Figure

    truth, weight = (np.concatenate([getattr(case, name) for case in cases]) for name in ("presence", "length"))
    said = np.concatenate([fit.probabilities(case)[:, 0] for case in cases]).astype(np.float64)
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, values in (("before", _uncalibrated(said, fit)), ("after", said)):
        error, table = calibration_error(values, truth, weight, n_bins=10)
        axes.plot([row["said"] for row in table], [row["true"] for row in table], "o-", label=f"{name}: error {error:.3f}")
    axes.set(xlabel="presence said", ylabel="share real, by length", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left", title="calibration")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _uncalibrated(presence: NDArray[np.float64], fit: Fit) -> NDArray[np.float64]:
    inner = np.clip(presence, 1e-7, 1 - 1e-7)
    return np.asarray(1.0 / (1.0 + np.exp(-fit.temperature * np.log(inner / (1.0 - inner)))))


def _key(study: str, config: TrainPrunerConfig) -> str:
    """Return a digest of everything a traced case depends on."""
    parts = {
        "study": [study, GENERATOR, LAYOUT, config.phase, config.piece_length],
        "heat": [config.heatmap.digest(), _digest(config.heatmap.weights) if config.heatmap.method == "network" else ""],
        "trace": config.trace.digest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _digest(weights: str) -> str:
    try:
        return hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"expected weights of the heatmap network; got {error.strerror} at {weights!r}; name them in heatmap.weights"
        ) from error


def _write_curve(fit: Fit, path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(fit.curve[0]))
        writer.writeheader()
        writer.writerows(fit.curve)
