"""A trained network over an image: sliding window with Gaussian blending, only where the region is, in bounded memory.

Loaded only when the network is asked for: it needs torch and MONAI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from numpy.typing import NDArray

from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import BackendUnavailableError
from vesselgraph.heatmap.boxes import box_around
from vesselgraph.heatmap.foundation import Context, foundation_of
from vesselgraph.heatmap.network import TREES, HeatmapNetwork, Output, normalise
from vesselgraph.heatmap.ridge import foreign_to_organ, ridge_heat
from vesselgraph.heatmap.targets import LEARNED_AXES, Float32
from vesselgraph.heatmap.weights import load_network
from vesselgraph.progress import Progress, silent
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.volume import Heatmap, PhaseSet, Volume, oriented, require_same_grid

Float16 = NDArray[np.float16]

_CONTEXT = 16.0
"""Tissue around the region the network sees, mm."""

_FAINT = 0.01
"""Heat below this is 0: nothing was seen."""

_AT_ONCE = 2
"""Boxes predicted together: for a single small one PyTorch falls back to its slow convolution on a CPU."""

_N_SAID = 2 + len(TREES)

_Box = tuple[slice, slice, slice]

Engine = Callable[..., Output]
"""A network, or what runs one: normalised phases by name to their output."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What the network says on a whole grid.

    ``heat`` (planes, rows, columns) float32 in [0, 1]; ``radius`` float32 mm, 0 where heat is 0; ``identity`` (3, ...) float16,
    probability of each of :data:`~vesselgraph.heatmap.network.TREES` given that a vessel is there; ``features``
    (channels, ...) float16, the last decoder level.
    """

    heat: Float32
    radius: Float32
    identity: Float16
    features: Float16


def predict_with_network(
    image: Volume | PhaseSet,
    config: HeatmapConfig,
    *,
    region: Volume | None = None,
    organ: Volume | None = None,
    progress: Progress = silent,
) -> Heatmap:
    """Return the heatmap a trained network sees; see :func:`vesselgraph.heatmap.predict_heatmap` for the arguments.

    The grid is isotropic with the step the weights were trained at, whatever ``config.step`` says; its axes are those of the
    image nearest to head, back and left, so that the same patient is seen the same way in whatever order the file keeps the
    voxels. Phases named native, arterial, portal or delayed are told to the network by name, all others as unknown. The heat
    is the network's times the ridge filter's (of each phase alone, the hottest) to the power ``config.ridge_power``: two
    witnesses that err in different places.

    Raises
    ------
    CheckpointError
        There are no weights, or they are not what their card says; the same of the encoder they were trained with, if any.
    BackendUnavailableError
        The device is not there, or openvino is asked for and not installed.
    ConfigError
        openvino is asked for a network that sees an encoder, or on another device than the CPU.
    SpaceMismatchError
        The region or the organ lies on another grid than the image.
    """
    device = require_device(config.device)
    network, card = load_network(config.weights, device)
    engine = None
    if config.backend == "openvino":
        # Loads openvino, which PyTorch does without.
        engine = import_module("vesselgraph.heatmap.openvino_backend").OpenVinoNetwork(network)
    phases = dict(image) if isinstance(image, PhaseSet) else {"unknown": image}
    first = next(iter(phases.values()))
    if region is not None:
        require_same_grid(region, first, "the region")
        if organ is not None:
            require_same_grid(organ, first, "the organ")
        box = box_around(region, _CONTEXT)
        phases = {name: phase.crop(*box) for name, phase in phases.items()}
        region, first = region.crop(*box), first.crop(*box)
    # The network learned patients that lie one way: how the image was stored must not change what it sees.
    phases = {name: oriented(phase, LEARNED_AXES) for name, phase in phases.items()}
    space, shape = isotropic_grid(oriented(first, LEARNED_AXES), card.step)
    arrays = {name: np.asarray(resample(phase, space, shape).array, np.float32) for name, phase in phases.items()}
    inside = core = np.ones(shape, np.bool_)
    if region is not None:
        inside = core = resample(region, space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
        if organ is not None:
            core = resample(organ.crop(*box), space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
            inside = inside & ~foreign_to_organ(next(iter(arrays.values())), core, card.step, config)
    context = None
    if card.foundation is not None:
        progress("encoder", 0.0)
        foundation = foundation_of(card.foundation, config.encoder_weights, config.feature_folder, device)
        context = foundation.context(arrays, arrays, space)
    maps = predict_maps(
        network,
        arrays,
        inside,
        window=config.window,
        overlap_fraction=config.overlap_fraction,
        context=context,
        engine=engine,
        progress=progress,
    )
    heat = maps.heat * _ridge_share(arrays, inside, core, card.step, config, progress)
    heat *= np.where(core | (maps.radius >= config.rim_radius), np.float32(1.0), np.float32(config.rim_weight))
    return Heatmap(
        Volume(heat, space, "heat"),
        Volume(maps.radius * (heat > 0), space, "radius"),
        "network",
        identity=maps.identity,
        features=maps.features,
        weights=card.sha256,
    )


def _ridge_share(
    phases: Mapping[str, Float32],
    inside: NDArray[np.bool_],
    core: NDArray[np.bool_],
    step: float,
    config: HeatmapConfig,
    progress: Progress,
) -> Float32:
    """Return what the network's heat is multiplied by; it leaves the rim to the caller."""
    if config.ridge_power == 0.0:
        return np.ones(inside.shape, np.float32)
    even = config.model_copy(update={"rim_weight": 1.0})
    heats = [ridge_heat(np.ascontiguousarray(image), inside, core, step, even, progress)[0] for image in phases.values()]
    return np.asarray(np.maximum.reduce(heats) ** np.float32(config.ridge_power), np.float32)


def require_device(name: str) -> torch.device:
    """Return the device of a name, if it is there.

    Raises
    ------
    BackendUnavailableError
        PyTorch does not know the name, or has no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendUnavailableError(
            "a device PyTorch can use",
            f"{name!r} ({reason})",
            "set the device to cpu or install a PyTorch for it",
        ) from error
    return device


def predict_maps(
    network: HeatmapNetwork,
    phases: Mapping[str, Float32],
    inside: NDArray[np.bool_],
    *,
    window: int,
    overlap_fraction: float,
    context: Context | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Maps:
    """Return the maps of phases on one isotropic grid.

    Boxes of ``window`` voxels are predicted where ``inside`` holds a voxel that no other box has nearer to its middle; where
    boxes overlap, they are averaged with Gaussian weights (sigma an eighth of the side). Probabilities are averaged, and
    the log of the radius. Results are 0 outside of ``inside``.

    Parameters
    ----------
    network : HeatmapNetwork
        In its device and in evaluation mode.
    phases : mapping of phase name to (planes, rows, columns) float32
        HU, at least one.
    inside : same shape, bool
        Where the result is wanted.
    window : int
        Side of a box, rounded up to a multiple of ``network.multiple``.
    overlap_fraction : float
        Share of the side by which neighbouring boxes overlap.
    context : Context, optional
        What the encoder of the network sees; for networks trained with one.
    engine : callable, optional
        What answers in the network's place, for networks without an encoder: the same function, run by something else.
    progress : Progress
        Called per box.

    Notes
    -----
    Besides the results, memory is held for a slab one window thick.
    """
    shape = inside.shape
    sides = [_multiple(min(window, n), network.multiple) for n in shape]
    starts = [_starts(n, side, overlap_fraction) for n, side in zip(shape, sides, strict=True)]
    padded = [max(n, side) for n, side in zip(shape, sides, strict=True)]
    device = next(network.parameters()).device
    importance = compute_importance_map(tuple(sides), mode="gaussian", sigma_scale=0.125, device=device)
    n_channels = _N_SAID + network.widths[0]
    slab = torch.zeros((n_channels, sides[0], *padded[1:]), device=device)
    weight = torch.zeros((sides[0], *padded[1:]), device=device)
    maps = Maps(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros((len(TREES), *shape), np.float16),
        np.zeros((network.widths[0], *shape), np.float16),
    )
    cores = [_cores(start, side, n) for start, side, n in zip(starts, sides, shape, strict=True)]
    for i, first in enumerate(starts[0]):
        boxes = _wanted(inside[cores[0][i]], first, starts, cores, sides)
        for n in range(0, len(boxes), _AT_ONCE):
            progress("network", (i + n / len(boxes)) / len(starts[0]))
            some = boxes[n : n + _AT_ONCE]
            for box, said in zip(some, _predict_boxes(engine or network, phases, some, device, context), strict=True):
                slab[:, :, box[1], box[2]] += said * importance
                weight[:, box[1], box[2]] += importance
        following = starts[0][i + 1] if i + 1 < len(starts[0]) else first + sides[0]
        _write(maps, slab, weight, first, min(following, shape[0]), inside)
        _shift(slab, following - first, axis=1)
        _shift(weight, following - first, axis=0)
    progress("network", 1.0)
    return maps


def _multiple(side: int, of: int) -> int:
    return -(-side // of) * of


def _starts(n: int, side: int, overlap_fraction: float) -> list[int]:
    """Return where boxes start along one axis: evenly spread, the last one ending at the end."""
    if n <= side:
        return [0]
    n_boxes = int(np.ceil((n - side) / max(side * (1.0 - overlap_fraction), 1.0))) + 1
    return np.rint(np.linspace(0, n - side, n_boxes)).astype(int).tolist()


def _cores(starts: list[int], side: int, n: int) -> list[slice]:
    """Return the part of each box along one axis that is nearer to its middle than to that of any other box."""
    ends = [*((one + side + other) // 2 for one, other in pairwise(starts)), n]
    return [slice(first, last) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


def _wanted(
    inside: NDArray[np.bool_], first: int, starts: list[list[int]], cores: list[list[slice]], sides: list[int]
) -> list[_Box]:
    """Return the boxes of one layer whose cores, of which ``inside`` has the planes, hold a voxel of the region."""
    boxes = []
    for row, rows in zip(starts[1], cores[1], strict=True):
        for column, columns in zip(starts[2], cores[2], strict=True):
            if inside[:, rows, columns].any():
                corner = (first, row, column)
                box = tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))
                boxes.append((box[0], box[1], box[2]))
    return boxes


@torch.inference_mode()
def _predict_boxes(
    network: Engine,
    phases: Mapping[str, Float32],
    boxes: list[_Box],
    device: torch.device,
    context: Context | None = None,
) -> torch.Tensor:
    """Return (heat, log radius, identity, features) of boxes of one size, (boxes, channels, ...)."""
    tensors = {}
    for name, array in phases.items():
        stacked = torch.from_numpy(np.stack([_filled(array, box) for box in boxes])[:, None]).to(device)
        tensors[name] = normalise(stacked).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(device.type, enabled=device.type == "cuda"):
        if context is None:
            output = network(tensors)
        else:
            sides = [part.stop - part.start for part in boxes[0]]
            maps = context.boxes([[part.start for part in box] for box in boxes], sides)
            output = network(tensors, [one.to(device) for one in maps])
    parts = (output.heat.float().sigmoid(), output.log_radius, output.identity.float().sigmoid(), output.features)
    return torch.cat([part.float() for part in parts], dim=1)


def _filled(array: Float32, box: _Box) -> Float32:
    """Return the box of an array, continued with its last values where it leaves the array."""
    values = array[box]
    missing = [(0, part.stop - part.start - n) for part, n in zip(box, values.shape, strict=True)]
    return np.asarray(np.pad(values, missing, mode="edge"), np.float32)


def _write(maps: Maps, slab: torch.Tensor, weight: torch.Tensor, first: int, last: int, inside: NDArray[np.bool_]) -> None:
    """Write the planes from ``first`` up to ``last``, which no later box touches, into the maps."""
    rows, columns = inside.shape[1:]
    said = slab[:, : last - first, :rows, :columns] / weight[: last - first, :rows, :columns].clamp(min=1e-6)
    values = said.cpu().numpy()
    wanted = inside[first:last]
    heat = np.where(wanted & (values[0] >= _FAINT), np.minimum(values[0], 1.0), 0.0)
    maps.heat[first:last] = heat
    maps.radius[first:last] = np.where(heat > 0, np.exp(values[1]), 0.0)
    maps.identity[:, first:last] = values[2:_N_SAID] * wanted
    maps.features[:, first:last] = values[_N_SAID:] * wanted


def _shift(values: torch.Tensor, n: int, axis: int) -> None:
    """Move planes towards the start by ``n`` and put zeros behind them, in place."""
    length = values.shape[axis]
    kept = max(length - n, 0)
    if kept:
        values.narrow(axis, 0, kept).copy_(values.narrow(axis, n, kept).clone())
    values.narrow(axis, kept, length - kept).zero_()
