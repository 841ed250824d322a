"""Training of the learned pruner: graphs traced in generated studies, labelled and kept on disk, then one fit.

Loaded only for training. It knows the stages before the pruner, as :mod:`vesselgraph.pipeline` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PruneConfig, RegionConfig, TrainHeatmapConfig
from vesselgraph.edit import subset
from vesselgraph.encoders.source import FeatureSource, source_for
from vesselgraph.graph import VesselGraph
from vesselgraph.heatmap import predict_heatmap
from vesselgraph.heatmap.targets import clarity_of
from vesselgraph.io.atomic import atomic_path
from vesselgraph.metrics.matching import match_nearest_first, pairs_within
from vesselgraph.metrics.sampling import is_inside, sample_graph
from vesselgraph.phantom import GENERATOR, Study, make_study, sample_study_config
from vesselgraph.progress import Progress, silent
from vesselgraph.pruner_config import Shown, TrainPrunerConfig
from vesselgraph.pruning.branch_graph import build_branch_graph, mean_width
from vesselgraph.pruning.decision import decide, keep_like_rules, keep_present
from vesselgraph.pruning.features import MEASURED, piece_features
from vesselgraph.pruning.labels import label_pieces
from vesselgraph.pruning.learning import Fit, PrunerCase, calibration_error, fit_pruner
from vesselgraph.pruning.surroundings import measure_surroundings
from vesselgraph.pruning.traced_case import LAYOUT, TracedCase
from vesselgraph.pruning.weights import PrunerCard, save_pruner
from vesselgraph.region import region_from_mask
from vesselgraph.tracing import trace
from vesselgraph.training import CHECKPOINT, make_run_folder, write_recipe
from vesselgraph.training_config import StudyRanges
from vesselgraph.volume import PhaseSet

WEIGHTS, RELIABILITY = "pruner.safetensors", "reliability.png"

_STEP = 0.5

TOLERANCE = 2.0
"""Within which a found centerline is right, mm."""

_TRIED = tuple(np.arange(0.1, 0.801, 0.025).round(3).tolist())
"""Values of ``min_presence`` tried on the validation studies, rising."""


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
        Gets ``graphs/``, ``recipe.toml``, ``train.csv``, ``tensorboard/``, ``reliability.png`` and the weights
        ``pruner.safetensors`` with their card; ``checkpoint.pt`` while it is not finished. Graphs that are there and were made
        with the same settings are not made again, and a fit goes on after its last epoch, so a run that was killed gives the
        same weights (on one machine with one number of threads).
    kind : str
        See :func:`~vesselgraph.pruning.learning.make_model`.
    progress : Progress
        Told the study or epoch and the done fraction.

    Raises
    ------
    CheckpointError
        The weights of the heatmap network, or the checkpoint, are missing or damaged.
    ConfigError
        The folder holds an unfinished run of another recipe.
    OutputError
        The folder cannot be written.
    BackendUnavailableError
        TensorBoard is not installed.
    """
    folder = Path(folder)
    make_run_folder(folder, "graphs")
    write_recipe(config, folder)
    views, source = planned_studies(config), source_for(config.features)
    traced = []
    for n, view in enumerate(views):
        progress(f"study {view.seed}", 0.9 * n / len(views))
        traced.append(traced_study(view, config, folder / "graphs", source))
    graphs = [LabelledGraph.of(case, config) for case in traced]
    validation, training = graphs[: config.n_validation], graphs[config.n_validation :]
    learned_from, judged_on = ([graph.as_case(config.told) for graph in part] for part in (training, validation))
    fit = fit_pruner(
        learned_from, judged_on, config, kind=kind, folder=folder, progress=lambda step, done: progress(step, 0.9 + 0.1 * done)
    )
    scores, min_presence = judge_fit(fit, judged_on, validation)
    draw_reliability(fit, judged_on, folder / RELIABILITY)
    card = PrunerCard(
        model=kind,
        features=traced[0].features_of(config.told)[1],
        encoder=None if source is None else source.card,
        heat=config.heatmap.method,
        heat_weights=_heat_weights(config),
        temperature=fit.temperature,
        min_presence=min_presence,
        recipe=config.model_dump(mode="json", exclude_none=True),
        data=_told(config),
        not_trained_on="Real patients; other organs; masks and heatmaps of other tools or of other weights; MR.",
        scores=scores,
    )
    save_pruner(fit, card, folder / WEIGHTS)
    # What is finished has nothing to go on with; the graphs serve another recipe.
    (folder / CHECKPOINT).unlink()
    progress("done", 1.0)
    return PrunerTraining(folder / WEIGHTS, scores)


@dataclass(frozen=True)
class View:
    """A generated study and what is shown of it.

    Parameters
    ----------
    seed : int
        Of the study.
    ranges : StudyRanges
        What it is drawn from.
    shown : str
        A phase, "unknown" (the portal phase without its name) or "all".
    """

    seed: int
    ranges: StudyRanges
    shown: Shown

    @property
    def phase(self) -> str:
        """The phase the truth and the contrast are measured in."""
        return "portal" if self.shown in {"all", "unknown"} else self.shown


def planned_studies(config: TrainPrunerConfig) -> list[View]:
    """Return the studies to choose on, ``n_validation`` of them, and then those to learn from."""
    first, whole, views = config.first_seed, config.first_whole_seed, config.views
    chosen = [View(seed, config.studies, views[0]) for seed in range(first - config.n_validation, first)]
    learned = [View(first + n, config.studies, views[n % len(views)]) for n in range(config.n_studies)]
    return chosen + learned + [View(whole + n, config.whole, views[n % len(views)]) for n in range(config.n_whole)]


def traced_study(view: View, config: TrainPrunerConfig, folder: Path, source: FeatureSource | None = None) -> TracedCase:
    """Return the traced graph of one study, from ``folder`` if it was made before with the same settings.

    ``source`` is the encoder of ``config.features``; left out, it is loaded where it is needed.

    Raises
    ------
    CheckpointError
        The weights of the heatmap network are missing or damaged.
    """
    settings = sample_study_config(view.seed, view.ranges)
    if view.shown != "all":
        settings = settings.model_copy(update={"phases": (view.phase,), "reference": view.phase})
    path = folder / f"{view.seed}-{_key(settings.digest(), view, config)}.npz"
    if path.exists():
        return TracedCase.load(path)
    study = make_study(settings)
    image = study.phases[view.phase]
    shown = image if view.shown == "unknown" else PhaseSet(dict(study.phases))
    region = region_from_mask(study.organ_mask, image, RegionConfig())
    heatmap = predict_heatmap(shown, config.heatmap, region=region.mask, organ=region.organ)
    graph = trace(heatmap, config.trace, image=image, region=region.mask)
    branches = build_branch_graph(graph, config.piece_length)
    source = source or source_for(config.features)
    encoded = None if source is None else source.look(image)
    measured = [*MEASURED, *(["network"] if heatmap.features is not None else []), *(["encoder"] if encoded else [])]
    surroundings = measure_surroundings(image, region.organ, heatmap, encoded=encoded)
    features, names = piece_features(branches, surroundings, measured)
    truth = seen_truth(study, view)
    made = TracedCase(branches.pieces, truth, region.mask, features, names, branches.link, branches.relation)
    made.save(path)
    return made


def seen_truth(study: Study, view: View) -> VesselGraph:
    """Return all true vessels where the view shows them, with the edge column ``clarity``: how clearly its best phase does."""
    truth, ramps = study.graph_in(view.phase), TrainHeatmapConfig()
    phases = list(study.phases) if view.shown == "all" else [view.phase]
    visibility = np.max([np.abs(truth.edge_data[f"visibility_{phase}"]) for phase in phases], axis=0)
    clarity = clarity_of(mean_width(truth), visibility, ramps.clear_radius, ramps.clear_visibility)
    return truth.with_columns(edge={"clarity": clarity})


@dataclass(frozen=True, eq=False)
class LabelledGraph:
    """A traced graph with the verdict of the truth.

    Attributes
    ----------
    case : TracedCase
        Pieces and features.
    truth : VesselGraph
        The true vessels that count, with the edge columns ``clarity`` and ``sure`` (bool).
    presence : (P,) float32
        The labels of the pieces.
    wanted : float
        Length of the sure truth in the region, mm.
    """

    case: TracedCase
    truth: VesselGraph
    presence: NDArray[np.float32]
    wanted: float

    @classmethod
    def of(cls, case: TracedCase, config: TrainPrunerConfig) -> LabelledGraph:
        """Return a traced graph with its labels: what counts as true is as the settings say."""
        clarity = case.truth.edge_data["clarity"]
        marked = case.truth.with_columns(edge={"sure": clarity >= config.sure_clarity})
        truth, _ = subset(marked, edges=clarity >= config.least_clarity, drop_isolated=True)
        samples = sample_graph(subset(truth, edges=truth.edge_data["sure"])[0], _STEP)
        wanted = float(is_inside(case.region, samples.position).sum()) * _STEP
        return cls(case, truth, label_pieces(case.pieces, truth), wanted)

    def as_case(self, groups: Sequence[str]) -> PrunerCase:
        """Return what the fit needs."""
        case, length = self.case, self.case.pieces.edge_length.astype(np.float32)
        return PrunerCase(case.features_of(groups)[0], case.link, case.relation, self.presence, length)

    def scores(self, keep: NDArray[np.bool_]) -> tuple[float, float, float]:
        """Return precision, recall and F1 at 2 mm in the region if these pieces are kept.

        Points are paired one to one; those on truth that is not sure do not count.
        """
        ours = sample_graph(subset(self.case.pieces, edges=keep)[0], _STEP).position
        sure = self.truth.edge_data["sure"]
        parts = [sample_graph(subset(self.truth, edges=which)[0], _STEP).position for which in (sure, ~sure)]
        parts = [part[is_inside(self.case.region, part)] if len(part) else part for part in parts]
        partner = match_nearest_first(pairs_within(ours, np.concatenate(parts), TOLERANCE))
        hit = int(((partner >= 0) & (partner < len(parts[0]))).sum())
        doubtful = int((partner >= len(parts[0])).sum())
        precision, recall = hit / max(len(ours) - doubtful, 1), hit / max(len(parts[0]), 1)
        return precision, recall, 2.0 * precision * recall / max(precision + recall, 1e-9)


def judge_fit(fit: Fit, cases: Sequence[PrunerCase], graphs: Sequence[LabelledGraph]) -> tuple[dict[str, float], float]:
    """Return the figures of a fit on cases, and the ``min_presence`` that goes with it.

    The lowest at which what is kept is as precise at 2 mm, on the mean of the cases, as what the rules keep: more than they
    find, nothing that they would not dare. The threshold of the best F1 on generated studies would be lower; but observers draw
    less in a patient than is clear in a generated study, which the default of the rules allows for.
    """
    said = [fit.presence(case) for case in cases]
    config = PruneConfig()
    rules = _mean_scores(
        graphs, [decide(g.case.pieces, g.case.pieces.path_data["heat"], config, config.min_heat).keep for g in graphs]
    )
    chosen = _TRIED[-1]
    for threshold in _TRIED:
        kept = [keep_present(g.case.pieces, p, config, threshold).keep for g, p in zip(graphs, said, strict=True)]
        chosen = threshold
        if _mean_scores(graphs, kept)[0] >= rules[0]:
            break
    scores = _mean_scores(
        graphs, [keep_like_rules(g.case.pieces, p, config, chosen).keep for g, p in zip(graphs, said, strict=True)]
    )
    presence, length = (np.concatenate([getattr(case, name) for case in cases]) for name in ("presence", "length"))
    flat = np.concatenate(said)
    figures = {
        "precision": scores[0],
        "recall": scores[1],
        "f1": scores[2],
        "f1_rules": rules[2],
        "f1_unpruned": _mean_scores(graphs, [np.ones(g.case.pieces.n_edges, np.bool_) for g in graphs])[2],
        "average_precision": average_precision(flat, presence, length),
        "calibration_error": calibration_error(flat, presence, length)[0],
        "calibration_error_before": calibration_error(_uncalibrated(flat, fit), presence, length)[0],
    }
    return {name: float(value) for name, value in figures.items()}, chosen


def _mean_scores(graphs: Sequence[LabelledGraph], kept: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    return np.mean([graph.scores(keep) for graph, keep in zip(graphs, kept, strict=True)], axis=0)


def average_precision(presence: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating]) -> float:
    """Return the area under the curve of precision over recall, by weight; the truth is 0 to 1.

    Examples
    --------
    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([1.0, 0.0, 1.0]), np.ones(3)).__round__(3)
    0.833
    """
    order = np.argsort(-presence, kind="stable")
    true, size = truth[order], weight[order]
    hits = np.cumsum(true * size)
    if not len(hits) or hits[-1] <= 0:
        return float("nan")
    return float(np.sum(hits / np.cumsum(size) * true * size) / hits[-1])


def draw_reliability(fit: Fit, cases: Sequence[PrunerCase], path: Path) -> None:
    """Draw how often pieces said to be real with some probability are, before and after calibration."""
    from matplotlib.figure import Figure

    truth, weight = (np.concatenate([getattr(case, name) for case in cases]) for name in ("presence", "length"))
    said = np.concatenate([fit.presence(case) for case in cases])
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


def _told(config: TrainPrunerConfig) -> str:
    """Return in words what a pruner learned from."""
    first, whole = config.first_seed, config.first_whole_seed
    told = f"Graphs traced in {config.n_studies} generated studies of parts of the liver, seeds {first} to "
    told += f"{first + config.n_studies - 1}"
    if config.n_whole:
        told += f", and {config.n_whole} of whole livers, seeds {whole} to {whole + config.n_whole - 1}"
    told += f"; shown in turn: {', '.join(config.views)}. Chosen and calibrated on {config.n_validation} more, from seed "
    return f"{told}{first - config.n_validation}."


def _key(study: str, view: View, config: TrainPrunerConfig) -> str:
    """Return a digest of everything a traced case depends on."""
    parts = {
        "study": [study, GENERATOR, LAYOUT, view.shown, config.piece_length],
        "heat": [config.heatmap.digest(), _heat_weights(config)],
        "trace": config.trace.digest(),
    }
    if config.features.use != "cnn":
        # With or instead of the network's maps: what is measured is the same.
        parts["features"] = config.features.model_copy(update={"use": "both"}).digest()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _heat_weights(config: TrainPrunerConfig) -> str:
    """Return the SHA-256 of the heatmap network's weights; empty for the ridge filter."""
    if config.heatmap.method != "network":
        return ""
    # Loads torch and MONAI, which graphs of the ridge filter do without.
    return str(import_module("vesselgraph.heatmap.weights").load_network(config.heatmap.weights)[1].sha256)
