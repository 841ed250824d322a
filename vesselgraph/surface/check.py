"""Whether a surface is what it should be: closed, manifold, outward, of the right volume, near the cones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vesselgraph.config import SurfaceConfig
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.space import FloatArray
from vesselgraph.surface.cones import cone_table, drawn_radii, make_field
from vesselgraph.surface.field import RADIUS_FRACTION, Bound
from vesselgraph.surface.rays import union_volume
from vesselgraph.surface.refine import edges_of, measure

_DEFAULT = SurfaceConfig()
# Points of a cavity that must lie within the vessel: its walls may cross where vessels nearly touch.
_N_LOOKED_AT = 16


@dataclass(frozen=True)
class SurfaceCheck:
    """What :func:`check_surface` found. Figures that need the graph are None without it.

    Parameters
    ----------
    closed : bool
        Every edge has two faces.
    two_manifold : bool
        Closed, and the faces around every point are one fan.
    outward : bool
        Neighbouring faces turn alike, and normals point out of the vessel, into every cavity.
    n_components, n_cavities : int
        Connected surfaces, and those among them that are hollows within another.
    n_loops : int
        Handles of all surfaces together (genus, from Euler's number): rings a vessel network closes.
    volume, area : float
        Cubic and square mm.
    analytic_volume, analytic_error : float or None
        Volume of the union of the unblended cones by an independent ray quadrature, and its standard error, cubic mm.
    volume_error_fraction : float or None
        ``volume / analytic_volume - 1``; includes what the blend adds at junctions.
    max_distance : float or None
        Largest distance of a corner, edge midpoint or centroid to the blended union, mm.
    beyond_bound_fraction : float or None
        Share of the area whose centroid lies farther off than ``max_error`` and 8 % of the radius allow. Above 0 where
        vessels pass closer to each other than a grid step: the surface bridges the gap there.
    n_unknown_radii, n_raised_radii : int or None
        Path points whose radius was filled in, and those drawn with ``min_radius`` because they are thinner.
    """

    closed: bool
    two_manifold: bool
    outward: bool
    n_components: int
    n_cavities: int
    n_loops: int
    volume: float
    area: float
    analytic_volume: float | None = None
    analytic_error: float | None = None
    volume_error_fraction: float | None = None
    max_distance: float | None = None
    beyond_bound_fraction: float | None = None
    n_unknown_radii: int | None = None
    n_raised_radii: int | None = None

    @property
    def is_sound(self) -> bool:
        """Whether the surface is closed, two-manifold and turned outward."""
        return self.closed and self.two_manifold and self.outward

    def to_dict(self) -> dict[str, bool | int | float | None]:
        """Return the figures as plain values for JSON."""
        return asdict(self)


def check_surface(mesh: Mesh, graph: VesselGraph | None = None, config: SurfaceConfig = _DEFAULT) -> SurfaceCheck:
    """Return what can be verified about a surface, and against the graph it was built from if that is given.

    Parameters
    ----------
    mesh : Mesh
        Any triangle surface. An empty one is sound, with volume 0.
    graph : VesselGraph, optional
        Where it came from.
    config : SurfaceConfig
        The settings it was built with; used only with ``graph``.

    Raises
    ------
    BudgetError
        The graph needs more grid blocks than ``config.max_blocks``.

    Examples
    --------
    >>> tetrahedron = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    >>> check = check_surface(tetrahedron)
    >>> check.is_sound, check.n_loops, round(check.volume * 6, 6)
    (True, 0, 1.0)
    """
    points = mesh.points - mesh.points.mean(axis=0) if mesh.n_points else mesh.points
    faces = mesh.faces
    ends, edge = edges_of(faces)
    closed = bool((np.bincount(edge.ravel(), minlength=len(ends)) == 2).all())
    two_manifold = closed and _has_one_fan(faces, edge, len(ends))
    component = face_components(faces, mesh.n_points)
    n_components = int(component.max()) + 1 if len(component) else 0
    a, b, c = (points[faces[:, i]] for i in range(3))
    volumes = np.bincount(component, np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0, n_components)
    cavities = np.flatnonzero(volumes < 0)
    outward = closed and _turns_alike(faces) and all(lies_within(points, faces, component, int(k)) for k in cavities)
    n_euler = len(np.unique(faces)) - len(ends) + len(faces)
    topology = SurfaceCheck(
        closed, two_manifold, outward, n_components, len(cavities),
        n_components - n_euler // 2, float(volumes.sum()), mesh.area,
    )  # fmt: skip
    return topology if graph is None else _against_graph(topology, mesh, ends, graph, config)


def _against_graph(
    topology: SurfaceCheck, mesh: Mesh, ends: IntArray, graph: VesselGraph, config: SurfaceConfig
) -> SurfaceCheck:
    radii = drawn_radii(graph, config)
    analytic = union_volume(cone_table(graph, radii.radius)[0])
    found = {
        "analytic_volume": analytic.value,
        "analytic_error": analytic.error,
        "volume_error_fraction": topology.volume / analytic.value - 1.0 if analytic.value else 0.0,
        "n_unknown_radii": int((~radii.known).sum()),
        "n_raised_radii": radii.n_raised,
    }
    if graph.n_edges and mesh.n_faces:
        field, origin = make_field(graph, radii.radius, config)
        points, bound = mesh.points - origin, Bound(config.max_error or np.inf, RADIUS_FRACTION)
        corners, middles, centers = points, points[ends].mean(axis=1), points[mesh.faces].mean(axis=1)
        a, b, c = (points[mesh.faces[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        value, share, _ = measure(field, centers, bound)
        values = [value, measure(field, corners, bound)[0], measure(field, middles, bound)[0]]
        found["max_distance"] = float(max(np.abs(v).max() for v in values))
        found["beyond_bound_fraction"] = float(area[share > 1.0 + 1e-6].sum() / area.sum())
    return SurfaceCheck(**{**asdict(topology), **found})


def face_components(faces: IntArray, n_points: int) -> IntArray:
    """Return the connected surface each face belongs to, (F,), numbered from 0 without gaps."""
    if not len(faces):
        return np.zeros(0, np.int64)
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    links = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(n_points, n_points))
    _, label = connected_components(links, directed=False)
    return np.asarray(np.unique(label[faces[:, 0]], return_inverse=True)[1], dtype=np.int64)


def lies_within(points: FloatArray, faces: IntArray, component: IntArray, which: int) -> bool:
    """Return whether a connected surface lies within the others, by the solid angle they span around some of its points."""
    a, b, c = (points[faces[component != which][:, i]] for i in range(3))
    places = np.unique(faces[component == which])
    return all(
        _solid_angle(a - place, b - place, c - place) > 2.0 * np.pi
        for place in points[places[:: -(-len(places) // _N_LOOKED_AT)]]
    )


def _solid_angle(a: FloatArray, b: FloatArray, c: FloatArray) -> float:
    """Return the unsigned solid angle of triangles seen from the origin: 4 pi from within a closed surface, 0 from outside.

    Source: van Oosterom & Strackee, "The solid angle of a plane triangle", IEEE TBME 30 (1983).
    """
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    top = np.einsum("ij,ij->i", a, np.cross(b, c))
    bottom = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(abs(2.0 * np.arctan2(top, bottom).sum()))


def _has_one_fan(faces: IntArray, edge: IntArray, n_edges: int) -> bool:
    """Return whether walking from face to face across the edges of a point reaches all its faces, for every point."""
    n_corners = faces.size
    # The two faces of each edge, as numbers of the corner the edge starts at.
    order = np.argsort(edge.ravel(), kind="stable").reshape(n_edges, 2)
    following = order - order % 3 + (order + 1) % 3
    first, second = order[:, 0], order[:, 1]
    flat = faces.ravel()
    same = flat[first] == flat[second]
    pairs = np.concatenate(
        [
            np.stack([first, np.where(same, second, following[:, 1])], axis=1),
            np.stack([following[:, 0], np.where(same, following[:, 1], second)], axis=1),
        ]
    )
    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n_corners, n_corners))
    n_fans, _ = connected_components(links, directed=False)
    return bool(n_fans == len(np.unique(faces)))


def _turns_alike(faces: IntArray) -> bool:
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    size = int(faces.max()) + 1 if len(faces) else 1
    return len(np.unique(start * size + end)) == len(start)
