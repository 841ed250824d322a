"""Radii along branches: what a cross-section said where it could be trusted, carried to where it could not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vesselgraph.graph import VesselGraph
from vesselgraph.tracing.geometry import sample_path
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
    copy = radius[low:high].copy()
    for i in range(high - low):
        radius[low + i] = np.median(copy[max(0, i - reach) : min(high - low, i + reach + 1)])
    copy = radius[low:high].copy()
    for i in range(high - low):
        radius[low + i] = np.mean(copy[max(0, i - 1) : min(high - low, i + 2)])
    return True


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


def ring_values(graph: VesselGraph, image: Volume, reach: FloatArray) -> FloatArray:
    """Return the image on circles of radius ``reach`` (M,) mm around the path points, (angles, M)."""
    array = np.ascontiguousarray(image.array, dtype=np.float32)
    first, second = cross_axes(graph)
    values = np.zeros((N_ANGLES, graph.n_points))
    for k in range(N_ANGLES):
        angle = 2.0 * np.pi * k / N_ANGLES
        where = graph.path_position + reach[:, None] * (np.cos(angle) * first + np.sin(angle) * second)
        sample_path(array, image.space.to_index(where), values[k])
    return values


def section_widths(graph: VesselGraph, image: Volume, guess: FloatArray) -> FloatArray:
    """Return the radius at which the image falls half-way to the background at each path point, (M,) mm; NaN if not believed.

    Parameters
    ----------
    graph : VesselGraph
        Paths of M points.
    image : Volume
        What is sampled on circles around them.
    guess : (M,)
        Radii in mm that the circles are multiples of.
    """
    # The median over the circle does not see a bright neighbour on one side.
    profile = np.stack([np.median(ring_values(graph, image, factor * guess), axis=0) for factor in RINGS])
    width = np.full(len(guess), np.nan)
    for low, high in zip(graph.path_offset[:-1], graph.path_offset[1:], strict=True):
        width[low:high] = _half_width(_running_mean(profile[:, low:high], _window(high - low)), guess[low:high])
    return width


def radii_from_image(graph: VesselGraph, image: Volume, *, measure: Measure = section_widths) -> VesselGraph:
    """Return the graph with radii where the image falls half-way from the vessel's axis to what is around it.

    Profiles across the path are the median over the circle, averaged along a few neighbours, so that neither noise nor a
    neighbour on one side decides. Points whose profile does not fall to the middle close by take the radius of the nearest
    that do; a branch without any keeps its guess. A vessel narrower than the image's own blur shows the half-width of that
    blur, about a voxel.

    Parameters
    ----------
    graph : VesselGraph
        With a radius guess at every path point.
    image : Volume
        Bright vessels on darker ground, or the other way round.
    measure : function
        :func:`section_widths` or its twin on another device.
    """
    guess = np.nan_to_num(graph.path_radius, nan=1.0)
    measured = measure(graph, image, guess)
    radius = guess.copy()
    for low, high in zip(graph.path_offset[:-1], graph.path_offset[1:], strict=True):
        width = measured[low:high]
        known = np.flatnonzero(np.isfinite(width))
        if len(known):
            width = np.interp(np.arange(high - low), known, width[known])
            radius[low:high] = _running_mean(width[None, :], _window(high - low))[0]
    node = np.full(graph.n_nodes, np.nan)
    for end, point in ((0, graph.path_offset[:-1]), (1, graph.path_offset[1:] - 1)):
        np.fmax.at(node, graph.edge_nodes[:, end], radius[point])
    return replace(graph, path_radius=radius, node_radius=node)


def _window(n_points: int) -> int:
    """Return how many neighbours on each side a point of a branch is averaged with."""
    return min(HALF_WINDOW, (n_points - 1) // 2)


def _running_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the mean over ``2 window + 1`` neighbours along the last axis; fewer at the ends."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    n = values.shape[1]
    low, high = np.maximum(np.arange(n) - window, 0), np.minimum(np.arange(n) + window + 1, n)
    return np.asarray((total[:, high] - total[:, low]) / (high - low))


def _half_width(profile: FloatArray, guess: FloatArray) -> FloatArray:
    """Return the radius at which profiles (rings, n) first cross the middle between axis and background, (n,); else NaN."""
    background = profile[-N_BACKGROUND:].mean(axis=0)
    share = (profile - background) / np.where(profile[0] == background, 1.0, profile[0] - background)
    below = share < 0.5
    below[0] = False
    found = below.any(axis=0)
    ring = np.maximum(np.argmax(below, axis=0), 1)
    column = np.arange(profile.shape[1])
    before, after = share[ring - 1, column], share[ring, column]
    part = np.clip((before - 0.5) / np.where(before == after, 1.0, before - after), 0.0, 1.0)
    width = guess * (RINGS[ring - 1] + part * (RINGS[1] - RINGS[0]))
    believed = found & (width > 0.0) & (width <= WIDEST * guess)
    return np.where(believed, np.maximum(width, NARROWEST * guess), np.nan)
