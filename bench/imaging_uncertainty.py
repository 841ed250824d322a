"""What uncertainty is worth: rejection, cases of another kind, and learning again without the doubtful ones.

Every score is shown beside its controls: closeness of the probability to one half, and chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from imaging_tasks import Array, Row, answers, fitted, run_tasks, seen, slice_stack, stacks, summarised, with_plugin
from scipy import ndimage
from torch import Tensor

from vesselgraph.imaging.scores import auc, auc_at, calibration_error, doubts, rejection_curve
from vesselgraph.imaging_config import TrainClassifierConfig

# Rejection: a region of coin flips, and cases of a kind never seen.


def doubtful(rng: np.random.Generator, n: int, kind: str, test: bool) -> tuple[list[Tensor], Array]:
    """Return vectors (one slice, 16 channels) and labels; some are coin flips, of another kind, or mislabelled."""
    x = rng.normal(size=(n, 16))
    label = (x[:, 0] + 0.5 * x[:, 1] > 0).astype(float)
    if kind == "coin flips":
        flip = x[:, 2] > 0.8
        label[flip] = rng.integers(2, size=int(flip.sum()))
    elif kind.startswith("other kind") and test:
        strange = rng.random(n) < 0.2
        x[strange] = 3.0 * x[strange] if kind == "other kind, far out" else 0.2 * x[strange] + 5.0 * np.eye(16)[15]
        label[strange] = rng.integers(2, size=int(strange.sum()))
    elif kind == "mislabelled" and not test:
        wrong = (x[:, 2] > 0.8) & (rng.random(n) < 0.8)
        label[wrong] = 0.0
    return list(torch.tensor(x[:, None], dtype=torch.float32)), label


def uncertainty(args: argparse.Namespace) -> list[Row]:
    n, n_epochs, rows = (40, 2, []) if args.small else (600, 60, [])
    for kind in ("coin flips", "other kind, between", "other kind, far out", "mislabelled"):
        for seed in args.seeds:
            rng = np.random.default_rng(seed)
            tokens, label = doubtful(rng, n, kind, test=False)
            seen, truth = doubtful(rng, 1000, kind, test=True)
            plugin = fitted(tokens, label, with_plugin(seed, n_epochs))
            p, u = answers(plugin, seen)
            common = {"trouble": kind, "seed": seed, "ECE": calibration_error(p, truth)}
            for order, doubt in doubts(p, u, seed).items():
                row = {"AURC": rejection_curve(p, truth, doubt).area, "AUC": auc(p, truth)}
                rows.append(common | {"order": order} | row | {"AUC, 25 % rejected": auc_at(p, truth, doubt, 0.75)})
    summarised(
        "Rejection by evidential uncertainty against its controls", rows, ["AURC", "AUC", "AUC, 25 % rejected", "ECE"], args
    )
    return rows


# Strange cases: of another kind than any learned from. Which score tells them?


def strange_vectors(rng: np.random.Generator, n: int, kind: str) -> tuple[list[Tensor], Array]:
    """Return vectors as :func:`doubtful` gives them, three in ten of another kind, and which these are."""
    x, strange = rng.normal(size=(n, 16)), rng.random(n) < 0.3
    if kind == "far out":
        x[strange] *= 3.0
    elif kind == "between the classes":
        x[strange] = 0.2 * x[strange] + 5.0 * np.eye(16)[15]
    else:
        x[strange, 5] += 3.0
    return list(torch.tensor(x[:, None], dtype=torch.float32)), strange.astype(float)


def strange_stacks(rng: np.random.Generator, n: int, n_slices: int, kind: str) -> list[Tensor]:
    """Return the vectors of stacks that are inverted, noisier or blurred, or as usual but for tissue 15 HU darker."""
    made = []
    for k in range(n):
        stack = slice_stack(rng, k % 2 > 0, False, n_slices)
        if kind == "stacks, inverted":
            stack = 100.0 - stack
        elif kind == "stacks, noise 25 HU":
            stack = stack + rng.normal(0.0, 25.0, stack.shape)
        elif kind == "stacks, blurred":
            stack = ndimage.gaussian_filter(stack, (0, 1.5, 1.5))
        else:
            stack = stack - 15.0
        made.append(seen(stack))
    return made


STRANGE_VECTORS = ("far out", "between the classes", "one channel shifted")
STRANGE_STACKS = ("stacks, inverted", "stacks, noise 25 HU", "stacks, blurred", "stacks, 15 HU darker")
Scorer = Callable[[list[Tensor]], dict[str, Array]]


def strangeness(args: argparse.Namespace) -> list[Row]:
    """Tell cases of another kind by each score; one more head and two stronger pulls are the other ideas tried."""
    n, n_epochs, rows = (40, 2, []) if args.small else (600, 60, [])
    n_stacks, n_slices = (12, 6) if args.small else (80, 12)
    for seed in args.seeds:
        rng, config = np.random.default_rng(seed), with_plugin(seed, n_epochs)
        score = scorer(*doubtful(rng, n, "as they are", test=False), config, rng)
        for kind in STRANGE_VECTORS:
            shown, is_strange = strange_vectors(rng, 1000, kind)
            rows += _judged(kind, seed, score(shown), is_strange)
        known, finding = stacks(seed, "2 slices", 2 * n_stacks, n_slices)
        score, usual = scorer(known[:n_stacks], finding[:n_stacks], config, rng), known[n_stacks:]
        for kind in STRANGE_STACKS:
            odd = strange_stacks(rng, n_stacks // 4, n_slices, kind)
            rows += _judged(kind, seed, score([*usual, *odd]), np.repeat([0.0, 1.0], [len(usual), len(odd)]))
    summarised("Telling cases of another kind", rows, ["AUROC"], args)
    return rows


def _judged(kind: str, seed: int, scores: dict[str, Array], is_strange: Array) -> list[Row]:
    return [
        {"other kind": kind, "score": name, "seed": seed, "AUROC": auc(values, is_strange)} for name, values in scores.items()
    ]


def scorer(learned: list[Tensor], truth: Array, config: TrainClassifierConfig, rng: np.random.Generator) -> Scorer:
    """Fit every way of doubting to the same cases; return what scores others by each."""
    plugin = fitted(learned, truth, config)
    part = plugin.views[0]
    part.set_familiarity(learned)  # type: ignore[operator]
    rising = {"n_pull_epochs": config.n_epochs}
    strict = {pull: fitted(learned, truth, config.model_copy(update={"pull": pull, **rising})) for pull in (1.0, 5.0)}
    heads = []
    for number in range(2):
        drawn = rng.integers(len(learned), size=len(learned))
        other = config.model_copy(update={"seed": config.seed + 100 * (number + 1)})
        heads.append(fitted([learned[k] for k in drawn], truth[drawn], other))

    def score(shown: list[Tensor]) -> dict[str, Array]:
        p, u = answers(plugin, shown)
        found = {"uncertainty": u, "closeness to 0.5": -np.abs(p - 0.5)}
        found |= {f"uncertainty, pull {pull:g} rising to the end": answers(one, shown)[1] for pull, one in strict.items()}
        found["two heads differ"] = np.abs(answers(heads[0], shown)[0] - answers(heads[1], shown)[0])
        means = torch.stack([part.scaled(one).mean(0) for one in shown])  # type: ignore[operator]
        distance = part.familiarity.distance(means)  # type: ignore[operator, union-attr]
        return found | {"strangeness": distance.double().numpy()}

    return score


def relearning(args: argparse.Namespace) -> list[Row]:
    """Leave the most doubtful out-of-fold training cases out: by uncertainty, by closeness to 0.5, and at random."""
    n, n_epochs, rows = (40, 2, []) if args.small else (600, 60, [])
    for kind in ("coin flips", "mislabelled"):
        for seed in args.seeds:
            rng = np.random.default_rng(seed)
            tokens, label = doubtful(rng, n, kind, test=False)
            seen, truth = doubtful(rng, 1000, kind, test=True)
            config, fold, said = with_plugin(seed, n_epochs), rng.permutation(n) % 5, np.zeros((2, n))
            for k in range(5):
                learned, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
                plugin = fitted([tokens[i] for i in learned], label[learned], config)
                said[:, held] = answers(plugin, [tokens[i] for i in held])
            orders = {name: -doubt for name, doubt in doubts(said[0], said[1], seed).items()}
            for arm, order in [("none", None), *orders.items()]:
                for share in (0.05, 0.15, 0.25) if order is not None else (0.0,):
                    kept = np.arange(n) if order is None else np.sort(np.argsort(order)[int(share * n) :])
                    p, _ = answers(fitted([tokens[i] for i in kept], label[kept], config), seen)
                    rows.append({"trouble": kind, "left out": arm, "share": share, "seed": seed, "AUC": auc(p, truth)})
    summarised("Learning again without the most uncertain cases", rows, ["AUC"], args)
    return rows


TASKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "uncertainty": uncertainty,
    "strangeness": strangeness,
    "relearning": relearning,
}


def main() -> None:
    run_tasks(TASKS, __doc__ or "", "imaging_uncertainty")


if __name__ == "__main__":
    main()
