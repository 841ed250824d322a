"""The other tools, each behind one plain function; a missing one raises `PeerMissingError` with the reason.

GPL tools (kimimaro) are compared with here and used nowhere else.
"""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.graph import VesselGraph
from vesselgraph.space import Space

SIGMAS = (1.5, 2.0, 3.0, 4.5)
"""Scales of the peers' filters, mm. With 1.0 mm added both lose about 10 points of F1 to noise."""


class PeerMissingError(RuntimeError):
    """A tool to compare with cannot be had here; the message says why."""


def load(module: str) -> Any:
    """Return an imported peer."""
    try:
        return import_module(module)
    except ImportError as error:
        raise PeerMissingError(f"{module} is not installed ({error}); pip install -r requirements/bench.txt") from error


def frangi(image: NDArray[np.float32], sigmas: tuple[float, ...] = SIGMAS) -> NDArray[np.float32]:
    """Return scikit-image's Frangi vesselness, on an isotropic 1 mm grid (sigma in voxels = mm)."""
    filters = load("skimage.filters")
    return filters.frangi(image, sigmas=sigmas, black_ridges=False, gamma=None).astype(np.float32)


def sato(image: NDArray[np.float32], sigmas: tuple[float, ...] = SIGMAS) -> NDArray[np.float32]:
    """Return scikit-image's Sato tubeness, the plain ridge filter, on an isotropic 1 mm grid (sigma in voxels = mm)."""
    filters = load("skimage.filters")
    return filters.sato(image, sigmas=sigmas, black_ridges=False).astype(np.float32)


def objectness(image: NDArray[np.float32], sigmas: tuple[float, ...] = SIGMAS, step: float = 1.0) -> NDArray[np.float32]:
    """Return ITK's multi-scale Hessian objectness for bright lines (the largest over the scales)."""
    itk = load("itk")
    source = itk.image_from_array(np.ascontiguousarray(image, dtype=np.float32))
    source.SetSpacing([step] * 3)
    hessian = itk.Image[itk.SymmetricSecondRankTensor[itk.D, 3], 3]
    kind = type(source)
    measure = itk.HessianToObjectnessMeasureImageFilter[hessian, kind].New()
    measure.SetBrightObject(True)
    measure.SetScaleObjectnessMeasure(True)
    measure.SetObjectDimension(1)
    measure.SetAlpha(0.5)
    measure.SetBeta(0.5)
    measure.SetGamma(5.0)
    multi = itk.MultiScaleHessianBasedMeasureImageFilter[kind, hessian, kind].New()
    multi.SetInput(source)
    multi.SetHessianToMeasureFilter(measure)
    multi.SetSigmaStepMethodToLogarithmic()
    multi.SetSigmaMinimum(min(sigmas))
    multi.SetSigmaMaximum(max(sigmas))
    multi.SetNumberOfSigmaSteps(len(sigmas))
    multi.Update()
    return np.asarray(itk.array_from_image(multi.GetOutput()), dtype=np.float32)


def foreground(heat: NDArray[np.float32], threshold: float, min_size: int) -> NDArray[np.bool_]:
    """Return the voxels above a threshold without the 26-components of fewer than ``min_size`` voxels."""
    mask = heat > threshold
    if min_size > 1 and mask.any():
        labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        size = np.bincount(labels.ravel())
        size[0] = 0
        mask = (size >= min_size)[labels]
    return mask


def skan_graph(mask: NDArray[np.bool_], space: Space) -> VesselGraph:
    """Return scikit-image thinning with skan's branch paths; radii from the distance transform."""
    skan, morphology = load("skan"), load("skimage.morphology")
    thin = morphology.skeletonize(mask)
    if thin.sum() < 2:
        return VesselGraph.empty(space)
    try:
        skeleton = skan.Skeleton(thin.astype(np.uint8), spacing=space.spacing.tolist())
    except (ValueError, IndexError):  # skan refuses skeletons without a single edge
        return VesselGraph.empty(space)
    distance = ndimage.distance_transform_edt(mask, sampling=space.spacing)
    paths, radii = [], []
    for i in range(skeleton.n_paths):
        index = np.rint(skeleton.path_coordinates(i)).astype(np.int64)
        paths.append(space.to_world(index))
        radii.append(distance[tuple(index.T)])
    return smoothed_graph(paths, radii, space)


def kimimaro_graph(mask: NDArray[np.bool_], space: Space, scale: float = 1.5, const: float = 2.0) -> VesselGraph:
    """Return kimimaro's TEASAR skeletons (constants in mm)."""
    kimimaro = load("kimimaro")
    labels = ndimage.label(mask, np.ones((3, 3, 3)))[0].astype(np.uint32)
    skeletons = kimimaro.skeletonize(
        labels,
        teasar_params={"scale": scale, "const": const, "pdrf_scale": 100000, "pdrf_exponent": 4},
        anisotropy=tuple(space.spacing.tolist()),
        dust_threshold=0,
        progress=False,
        parallel=1,
        fix_borders=False,
    )
    paths: list[NDArray[np.float64]] = []
    radii: list[NDArray[np.float64]] = []
    for skeleton in skeletons.values():
        world = space.to_world(skeleton.vertices / space.spacing)
        for chain in chains(skeleton.edges, len(world)):
            paths.append(world[chain])
            radii.append(np.asarray(skeleton.radii, dtype=np.float64)[chain])
    return smoothed_graph(paths, radii, space)


def chains(edges: NDArray[np.integer[Any]], n_vertices: int) -> list[list[int]]:
    """Return the runs of vertices between branch points and tips of a vertex-edge skeleton; a ring gives one run."""
    neighbours: list[list[int]] = [[] for _ in range(n_vertices)]
    for a, b in edges.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    is_stop = [len(near) != 2 for near in neighbours]
    seen: set[tuple[int, int]] = set()
    result = []
    starts = [v for v in range(n_vertices) if is_stop[v]] + [v for v in range(n_vertices) if not is_stop[v]]
    for start in starts:
        for second in neighbours[start]:
            if (start, second) in seen or (not is_stop[start] and any((start, n) in seen for n in neighbours[start])):
                continue
            chain = [start, second]
            while not is_stop[chain[-1]] and chain[-1] != start:
                a, b = neighbours[chain[-1]]
                chain.append(b if a == chain[-2] else a)
            seen.update(pairwise(chain))
            seen.update(pairwise(chain[::-1]))
            result.append(chain)
    return result


def smoothed_graph(paths: list[NDArray[np.float64]], radii: list[NDArray[np.float64]], space: Space) -> VesselGraph:
    """Return a graph of voxel paths, smoothed with fixed ends (2 passes of 1-2-1).

    Without it every peer would be charged with the stair steps of its grid, about 8 % too much length. More passes would
    cut curves short.
    """
    smooth = []
    for path in paths:
        line = path.copy()
        for _ in range(2):
            line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
        smooth.append(line)
    long = [i for i, line in enumerate(smooth) if len(line) > 1 and np.linalg.norm(np.diff(line, axis=0), axis=1).sum() > 0]
    radii = [np.where(radii[i] > 0, radii[i], np.nan) for i in long]
    return VesselGraph.from_paths([smooth[i] for i in long], radii, space=space)


def vmtk_reason() -> str:
    """Return why VMTK is or is not compared with."""
    return f"vmtk has wheels for Python >= 3.12 only; this is {sys.version_info.major}.{sys.version_info.minor}"
