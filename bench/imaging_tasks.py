"""Image classification on small tasks with a known answer: pooling, adapters, pixel supervision, pretraining.

Every arm of a task sees the same cases and the same schedule; where there is one, a setting is shown in which the newer method
should lose.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from harness import Clock, arguments, finish, print_table, spread
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from vesselgraph.config import SliceConfig
from vesselgraph.encoders import load_encoder, random_encoder
from vesselgraph.encoders.card import EncoderCard, InputCard, MapCard
from vesselgraph.encoders.loading import make_encoder
from vesselgraph.encoders.towers import run_chain
from vesselgraph.errors import CheckpointError
from vesselgraph.imaging.adapting import adapted
from vesselgraph.imaging.decoder import pixel_loss
from vesselgraph.imaging.fitting import Fit, fit_plugin
from vesselgraph.imaging.losses import label_weights
from vesselgraph.imaging.plugin import TaskPlugin
from vesselgraph.imaging.scores import auc
from vesselgraph.imaging_config import PluginConfig, TrainClassifierConfig
from vesselgraph.space import Space

Array = NDArray[np.float64]
Row = dict[str, Any]
QUICK = TrainClassifierConfig(n_epochs=60, batch=64, rate=3e-2, query_rate=0.12, adapter_rate=1e-2)


def fitted(tokens: Sequence[Tensor], label: Array, config: TrainClassifierConfig) -> TaskPlugin:
    """Return a plugin fitted to vectors (n, channels) of cases."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        plugin = TaskPlugin(tokens[0].shape[1], ("finding",), config.plugin)
    plugin.views[0].set_scaling(tokens)  # type: ignore[operator]
    known = torch.tensor(label[:, None], dtype=torch.float32)
    fit = Fit(config, None, label_weights(known, config.most_weight), known)
    return fit_plugin(plugin, fit, lambda chosen, _: ([{"": tokens[k]} for k in chosen], None))


def answers(plugin: TaskPlugin, tokens: Sequence[Tensor]) -> tuple[Array, Array]:
    """Return probability and uncertainty of cases, (n,) each."""
    with torch.no_grad():
        said = plugin.opinion(plugin(plugin.batch([{"": one} for one in tokens])).raw)
    return said.probability[:, 0].double().numpy(), said.uncertainty[:, 0].double().numpy()


def with_plugin(seed: int, n_epochs: int, **plugin: Any) -> TrainClassifierConfig:
    return QUICK.model_copy(update={"plugin": PluginConfig(**plugin), "seed": seed, "n_epochs": n_epochs})


# Pooling: a disk in 2 of 12 slices, against a slight brightening of all of them.


def slice_stack(rng: np.random.Generator, positive: bool, diffuse: bool, n_slices: int) -> Array:
    """Return slices of texture with rings; positives have disks in two slices, or are 6 HU brighter everywhere."""
    side = 64
    stack = 40.0 + 80.0 * ndimage.gaussian_filter(rng.normal(size=(n_slices, side, side)), (0, 2.0, 2.0))
    y, x = np.mgrid[:side, :side]
    disks = set(rng.choice(n_slices, 2, replace=False).tolist()) if positive and not diffuse else set()
    for k in range(n_slices):
        r = np.hypot(y - rng.uniform(14, 50), x - rng.uniform(14, 50))
        radius = rng.uniform(6, 10)
        stack[k] += 60.0 * ((r < radius) & ((r > radius - 2.0) | (k in disks)))
    return stack + (6.0 if positive and diffuse else 0.0)


@cache
def slice_encoder() -> Any:
    return load_encoder("efficientnet-lite0", config=SliceConfig(scale=2.0))


def seen(stack: Array) -> Tensor:
    """Return the vectors of a stack's slices, (n, 1280)."""
    with torch.no_grad():
        tokens: Tensor = slice_encoder().summaries(torch.tensor(stack, dtype=torch.float32)[None, None])[0]
    return tokens


@cache
def stacks(seed: int, evidence: str, n: int, n_slices: int) -> tuple[list[Tensor], Array]:
    """Return the vectors of ``n`` stacks, every second with the finding, and their labels."""
    rng = np.random.default_rng([seed, evidence == "2 slices"])
    label = (np.arange(n) % 2).astype(float)
    return [seen(slice_stack(rng, y > 0, evidence != "2 slices", n_slices)) for y in label], label


def pooling(args: argparse.Namespace) -> list[Row]:
    n, n_slices, n_epochs = (12, 6, 3) if args.small else (80, 12, 60)
    rows = []
    for evidence in ("2 slices", "all slices"):
        for seed in args.seeds:
            tokens, label = stacks(seed, evidence, 2 * n, n_slices)
            for kind in ("query", "query, as fast as the head", "mean", "max", "last"):
                config = with_plugin(seed, n_epochs, pooling=kind.partition(",")[0])
                if "fast" in kind:
                    config = config.model_copy(update={"query_rate": config.rate * tokens[0].shape[1] ** 0.5})
                plugin = fitted(tokens[:n], label[:n], config)
                p, _ = answers(plugin, tokens[n:])
                rows.append({"evidence in": evidence, "pooling": kind, "seed": seed, "AUC": auc(p, label[n:])})
    summarised("Pooling: EfficientNet-Lite0 (ImageNet) frozen, evidence in few or in all of 12 slices", rows, ["AUC"], args)
    return rows


# Adapters: each scanner turns the features its own way.


def mixed_contexts(rng: np.random.Generator, n: int, n_contexts: int) -> tuple[list[Tensor], Array]:
    """Return vectors of 8 slices in 32 channels whose meaning depends on a hidden context, and labels."""
    width, inner = 32, 8
    turns = rng.normal(size=(n_contexts, inner, inner))
    turns = np.linalg.qr(turns)[0]
    marks = rng.normal(size=(n_contexts, width - inner)) * 1.5
    context = rng.integers(n_contexts, size=n)
    hidden = rng.normal(size=(n, inner))
    label = (hidden[:, 0] > 0).astype(float)
    turned = np.einsum("nij,nj->ni", turns[context], hidden)
    whole = np.concatenate([turned, marks[context]], 1)
    tokens = whole[:, None] + 0.3 * rng.normal(size=(n, 8, width))
    return list(torch.tensor(tokens, dtype=torch.float32)), label


ARMS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "LoRA r8": {"adapter": "lora", "rank": 8},
    "LoRA r32": {"adapter": "lora", "rank": 32},
    "MoLRE 6 x r4": {"adapter": "molre", "rank": 4, "n_experts": 6},
}


def adapters(args: argparse.Namespace) -> list[Row]:
    n_epochs, rows = 2 if args.small else 60, []
    for contexts, n in ((6, 40),) if args.small else ((6, 600), (1, 600), (6, 60)):
        for seed in args.seeds:
            tokens, label = mixed_contexts(np.random.default_rng(seed), n + 400, contexts)
            for arm, settings in ARMS.items():
                plugin = fitted(tokens[:n], label[:n], with_plugin(seed, n_epochs, place="tokens", **settings))
                p, _ = answers(plugin, tokens[n:])
                row = {"contexts": contexts, "cases": n, "arm": arm, "seed": seed, "AUC": auc(p, label[n:])}
                rows.append(row | {"parameters": plugin.n_trained()})
    summarised("Adapters on the slices' vectors: hidden contexts that turn the features", rows, ["AUC"], args, ("parameters",))
    return rows


# Pixel supervision: a small disk among rings, adapters in the blocks of a small transformer.


def small_transformer(seed: int) -> Any:
    """Return a vision transformer of 3 layers with random weights as an encoder of slices."""
    settings = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    config = {"model": "CLIPVisionModel", "settings": {**settings, "image_size": 32, "patch_size": 4}, "reading": "tokens"}
    config |= {"taps": (2,), "patch": 4, "n_prefix": 1, "arguments": {"interpolate_pos_encoding": True}}
    card = EncoderCard(
        name="small-vit",
        title="three layers, random weights",
        kind="2d",
        source="this benchmark",
        licence="none",
        commercial_use="yes",
        builder="transformers",
        config=config,
        input=InputCard(low=0, high=100, mean=(0.5,) * 3, std=(0.25,) * 3, multiple=(1, 4, 4)),
        maps=(MapCard(name="layer 2", channels=48, stride=(1, 4, 4), offset=(0, 1.5, 1.5)),),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_encoder(card, SliceConfig(chunk=64))


def ringed(rng: np.random.Generator, positive: bool) -> tuple[Tensor, Tensor]:
    """Return 4 slices of 32 x 32 with a ring each, one of them a filled disk in positives, and the mask of the disk."""
    stack, mask = rng.normal(40.0, 8.0, (4, 32, 32)), np.zeros((4, 32, 32))
    y, x = np.mgrid[:32, :32]
    disk = int(rng.integers(4)) if positive else -1
    for k in range(4):
        r = np.hypot(y - rng.uniform(8, 24), x - rng.uniform(8, 24))
        stack[k] += 30.0 * ((r < 5.0) & ((r > 3.0) | (k == disk)))
        mask[k] = (r < 5.0) * (k == disk)
    return torch.tensor(stack, dtype=torch.float32)[None, None], torch.tensor(mask, dtype=torch.float32)[None, None]


def pixels(args: argparse.Namespace) -> list[Row]:
    n, n_test, n_epochs, rows = (8, 8, 1, []) if args.small else (80, 200, 25, [])
    for seed in args.seeds:
        rng = np.random.default_rng(seed)
        label = (np.arange(n + n_test) % 2).astype(float)
        cases = [ringed(rng, y > 0) for y in label]
        for weight in (0.0, 1.0):
            encoder = small_transformer(seed)
            config = with_plugin(seed, n_epochs, adapter="lora", rank=8).model_copy(
                update={"adapter_rate": 3e-3, "rate": 3e-3, "query_rate": 0.02, "batch": 16}
            )
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                plugin = TaskPlugin(48, ("disk",), config.plugin)
                plugin.add_adapters(encoder.network, encoder.card)
                if weight:
                    plugin.add_decoder(48, 16)
            config = config.model_copy(update={"pixel_weight": weight})
            p = fit_blocks(encoder, plugin, cases, label, n, config)
            rows.append({"pixels": "on" if weight else "off", "seed": seed, "AUC": auc(p, label[n:])})
    summarised("Pixel supervision: LoRA in the blocks of a small random transformer, 80 cases", rows, ["AUC"], args)
    return rows


def fit_blocks(
    encoder: Any,
    plugin: TaskPlugin,
    cases: Sequence[tuple[Tensor, Tensor]],
    label: Array,
    n: int,
    config: TrainClassifierConfig,
) -> Array:
    """Fit a plugin with adapters in blocks to the first cases; return the probabilities of the others."""
    space = Space.axial()

    def look(chosen: Sequence[int], _: int) -> tuple[list[dict[str, Tensor | None]], Tensor | None]:
        with adapted(encoder.network, plugin.adapters[""]):
            seen = encoder.encode(torch.cat([cases[k][0] for k in chosen]), [space] * len(chosen))
        loss = None
        if plugin.decoder is not None:
            masks = torch.cat([cases[k][1] for k in chosen])
            loss = pixel_loss(plugin.decoder(seen.maps[-1].data, (4, 32, 32)), masks)
        return [{"": one} for one in seen.tokens], loss

    known = torch.tensor(label[:n, None], dtype=torch.float32)
    fit_plugin(plugin, Fit(config, None, label_weights(known, config.most_weight), known), look)
    with torch.no_grad():
        tokens = [one[""] for k in range(n, len(cases), 20) for one in look(range(k, min(k + 20, len(cases))), 0)[0]]
    return answers(plugin, [one for one in tokens if one is not None])[0]


# Pretraining: does a bifurcation show in frozen features of a CT network?


def tube(rng: np.random.Generator, forks: bool, side: int) -> Array:
    """Return a noisy cube with a straight tube that forks or not; the one that does not is as much thicker as it needs."""
    grid = np.stack(np.mgrid[:side, :side, :side], -1) - (side - 1) / 2
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    local, radius = (grid + rng.uniform(-4, 4, 3)) @ axes, rng.uniform(2.0, 3.5)
    along, across, deep = local[..., 0], local[..., 1], local[..., 2]
    lean = np.tan(np.deg2rad(rng.uniform(25, 45)))
    upper = np.hypot(np.abs(across) - lean * np.maximum(along, 0.0), deep) < radius * 0.8
    trunk = np.hypot(across, deep) < radius
    forked = np.where(along < 0, trunk, upper)
    if not forks:
        # The same number of voxels in one straight tube.
        straight = np.hypot(across, deep)
        forked = straight < np.sort(straight.ravel())[int(forked.sum()) - 1]
    # Sharp edges: with blur the histogram would tell the larger surface of a fork.
    return np.where(forked, 180.0, 40.0) + rng.normal(0.0, 25.0, (side,) * 3)


def pretraining(args: argparse.Namespace) -> list[Row]:
    n, side = (8, 32) if args.small else (80, 48)
    try:
        trained = load_encoder("astra-resnet152")
    except CheckpointError as error:
        print(f"\nPretraining: skipped, {error}")
        return []
    rows = []
    nets = {"Astra": trained, "random": random_encoder("astra-resnet152", seed=0)}
    for seed in args.seeds:
        rng = np.random.default_rng(seed)
        label = (np.arange(n) % 2).astype(float)
        cubes = [tube(rng, y > 0, side) for y in label]
        half, found = n // 2, {"histogram": [torch.tensor(np.histogram(one, 20, (-50, 250))[0]).float()[None] for one in cubes]}
        for name, net in nets.items():
            found[name] = [stage_two(net, one, calibrate=name == "random") for one in cubes]
        for name, tokens in found.items():
            plugin = fitted(tokens[:half], label[:half], with_plugin(seed, 3 if args.small else 60, pooling="mean"))
            p, _ = answers(plugin, tokens[half:])
            rows.append({"features": name, "seed": seed, "AUC": auc(p, label[half:])})
    summarised("Forked against straight tubes of equal volume, frozen stage-2 features, mean over cells", rows, ["AUC"], args)
    return rows


def stage_two(net: Any, cube: Array, *, calibrate: bool) -> Tensor:
    """Return the cells (n, 512) of the second stage; random weights are normalised by the image itself, or nothing is left."""
    images = torch.tensor(cube, dtype=torch.float32)[None, None]
    scaled = (
        ((images - net.input.low) / (net.input.high - net.input.low))
        .clamp(0.0, 1.0)
        .expand(-1, net.input.n_channels, -1, -1, -1)
    )
    chain = net.card.config["chain"][:6]
    net.network.train(calibrate)
    with torch.no_grad():
        return run_chain(net.network, chain, ["layer2"], scaled)[0][0].flatten(1).T.mean(0, keepdim=True)


def summarised(
    title: str, rows: Sequence[Row], figures: Sequence[str], args: argparse.Namespace, extra: Sequence[str] = ()
) -> None:
    """Print mean and range over the seeds of each setting."""
    keys = [key for key in rows[0] if key not in {"seed", *figures, *extra, "AURC", "AUC", "ECE"}]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    table = [
        dict(zip(keys, values, strict=True))
        | {key: group[0][key] for key in extra}
        | {one: spread(group, one) for one in figures}
        for values, group in groups.items()
    ]
    print_table(f"{title} ({len(args.seeds)} seeds; mean, range)", table)


TASKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "pooling": pooling,
    "adapters": adapters,
    "pixels": pixels,
    "pretraining": pretraining,
}


def main() -> None:
    run_tasks(TASKS, __doc__ or "", "imaging_tasks")


def run_tasks(tasks: dict[str, Callable[[argparse.Namespace], list[Row]]], description: str, name: str) -> None:
    """Run the tasks the command line names, all by default."""
    args = arguments(
        description, more=lambda parser: parser.add_argument("--tasks", nargs="+", choices=list(tasks), default=list(tasks))
    )
    results = {}
    for task in args.tasks:
        with Clock() as clock:
            results[task] = {"rows": tasks[task](args)}
        results[task]["cpu_seconds"] = clock.cpu
        print(f"{task}: {clock.cpu:.0f} CPU s")
    finish(args, name, results)


if __name__ == "__main__":
    main()
