"""Splitting edges until no triangle lies farther from the surface than allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import SurfaceConfig
from vesselgraph.errors import BudgetError
from vesselgraph.graph import IntArray
from vesselgraph.progress import Progress, silent
from vesselgraph.space import FloatArray
from vesselgraph.surface.field import Bound, Field, misfits, project
from vesselgraph.threads import run_parts

_PART = 4096
_MOST_ROUNDS = 8
_FACES_PER_BLOCK = 40
_SHORTEST_CHORD = 0.25
_DOUBTFUL_SHARE = 0.6


def measure(field: Field, points: FloatArray, bound: Bound) -> FloatArray:
    """Return signed distance to the surface (mm), its size over the allowed one, and local radius (mm), (3, n)."""
    out = np.empty((3, len(points)))
    run_parts(lambda a, b: misfits(field, points, bound, out, a, b), len(points), _PART, silent, "")
    return out


def on_surface(field: Field, points: FloatArray, progress: Progress) -> tuple[FloatArray, FloatArray]:
    """Return points (n, 3) moved onto the surface and the unit normals there."""
    points, normals = points.copy(), np.zeros_like(points)
    run_parts(lambda a, b: project(field, points, normals, a, b), len(points), _PART, progress, "surface: projecting")
    return points, normals


def edges_of(faces: IntArray) -> tuple[IntArray, IntArray]:
    """Return the edges (n, 2), lower point first, and for each face (F, 3) the edge from corner c to corner c + 1."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    size = int(faces.max()) + 1 if len(faces) else 1
    key, edge = np.unique(ends[:, 0] * size + ends[:, 1], return_inverse=True)
    return np.stack(np.divmod(key, size), axis=1), edge.reshape(-1, 3)


def refine(
    field: Field, points: FloatArray, faces: IntArray, bound: Bound, config: SurfaceConfig, progress: Progress
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return the surface with edges split, their new midpoints on the surface, until edge midpoints and centroids fit.

    Splitting never changes the topology. It stops after eight rounds, at short edges, and after the round that reaches
    ``config.enough_triangles``. The third array, (P,), is the
    largest share of the bound used by an edge or a centroid at each point; above 1 where splitting did not help.

    Raises
    ------
    BudgetError
        More than 40 triangles for each of ``config.max_blocks`` would be needed.
    """
    done, open_faces, n_before, slack, n_faces = [], faces, 0, np.zeros(len(points)), 0
    most_faces = _FACES_PER_BLOCK * config.max_blocks
    for turn in range(_MOST_ROUNDS):
        ends, edge = edges_of(open_faces)
        shortest = np.inf if 0 < config.enough_triangles <= n_faces else _SHORTEST_CHORD
        split = _edges_to_split(field, points, open_faces, (ends, edge), n_before, bound, slack, shortest)
        progress("surface: refining", (turn + 1) / _MOST_ROUNDS)
        if not split.any():
            break
        n_before = len(points)
        middle, _ = on_surface(field, points[ends[split]].mean(axis=1), silent)
        points, slack = np.concatenate([points, middle]), np.concatenate([slack, np.zeros(len(middle))])
        number = np.full(len(ends), -1)
        number[split] = n_before + np.arange(len(middle))
        faces = _split_faces(points, open_faces, number[edge])
        # Only a triangle with a new point can have an edge or a centroid that was not measured yet.
        fresh = (faces >= n_before).any(axis=1)
        done.append(faces[~fresh])
        open_faces = faces[fresh]
        n_faces = sum(len(part) for part in done) + len(open_faces)
        if n_faces > most_faces:
            raise BudgetError(
                f"a surface of at most {most_faces} triangles",
                f"{n_faces} before the allowed distance of {bound.error} mm was met",
                "raise surface.max_error, mesh fewer branches, or raise surface.max_blocks",
            )
    return points, np.concatenate([*done, open_faces]), slack


def _edges_to_split(
    field: Field,
    points: FloatArray,
    faces: IntArray,
    edges: tuple[IntArray, IntArray],
    first_new: int,
    bound: Bound,
    slack: FloatArray,
    shortest: float,
) -> NDArray[np.bool_]:
    """Return which edges to split: those too far away, and for a far centroid the longest side that has a new end.

    A side between two old points may belong to a triangle that is done and would not be split along. Edges below
    ``shortest`` times the chord that fits a round vessel are left: where two vessels pass closer to each other than a grid step
    the surface bridges the gap, and no splitting helps. Of what is left as it is, ``slack`` keeps the largest share.
    """
    ends, edge = edges
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)
    _, share, radius = measure(field, points[ends].mean(axis=1), bound)
    allowed = np.minimum(bound.error, bound.radius_fraction * radius)
    long = length > shortest * np.sqrt(8.0 * radius * allowed)
    split = (share > 1.0) & long
    # A centroid is hardly farther off than the worst of its sides.
    whole = np.flatnonzero(~split[edge].any(axis=1) & (share[edge].max(axis=1) > _DOUBTFUL_SHARE))
    central = measure(field, points[faces[whole]].mean(axis=1), bound)[1]
    length[ends[:, 1] < first_new] = 0.0
    longest = edge[whole, length[edge[whole]].argmax(axis=1)]
    far = (central > 1.0) & long[longest]
    split[longest[far]] = True
    np.maximum.at(slack, ends[~split].ravel(), np.repeat(share[~split], 2))
    np.maximum.at(slack, faces[whole[~far]].ravel(), np.repeat(central[~far], 3))
    return split


def _split_faces(points: FloatArray, faces: IntArray, middle: IntArray) -> IntArray:
    """Return the faces with the given new point (or -1) on the edge from corner c to corner c + 1, (F, 3), built in."""
    n_split = (middle >= 0).sum(axis=1)
    parts = [faces[n_split == 0]]
    # Turn each face so that its pattern of split edges starts the same way.
    lead = np.where(n_split == 1, (middle >= 0).argmax(axis=1), ((middle < 0).argmax(axis=1) + 1) % 3)
    turn = (np.arange(3) + lead[:, None]) % 3
    a, b, c = np.take_along_axis(faces, turn, axis=1).T
    m, n, o = np.take_along_axis(middle, turn, axis=1).T
    one = n_split == 1
    parts += _stack(one, (a, m, c), (m, b, c))
    # Two split edges leave a quadrangle a-m-n-c, cut along its shorter diagonal.
    two = n_split == 2
    short = np.zeros(len(faces), dtype=bool)
    short[two] = np.linalg.norm(points[a[two]] - points[n[two]], axis=1) < np.linalg.norm(
        points[m[two]] - points[c[two]], axis=1
    )
    parts += _stack(two, (m, b, n))
    parts += _stack(two & short, (a, m, n), (a, n, c))
    parts += _stack(two & ~short, (a, m, c), (m, n, c))
    parts += _stack(n_split == 3, (a, m, o), (m, b, n), (n, c, o), (m, n, o))
    return np.concatenate(parts)


def _stack(chosen: NDArray[np.bool_], *triangles: tuple[IntArray, IntArray, IntArray]) -> list[IntArray]:
    return [np.stack([corner[chosen] for corner in triangle], axis=1) for triangle in triangles]
