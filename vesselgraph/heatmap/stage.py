"""The heatmap stage: image in, centerline heat and radius estimate on the isotropic tracing grid out."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from vesselgraph.config import HeatmapConfig
from vesselgraph.errors import InputError, ShapeError
from vesselgraph.heatmap.boxes import box_around
from vesselgraph.heatmap.ridge import ridge_heat
from vesselgraph.progress import Progress, silent
from vesselgraph.resampling import isotropic_grid, resample
from vesselgraph.volume import Heatmap, PhaseSet, Volume, require_same_grid

_MIN_SIDE = 5

_LIVER_HU = (40.0, 200.0)
_MOST_SPREAD = 60.0
"""Median and robust deviation of an organ that the network may take for a liver: native to late portal, at most very noisy."""


_MOST_LEVELS = 16
_LEAST_BACKGROUND = 0.9
"""A drawing has two values, or at most so many if so much of it is exactly the lowest: masks smoothed along their border."""


def choose_method(config: HeatmapConfig, image: Volume | PhaseSet, organ: Volume | None) -> tuple[str, str]:
    """Return ``"mask"``, ``"ridge"`` or ``"network"``, and the reason in a sentence.

    "auto" takes an image for a mask where no scanner could have made it: only two values, or few values nearly all of which
    are exactly the lowest. It takes the network where that is known to see more: in an organ as bright and even as the liver
    on CT. Networks that learned livers find next to nothing in lungs, brains or images on another scale.

    Parameters
    ----------
    config : HeatmapConfig
        ``method``; for "auto" also ``step`` and ``polarity``, which the network does not follow.
    image : Volume or PhaseSet
        Its reference phase is looked at.
    organ : Volume or None
        bool on the image grid: the organ that was found or given; None for a whole field of view.

    Examples
    --------
    >>> from vesselgraph.space import Space
    >>> image = Volume(np.full((4, 4, 4), 110, np.int16), Space.axial())
    >>> choose_method(HeatmapConfig(), image, image.with_array(image.array > 0))[0]
    'network'
    >>> choose_method(HeatmapConfig(), image, None)
    ('ridge', 'No organ was found or given, and the network knows livers.')
    >>> drawn = image.with_array(np.eye(4)[:, :, None] * np.full(4, 255.0))
    >>> choose_method(HeatmapConfig(), drawn, None)
    ('mask', 'The image holds 2 values, 75 % of it the lowest: vessels that were drawn.')
    """
    if config.method != "auto":
        return config.method, "As asked for."
    if not isinstance(image, PhaseSet) and config.polarity == "bright":
        n_levels, background = _levels(image)
        if n_levels == 2 or (2 < n_levels <= _MOST_LEVELS and background >= _LEAST_BACKGROUND):
            return (
                "mask",
                f"The image holds {n_levels} values, {100 * background:.3g} % of it the lowest: vessels that were drawn.",
            )
    if organ is None:
        return "ridge", "No organ was found or given, and the network knows livers."
    if config.polarity == "dark" or config.step is not None:
        return "ridge", "The polarity or the step was set, which the network does not follow."
    values = (image.reference if isinstance(image, PhaseSet) else image).array[organ.array.astype(np.bool_)]
    if not values.size:
        return "ridge", "The organ is empty on the image's grid."
    low, middle, high = np.percentile(values, (16, 50, 84))
    spread = (high - low) / 2
    seen = f"The organ has a median of {middle:.0f} HU and a deviation of {spread:.0f} HU"
    if _LIVER_HU[0] <= middle <= _LIVER_HU[1] and spread <= _MOST_SPREAD:
        return "network", f"{seen}, as the liver has on CT."
    return "ridge", f"{seen}; the network knows livers, {_LIVER_HU[0]:.0f} to {_LIVER_HU[1]:.0f} +- {_MOST_SPREAD:.0f} HU."


def _levels(image: Volume) -> tuple[int, float]:
    """Return how many values an image holds (0: many) and which share of it is exactly the lowest."""
    low, high = image.array.min(), image.array.max()
    is_low = image.array == low
    background = float(is_low.mean())
    if low < high and (is_low | (image.array == high)).all():
        return 2, background
    # Sorted only if little is left to sort.
    return (len(np.unique(image.array[~is_low])) + 1 if background >= _LEAST_BACKGROUND else 0), background


def require_network(config: HeatmapConfig) -> None:
    """Check that weights and a backend that are asked for can be used, before work starts; nothing for the ridge filter.

    With ``method`` "auto" only weights that are named: those shipped are there.

    Raises
    ------
    CheckpointError
        They are missing, damaged, or of another kind.
    BackendUnavailableError
        openvino is asked for and not installed.
    """
    if config.backend == "openvino" and config.method in {"network", "auto"}:
        import_module("vesselgraph.heatmap.openvino_backend").require_openvino()
    if config.method == "network" or (config.method == "auto" and config.weights):
        # Loads torch and MONAI, which the ridge filter does without.
        import_module("vesselgraph.heatmap.weights").load_network(config.weights)


def predict_heatmap(
    image: Volume | PhaseSet,
    config: HeatmapConfig | None = None,
    *,
    region: Volume | None = None,
    organ: Volume | None = None,
    progress: Progress = silent,
) -> Heatmap:
    """Return the centerline heatmap of an image, by the ridge filter or by a trained network (:func:`choose_method`).

    The ridge filter takes every phase alone, and each voxel the hottest; a network sees all phases together. An image that is
    a mask itself ("mask") is passed on as one: 1 above its lowest value, on its own grid.

    Parameters
    ----------
    image : Volume or PhaseSet
        CT in HU, or any image with vessels brighter (``config.polarity``) than what is around them.
    config : HeatmapConfig, optional
        Method, grid step, radii, polarity, weights.
    region : Volume, optional
        bool on the image grid: where vessels are looked for; the whole image if left out.
    organ : Volume, optional
        bool on the image grid: the organ without the rim of the region. Answers outside of it count ``config.rim_weight``,
        so that only what clearly goes on outside is followed, and values brighter than in the organ are no vessels there.
    progress : Progress
        Called with the step and its done fraction.

    Returns
    -------
    heatmap : Heatmap
        On the isotropic tracing grid: its step is ``config.step_for`` of the image's spacing (a network:
        the step it was trained at); cropped to the box of the region. Heat in [0, 1], radius in mm, both 0 outside the region.
        A network also gives ``identity`` and ``features``.

    Raises
    ------
    ShapeError
        Fewer than five voxels along an axis of the tracing grid.
    SpaceMismatchError
        The region lies on another grid than the image.
    InputError
        The region holds no contrast, or several phases are to be taken for one mask.
    CheckpointError
        A network is asked for and its weights are missing or damaged.
    BackendUnavailableError
        A network is asked for on a device that is not there.

    Notes
    -----
    Deterministic. Memory is about 30 bytes per voxel of the box. A tube thinner than about one voxel in diameter is seen
    only through partial volume, and its radius is then overestimated.
    """
    config = config or HeatmapConfig()
    method = choose_method(config, image, organ)[0]
    if method == "mask":
        return _drawn(image)
    if method == "network":
        # Loads torch and MONAI, which the ridge filter does without.
        network = import_module("vesselgraph.heatmap.prediction")
        predicted: Heatmap = network.predict_with_network(image, config, region=region, organ=organ, progress=progress)
        return predicted
    phases = list(image.values()) if isinstance(image, PhaseSet) else [image]
    if region is not None:
        require_same_grid(region, phases[0], "the region")
        if organ is not None:
            require_same_grid(organ, phases[0], "the organ")
        box = box_around(region, config.max_radius)
        phases = [phase.crop(*box) for phase in phases]
        region = region.crop(*box)
        organ = region if organ is None else organ.crop(*box)
    step = config.step_for(phases[0].space.spacing.tolist())
    space, shape = isotropic_grid(phases[0], step)
    if min(shape) < _MIN_SIDE:
        raise ShapeError(
            f"at least {_MIN_SIDE} voxels of {step:g} mm along each axis", f"{shape}", "use a larger image or a smaller step"
        )
    inside = core = np.ones(shape, np.bool_)
    if region is not None and organ is not None:
        inside = resample(region, space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
        core = resample(organ, space, shape, interpolation="nearest", fill=0.0).array.astype(np.bool_)
    heat, radius = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for phase in phases:
        values = np.ascontiguousarray(resample(phase, space, shape).array, dtype=np.float32)
        phase_heat, phase_radius = ridge_heat(values, inside, core, step, config, progress)
        np.copyto(radius, phase_radius, where=phase_heat > heat)
        np.maximum(heat, phase_heat, out=heat)
    return Heatmap(Volume(heat, space, "heat"), Volume(radius, space, "radius"), "ridge")


def _drawn(image: Volume | PhaseSet) -> Heatmap:
    """Return an image that is a mask as the heatmap it is."""
    if isinstance(image, PhaseSet):
        raise InputError("one mask as the image", f"{len(image)} phases", "give one image, or set heatmap.method")
    vessels = image.array > image.array.min()
    if not vessels.any():
        raise InputError("a mask with some vessel", f"the constant value {image.array.flat[0]:g}", "check the file")
    return Heatmap(image.with_array(vessels.astype(np.float32), "heat"), source="mask")
