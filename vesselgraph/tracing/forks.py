"""Where the vessels of a mask part: junctions by fitting round cones to its wall.

The skeleton of a mask forks near the crotch of two vessels, downstream of where their axes meet, the farther the narrower the
angle. Beyond the blob they share each branch has a clear axis and a radius of its own. A junction is placed so that curves from
it to where the branches are clear, thickened by the radii of the branches, have the wall of the mask as their surface.
Everything is in voxels of one isotropic grid, (plane, row, column).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from vesselgraph.tracing.geometry import ray_length, sample
from vesselgraph.tracing.ridges import plane_axes

# An arm is clear where it is a junction radius away and its ball is this far from those of the other arms (in sums of radii).
_FROM_RADII, _APART, _UP_TO_RADII = 1.2, 0.5, 4.0
# Its axis is taken over this many junction radii from there on.
_AXIS_RADII = 1.5
_MAX_POINTS, _MAX_STATIONS, _N_RAYS = 64, 12, 12
# Pieces of the curve of one arm; wall points farther off than the clip (voxels) belong to something else.
_N_CURVE, _CLIP = 5, 0.5
# Weights that hold the junction where the axes meet, and the curves to the axes, for each wall point.
_HOLD_NODE, _HOLD_CURVE = 0.001, 0.005
_AXES_HOLD = 0.05
_AXES_MOVE, _FARTHEST_MOVE, _MAX_STEPS = 1.5, 2.5, 12
# Of two fits the one farther upstream counts unless it costs so many times as much.
_AS_GOOD = 1.2
# A junction that moved so far (voxels) along an arm is placed once more, from where that arm is clear of its new place.
_MOVED, _N_TURNS = 0.5, 2


@njit(cache=True, nogil=True)
def _gap(p, q):  # type: ignore[no-untyped-def]
    return math.sqrt((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2)


@njit(cache=True, nogil=True)
def _read_arm(points, radius, low, high, at_start, ends_free, reach, path, width, along):  # type: ignore[no-untyped-def]
    """Copy the points of a branch from its junction on, up to ``reach`` and, if it ends free, all of it; return how many."""
    total = 0.0
    for i in range(low, high - 1):
        total += _gap(points[i], points[i + 1])
    room = min(reach, (0.95 if ends_free else 0.5) * total)
    n_read = 0
    for k in range(min(high - low, path.shape[0])):
        row = low + k if at_start else high - 1 - k
        path[k] = points[row]
        width[k] = radius[row]
        along[k] = along[k - 1] + _gap(path[k], path[k - 1]) if k else 0.0
        if k > 1 and along[k] > room:
            break
        n_read = k + 1
    return n_read


@njit(cache=True, nogil=True)
def _first_clear(a, path, width, along, n_read, junction, moved):  # type: ignore[no-untyped-def]
    """Return the first point of arm ``a`` outside the blob it shares with the others; its last point if there is none.

    ``moved`` is how far along the arm the junction lies from where its path begins.
    """
    for k in range(1, n_read[a]):
        if along[a, k] - moved < _FROM_RADII * junction:
            continue
        if along[a, k] - moved >= _UP_TO_RADII * junction:
            return k
        apart = True
        for b in range(path.shape[0]):
            for j in range(n_read[b]):
                if b != a and _gap(path[a, k], path[b, j]) < _APART * (width[a, k] + width[b, j]):
                    apart = False
                    break
            if not apart:
                break
        if apart:
            return k
    return n_read[a] - 1


@njit(cache=True, nogil=True)
def _axes(path, width, along, n_read, junction, moved, clear, axis, size, n_inside):  # type: ignore[no-untyped-def]
    """Fill the first clear point, the unit axis away from the junction and the radius of each arm."""
    for a in range(path.shape[0]):
        k = _first_clear(a, path, width, along, n_read, junction, moved[a])
        last = k
        while last < n_read[a] - 1 and along[a, last] < along[a, k] + _AXIS_RADII * junction:
            last += 1
        back = k if last > k + 1 else max(k - 2, 0)
        length = max(_gap(path[a, last], path[a, back]), 1e-9)
        for c in range(3):
            clear[a, c] = path[a, k, c]
            axis[a, c] = (path[a, last, c] - path[a, back, c]) / length
        size[a] = np.median(width[a, k : last + 1])
        n_inside[a] = k


@njit(cache=True, nogil=True)
def _wall_points(path, n_read, n_inside, junction, volume, wall):  # type: ignore[no-untyped-def]
    """Fill points of the wall seen across the paths inside the blob; return how many."""
    tangent, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    longest = 3.0 * junction + 1.0
    n_wall = 0
    for a in range(path.shape[0]):
        n_stations = min(n_inside[a] + 1, _MAX_STATIONS)
        for s in range(n_stations):
            k = s * n_inside[a] // max(n_stations - 1, 1)
            p, q, here = path[a, max(k - 1, 0)], path[a, min(k + 1, n_read[a] - 1)], path[a, k]
            length = _gap(p, q)
            if length < 1e-9 or sample(volume, here[0], here[1], here[2]) < 0.5:
                continue
            tangent[:] = (q - p) / length
            plane_axes(tangent, first, second)
            for r in range(_N_RAYS):
                angle = 2.0 * math.pi * (r + 0.5 * (s % 2)) / _N_RAYS
                ray = math.cos(angle) * first + math.sin(angle) * second
                far = ray_length(volume, 0.5, here[0], here[1], here[2], ray[0], ray[1], ray[2], longest)
                if far < longest:
                    wall[n_wall] = here + far * ray
                    n_wall += 1
    return n_wall


@njit(cache=True, nogil=True)
def _meeting_point(start, clear, axis, farthest):  # type: ignore[no-untyped-def]
    """Return the point with the least squared distance to all axes, held to ``start`` and near to it."""
    matrix, right = _AXES_HOLD * np.eye(3), _AXES_HOLD * start
    for a in range(clear.shape[0]):
        across = np.eye(3)
        for i in range(3):
            for j in range(3):
                across[i, j] -= axis[a, i] * axis[a, j]
        matrix += across
        right = right + across @ clear[a]
    move = np.linalg.solve(matrix, right) - start
    return start + move * min(1.0, farthest / max(math.sqrt((move**2).sum()), 1e-12))


@njit(cache=True, nogil=True)
def _on_curve(node, control, clear, t, out):  # type: ignore[no-untyped-def]
    """Fill the point at ``t`` in [0, 1] of the quadratic Bezier from a junction to the clear point of an arm."""
    for k in range(3):
        out[k] = (1 - t) ** 2 * node[k] + 2 * t * (1 - t) * control[k] + t * t * clear[k]


@njit(cache=True, nogil=True)
def _residuals(x, clear, axis, size, wall, curve, residual, arm, place, normal):  # type: ignore[no-untyped-def]
    """Fill, for each wall point, how far it is outside the curves, its arm, place and normal; return the sum of squares.

    Row 0 of ``x`` is the junction, row 1 + a the control point of arm a. ``arm`` is -1 where the residual is clipped.
    """
    for a in range(clear.shape[0]):
        for s in range(_N_CURVE + 1):
            _on_curve(x[0], x[1 + a], clear[a], s / _N_CURVE, curve[a, s])
        for k in range(3):
            curve[a, _N_CURVE + 1, k] = clear[a, k] + 2.0 * size[a] * axis[a, k]
    total = 0.0
    for i in range(wall.shape[0]):
        best = 1e9
        for a in range(clear.shape[0]):
            for s in range(_N_CURVE + 1):
                p, q = curve[a, s], curve[a, s + 1]
                ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
                vx, vy, vz = wall[i, 0] - p[0], wall[i, 1] - p[1], wall[i, 2] - p[2]
                squared = ux * ux + uy * uy + uz * uz
                t = (ux * vx + uy * vy + uz * vz) / squared if squared > 1e-12 else 0.0
                t = min(1.0, max(0.0, t))
                vx, vy, vz = vx - t * ux, vy - t * uy, vz - t * uz
                far = math.sqrt(vx * vx + vy * vy + vz * vz)
                if far - size[a] < best:
                    best = far - size[a]
                    arm[i], place[i] = a, min((s + t) / _N_CURVE, 1.0)
                    normal[i, 0], normal[i, 1], normal[i, 2] = vx / max(far, 1e-6), vy / max(far, 1e-6), vz / max(far, 1e-6)
        if abs(best) > _CLIP:
            best = min(_CLIP, max(-_CLIP, best))
            arm[i] = -1
        residual[i] = best
        total += best * best
    return total


@njit(cache=True, nogil=True)
def _normal_equations(residual, arm, place, normal, matrix, right):  # type: ignore[no-untyped-def]
    """Add the wall points to the Gauss-Newton system: a point moves the junction and the control point of its arm."""
    for i in range(residual.size):
        if arm[i] < 0:
            continue
        t = place[i]
        to_node, to_control = (1 - t) ** 2, 2 * t * (1 - t)
        base = 3 + 3 * arm[i]
        for k in range(3):
            right[k] += to_node * normal[i, k] * residual[i]
            right[base + k] += to_control * normal[i, k] * residual[i]
            for j in range(3):
                both = normal[i, k] * normal[i, j]
                matrix[k, j] += to_node * to_node * both
                matrix[k, base + j] += to_node * to_control * both
                matrix[base + k, j] += to_node * to_control * both
                matrix[base + k, base + j] += to_control * to_control * both


@njit(cache=True, nogil=True)
def _fit(start, held, clear, axis, size, wall, farthest):  # type: ignore[no-untyped-def]
    """Return junction and control points, (1 + arms, 3), with the least squared residuals, and these (damped Gauss-Newton).

    The search begins at ``start``; the junction is held to ``held``.
    """
    n_wall, n_arms = wall.shape[0], clear.shape[0]
    hold, stiff = _HOLD_NODE * n_wall, _HOLD_CURVE * n_wall
    curve, normal = np.zeros((n_arms, _N_CURVE + 2, 3)), np.zeros((n_wall, 3))
    residual, place, arm = np.zeros(n_wall), np.zeros(n_wall), np.zeros(n_wall, np.int64)
    x, rest = np.zeros((n_arms + 1, 3)), np.zeros((n_arms + 1, 3))
    n = 3 * (n_arms + 1)
    matrix, right = np.zeros((n, n)), np.zeros(n)
    damping, best = 0.01 * n_wall, 1e30
    x[0], rest[0] = start, held
    for a in range(n_arms):
        x[1 + a] = clear[a] - 0.5 * _gap(start, clear[a]) * axis[a]
    kept = x.copy()
    for _ in range(_MAX_STEPS):
        for a in range(n_arms):
            rest[1 + a] = clear[a] - 0.5 * _gap(x[0], clear[a]) * axis[a]
        cost = _residuals(x, clear, axis, size, wall, curve, residual, arm, place, normal)
        for j in range(n_arms + 1):
            cost += (hold if j == 0 else stiff) * _gap(x[j], rest[j]) ** 2
        if cost < best:
            settled = best - cost < 1e-3 * cost
            best = cost
            kept[:] = x
            damping *= 0.3
            matrix[:] = 0.0
            for row in range(n):
                weight = hold if row < 3 else stiff
                matrix[row, row] = weight
                right[row] = -weight * (x[row // 3, row % 3] - rest[row // 3, row % 3])
            _normal_equations(residual, arm, place, normal, matrix, right)
            if settled:
                break
        else:
            damping *= 8.0
        step = np.linalg.solve(matrix + damping * np.eye(n), right)
        for row in range(n):
            x[row // 3, row % 3] = kept[row // 3, row % 3] + step[row]
        move = _gap(x[0], held)
        if move > farthest:
            x[0] = held + (x[0] - held) * (farthest / move)
    return kept, best


@njit(cache=True, nogil=True)
def _best_fit(start, junction, clear, axis, size, wall, as_good):  # type: ignore[no-untyped-def]
    """Return junction and control points, (1 + arms, 3), of the fit upstream, unless it costs ``as_good`` times as much.

    A narrow fork fits its wall in more than one place, and the skeleton forks downstream: the search also begins a radius up
    the widest branch.
    """
    up = axis[np.argmax(size)]
    farthest = _FARTHEST_MOVE * junction
    x, cost = _fit(start, start, clear, axis, size, wall, farthest)
    other, other_cost = _fit(start + junction * up, start, clear, axis, size, wall, farthest)
    is_upstream = ((other[0] - x[0]) * up).sum() > 0.0
    if other_cost < (as_good * cost if is_upstream else cost / as_good):
        return other
    return x


@njit(cache=True, nogil=True)
def place_forks(points, radius, offset, arms, first_arm, free, junction, volume, node, node_size):  # type: ignore[no-untyped-def]
    """Move junctions and redraw the branches inside of them, in place.

    ``arms`` holds branch ends (2 branch + side), those of junction j from ``first_arm[j]`` on; ``free`` says which branches end
    free at their other end. ``node`` (J, 3) are the positions, ``junction`` (J,) the radii to work with; ``node_size`` receives
    the widest clear radius.
    """
    out = np.zeros(3)
    for j in range(node.shape[0]):
        ends = arms[first_arm[j] : first_arm[j + 1]]
        n_arms = ends.size
        path, width = np.zeros((n_arms, _MAX_POINTS, 3)), np.zeros((n_arms, _MAX_POINTS))
        along, n_read = np.zeros((n_arms, _MAX_POINTS)), np.zeros(n_arms, np.int64)
        for a in range(n_arms):
            e = ends[a] // 2
            reach = 1.6 * _UP_TO_RADII * junction[j]
            at_start, ends_free = ends[a] % 2 == 0, free[first_arm[j] + a]
            n_read[a] = _read_arm(
                points, radius, offset[e], offset[e + 1], at_start, ends_free, reach, path[a], width[a], along[a]
            )
        clear, axis, size = np.zeros((n_arms, 3)), np.zeros((n_arms, 3)), np.zeros(n_arms)
        n_inside, moved = np.zeros(n_arms, np.int64), np.zeros(n_arms)
        wall = np.zeros((n_arms * _MAX_STATIONS * _N_RAYS, 3))
        for _ in range(_N_TURNS):
            _axes(path, width, along, n_read, junction[j], moved, clear, axis, size, n_inside)
            n_wall = _wall_points(path, n_read, n_inside, junction[j], volume, wall)
            if n_wall == 0:
                break
            start = _meeting_point(node[j], clear, axis, _AXES_MOVE * junction[j])
            # A stub has no clear axis: there the wall alone decides, at once.
            has_stub = (free[first_arm[j] : first_arm[j + 1]] & (n_inside >= n_read - 1)).any()
            x = _best_fit(start, junction[j], clear, axis, size, wall[:n_wall], 1.0 if has_stub else _AS_GOOD)
            for a in range(n_arms):
                moved[a] = max(0.0, ((x[0] - path[a, 0]) * axis[a]).sum())
            if has_stub or moved.max() <= _MOVED:
                break
        node_size[j] = size.max()
        if n_wall == 0:
            continue
        node[j] = x[0]
        for a in range(n_arms):
            e = ends[a] // 2
            for k in range(n_inside[a]):
                _on_curve(x[0], x[1 + a], clear[a], k / n_inside[a], out)
                points[offset[e] + k if ends[a] % 2 == 0 else offset[e + 1] - 1 - k] = out
