"""Radii along branches: what a cross-section said where it could be trusted, carried to where it could not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.threads import run_parts
from vesselgraph.tracing.geometry import sample
from vesselgraph.volume import Volume

FloatArray = NDArray[np.float64]
Measure = Callable[[VesselGraph, Volume, FloatArray], FloatArray]

# Rings around the path in multiples of the radius looked for; the last ones are background.
RINGS = np.linspace(0.0, 2.5, 11)
N_ANGLES = 12
N_BACKGROUND = 3
HALF_WINDOW = 3
# A profile may correct the guess by these factors; a wider one has met another structure.
NARROWEST, WIDEST = 0.25, 1.4
# Where no profile is believed: the radius this share of the rays have fallen to their middle by, and at most this multiple of
# the widest vessel met at a junction.
_RAY_QUANTILE, _OF_NEIGHBOUR = 0.25, 1.2
_RAY_STEPS = 25
# Multiples of the radius at which the surroundings of a branch are read.
_SHELL = np.array([1.5, 2.0, 2.5])
_COS = np.cos(2.0 * np.pi * np.arange(N_ANGLES) / N_ANGLES)
_SIN = np.sin(2.0 * np.pi * np.arange(N_ANGLES) / N_ANGLES)


@njit(cache=True, nogil=True)
def _fill_and_smooth(radius, low, high, reach):  # type: ignore[no-untyped-def]
    """Fill NaN from the nearest known values of the branch and take a running median of ``2 reach + 1`` points."""
    known = -1
    for i in range(low, high):
        if not np.isnan(radius[i]):
            if known < 0:
                radius[low:i] = radius[i]
            else:
                for k in range(known + 1, i):
                    share = (k - known) / (i - known)
                    radius[k] = (1.0 - share) * radius[known] + share * radius[i]
            known = i
    if known < 0:
        return False
    radius[known + 1 : high] = radius[known]
    middle, window = np.empty(high - low), np.empty(2 * reach + 1)
    for i in range(high - low):
        middle[i] = _median_of(radius, max(low, low + i - reach), min(high, low + i + reach + 1), window)
    for i in range(high - low):
        total, begin, end = 0.0, max(0, i - 1), min(high - low, i + 2)
        for k in range(begin, end):
            total += middle[k]
        radius[low + i] = total / (end - begin)
    return True


@njit(cache=True, nogil=True)
def _median_of(values, begin, end, window):  # type: ignore[no-untyped-def]
    """Return the median of ``values[begin:end]``; ``window`` is scratch."""
    n = end - begin
    for i in range(n):
        j = i
        while j > 0 and window[j - 1] > values[begin + i]:
            window[j] = window[j - 1]
            j -= 1
        window[j] = values[begin + i]
    return 0.5 * (window[(n - 1) // 2] + window[n // 2])


@njit(cache=True, nogil=True)
def smooth_radii(section, scale, offset, from_mask):  # type: ignore[no-untyped-def]
    """Return one radius a path point, (M,) in voxels, > 0.

    From a mask, ``section`` holds measured radii with NaN near junctions; from heat, ``scale`` holds the estimate of the
    heatmap, 0 where there is none. A branch without any measurement falls back to ``scale``, at least half a voxel.
    """
    radius = np.empty(section.size)
    for e in range(offset.size - 1):
        low, high = offset[e], offset[e + 1]
        for i in range(low, high):
            value = section[i] if from_mask else scale[i]
            radius[i] = value if value > 0.0 else np.nan
        if not _fill_and_smooth(radius, low, high, 3):
            for i in range(low, high):
                radius[i] = max(scale[i], 0.5)
    return radius


def cross_axes(graph: VesselGraph) -> tuple[FloatArray, FloatArray]:
    """Return two unit vectors, (M, 3) each, that span the plane across the path at every point."""
    position, first_point, last_point = graph.path_position, graph.path_offset[:-1], graph.path_offset[1:] - 1
    tangent = np.gradient(position, axis=0)
    # The neighbour in the array of the end of a branch belongs to another branch.
    tangent[first_point] = position[first_point + 1] - position[first_point]
    tangent[last_point] = position[last_point] - position[last_point - 1]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    helper = np.eye(3)[np.argmin(np.abs(tangent), axis=1)]
    first = np.cross(tangent, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    return first, np.cross(tangent, first)


@njit(cache=True, nogil=True)
def ring_median(volume, points, first, second, i, reach, values):  # type: ignore[no-untyped-def]
    """Return the median of the volume on a circle around path point ``i``; ``values`` is scratch for the circle.

    ``first`` and ``second`` are what one mm across the path is in voxels, so that grids may be anisotropic.
    """
    for k in range(N_ANGLES):
        value = _across(volume, points, first, second, i, reach * _COS[k], reach * _SIN[k])
        j = k
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return 0.5 * (values[(N_ANGLES - 1) // 2] + values[N_ANGLES // 2])


@njit(cache=True, nogil=True)
def _across(volume, points, first, second, i, a, b):  # type: ignore[no-untyped-def]
    """Return the volume ``a`` and ``b`` mm to the sides of path point ``i``."""
    return sample(
        volume,
        points[i, 0] + a * first[i, 0] + b * second[i, 0],
        points[i, 1] + a * first[i, 1] + b * second[i, 1],
        points[i, 2] + a * first[i, 2] + b * second[i, 2],
    )


@njit(cache=True, nogil=True)
def half_width(profile, low, high, i, guess):  # type: ignore[no-untyped-def]
    """Return the radius at which the profile (rings, n) at point ``i`` falls half-way to the background; NaN if not believed.

    Negative if the axis is darker than the background. The profile is the mean over the points of the branch ``low:high`` next
    to ``i``.
    """
    window = min(HALF_WINDOW, (high - low - 1) // 2)
    start, stop = max(i - window, low), min(i + window + 1, high)
    axis, background = 0.0, 0.0
    for j in range(start, stop):
        axis += profile[0, j]
        for ring in range(profile.shape[0] - N_BACKGROUND, profile.shape[0]):
            background += profile[ring, j]
    axis, background = axis / (stop - start), background / (N_BACKGROUND * (stop - start))
    if axis == background:
        return np.nan
    before = 1.0
    for ring in range(1, profile.shape[0]):
        total = 0.0
        for j in range(start, stop):
            total += profile[ring, j]
        share = (total / (stop - start) - background) / (axis - background)
        if share < 0.5:
            width = guess * RINGS[1] * (ring - 1 + (before - 0.5) / (before - share))
            if not 0.0 < width <= WIDEST * guess:
                return np.nan
            return math.copysign(max(width, NARROWEST * guess), axis - background)
        before = share
    return np.nan


@njit(cache=True, nogil=True)
def _section_widths(begin, end, volume, points, first, second, offset, guess, width):  # type: ignore[no-untyped-def]
    """Fill the believed radius of the points of branches ``begin:end``."""
    values = np.zeros(N_ANGLES)
    for e in range(begin, end):
        low, high = offset[e], offset[e + 1]
        profile = np.zeros((RINGS.size, high - low))
        for i in range(low, high):
            profile[0, i - low] = _across(volume, points, first, second, i, 0.0, 0.0)
            for ring in range(1, RINGS.size):
                profile[ring, i - low] = ring_median(volume, points, first, second, i, RINGS[ring] * guess[i], values)
        for i in range(low, high):
            width[i] = half_width(profile, 0, high - low, i - low, guess[i])


@njit(cache=True, nogil=True)
def _fill_branches(measured, offset, radius, share):  # type: ignore[no-untyped-def]
    """Fill each branch with its measured radii, lines between them and their running mean; say which share was measured."""
    for e in range(offset.size - 1):
        low, high = offset[e], offset[e + 1]
        n = high - low
        known = -1
        count = 0
        width = np.zeros(n)
        for i in range(n):
            value = measured[low + i]
            if math.isnan(value):
                continue
            count += 1
            for k in range(known + 1, i):
                part = (k - known) / (i - known)
                width[k] = value if known < 0 else (1.0 - part) * width[known] + part * value
            width[i] = value
            known = i
        share[e] = count / n
        if count == 0:
            continue
        width[known + 1 :] = width[known]
        reach = min(HALF_WINDOW, (n - 1) // 2)
        for i in range(n):
            radius[low + i] = np.mean(width[max(i - reach, 0) : min(i + reach + 1, n)])


@njit(cache=True, nogil=True)
def _ray_widths(begin, end, chosen, volume, points, first, second, guess, width):  # type: ignore[no-untyped-def]
    """Fill the radius by which a share of the rays fell half-way to their least value, for the ``chosen[begin:end]``."""
    values, falls = np.zeros(_RAY_STEPS + 1), np.zeros(N_ANGLES)
    for i in chosen[begin:end]:
        for k in range(N_ANGLES):
            c, s = _COS[k], _SIN[k]
            for step in range(_RAY_STEPS + 1):
                reach = guess[i] * RINGS[-1] * step / _RAY_STEPS
                values[step] = _across(volume, points, first, second, i, reach * c, reach * s)
            middle = 0.5 * (values[0] + values.min())
            step = 1
            while step < _RAY_STEPS and values[step] > middle:
                step += 1
            falls[k] = guess[i] * RINGS[-1] * (step - 0.5) / _RAY_STEPS
        width[i] = np.sort(falls)[int(_RAY_QUANTILE * (N_ANGLES - 1))]


@njit(cache=True, nogil=True)
def _shell_medians(begin, end, volume, points, first, second, reach, contrast):  # type: ignore[no-untyped-def]
    """Fill the value on the path minus the median of the shell around it, for points ``begin:end``."""
    values = np.zeros(_SHELL.size * N_ANGLES)
    for i in range(begin, end):
        for r in range(_SHELL.size):
            for k in range(N_ANGLES):
                a, b = _SHELL[r] * reach[i] * _COS[k], _SHELL[r] * reach[i] * _SIN[k]
                values[r * N_ANGLES + k] = _across(volume, points, first, second, i, a, b)
        contrast[i] = _across(volume, points, first, second, i, 0.0, 0.0) - np.median(values)


def _in_voxels(graph: VesselGraph, image: Volume) -> tuple[NDArray[np.generic], FloatArray, FloatArray, FloatArray]:
    """Return the array, the path points in its voxels, and what one mm along two axes across the path is in voxels."""
    first, second = (axis @ image.space.direction / image.space.spacing for axis in cross_axes(graph))
    return np.ascontiguousarray(image.array), np.ascontiguousarray(image.space.to_index(graph.path_position)), first, second


def section_widths(graph: VesselGraph, image: Volume, guess: FloatArray) -> FloatArray:
    """Return the radius at which the image falls half-way to the background at each path point, (M,) mm; NaN if not believed.

    Negative where the path is darker than the background. The profile is the median over the circle, so that a bright
    neighbour on one side is not seen, and its mean over a few neighbours along the branch.

    Parameters
    ----------
    graph : VesselGraph
        Paths of M points.
    image : Volume
        What is sampled on circles around them.
    guess : (M,)
        Radii in mm that the circles are multiples of.
    """
    width = np.full(graph.n_points, np.nan)
    sampled = _in_voxels(graph, image)
    run_parts(lambda begin, end: _section_widths(begin, end, *sampled, graph.path_offset, guess, width), graph.n_edges)
    return width


def ring_contrast(graph: VesselGraph, image: Volume) -> FloatArray:
    """Return the image on the path minus the median of rings at 1.5, 2 and 2.5 radii (at least 1 mm) around it, (M,)."""
    contrast = np.zeros(graph.n_points)
    if graph.n_points:
        sampled = _in_voxels(graph, image)
        reach = np.fmax(graph.path_radius, 1.0)
        run_parts(lambda begin, end: _shell_medians(begin, end, *sampled, reach, contrast), graph.n_points)
    return contrast


def radii_from_image(graph: VesselGraph, image: Volume, *, measure: Measure = section_widths) -> VesselGraph:
    """Return the graph with radii where the image falls half-way from the vessel's axis to what is around it.

    Points whose profile does not fall to the middle close by take the radius of the nearest of their branch that do. A branch
    without any takes the least of its guess, of what the rays that fall first say, and of a little more than the widest
    measured radius at its ends: a radius that nobody measured is never large. A vessel narrower than the image's own blur
    shows the half-width of that blur, about a voxel.

    Parameters
    ----------
    graph : VesselGraph
        With a radius guess at every path point.
    image : Volume
        Bright vessels on darker ground or dark ones on brighter: what most points say. A point that says otherwise is no
        vessel's (between three veins the middle is dark) and is not measured.
    measure : function
        :func:`section_widths` or its twin on another device.

    Returns
    -------
    graph : VesselGraph
        Path column ``radius_measured`` (bool); edge column of the same name: the share of the branch's points.
    """
    guess = np.nan_to_num(graph.path_radius, nan=1.0)
    measured = _of_vessels(measure(graph, image, guess)) if graph.n_points else guess
    is_measured = np.isfinite(measured)
    radius, share = guess.copy(), np.zeros(graph.n_edges)
    _fill_branches(measured.astype(np.float64), graph.path_offset, radius, share)
    if (share == 0.0).any():
        radius = _bounded(graph, image, radius, share > 0.0)
    node = np.full(graph.n_nodes, np.nan)
    for end, point in ((0, graph.path_offset[:-1]), (1, graph.path_offset[1:] - 1)):
        np.fmax.at(node, graph.edge_nodes[:, end], radius[point])
    result = replace(graph, path_radius=radius, node_radius=node)
    return result.with_columns(path={"radius_measured": is_measured}, edge={"radius_measured": share})


def _of_vessels(signed: FloatArray) -> FloatArray:
    """Return the radii of the sign that most have, as positive numbers; NaN for the others."""
    sign = 1.0 if (signed > 0.0).sum() >= (signed < 0.0).sum() else -1.0
    return np.where(sign * signed > 0.0, sign * signed, np.nan)


def _bounded(graph: VesselGraph, image: Volume, radius: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Return the radii, those of branches that are not ``known`` held to what rays and neighbours allow."""
    rays = np.zeros(graph.n_points)
    chosen = np.flatnonzero(~known[graph.edge_of_point])
    sampled = _in_voxels(graph, image)
    run_parts(lambda begin, end: _ray_widths(begin, end, chosen, *sampled, radius, rays), len(chosen))
    widest = np.full(graph.n_nodes, -np.inf)
    for end, point in ((0, graph.path_offset[:-1]), (1, graph.path_offset[1:] - 1)):
        np.maximum.at(widest, graph.edge_nodes[known, end], radius[point[known]])
    met = widest[graph.edge_nodes].max(axis=1)
    limit = np.where(np.isfinite(met), _OF_NEIGHBOUR * met, np.inf)
    result = radius.copy()
    for e in np.flatnonzero(~known):
        low, high = graph.path_offset[e], graph.path_offset[e + 1]
        result[low:high] = min(float(np.median(np.minimum(radius[low:high], rays[low:high]))), limit[e])
    return result
