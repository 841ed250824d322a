"""A still picture of the surface, drawn off screen by VTK in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import BackendUnavailableError, InputError
from vesselgraph.graph import VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.mesh import Mesh
from vesselgraph.report.columns import colour_of_edge
from vesselgraph.report.palette import TREE_COLOURS, rgb
from vesselgraph.report.scene import colour_of_point

_PROGRAM = Path(__file__).with_name("_draw_still.py")
_TIME_LIMIT = 120.0
_DO = "install an OpenGL library (Mesa's EGL is enough) to get this picture"


def mesh_png(mesh: Mesh, graph: VesselGraph | None = None, *, size: tuple[int, int] = (900, 720)) -> bytes:
    """Return a PNG (transparent ground) of the surface seen from the front, coloured by tree.

    A separate process draws, because a machine without any OpenGL can end a process from within VTK.

    Parameters
    ----------
    mesh : Mesh
        At least one face. Colours follow its ``tree`` or ``tree_id``, else those of the branch in its ``branch_id``.
    graph : VesselGraph, optional
        Only asked for the trees of branches.
    size : (int, int)
        Width and height, pixels.

    Raises
    ------
    InputError
        The surface has no faces.
    BackendUnavailableError
        This machine cannot draw: no OpenGL (not even in software), no Python to start, or over two minutes of drawing.
    """
    if mesh.n_faces == 0:
        raise InputError("a surface with faces", "an empty mesh", "build the surface first")
    colours = rgb(TREE_COLOURS)[_colour_of_point(mesh, graph)]
    with tempfile.TemporaryDirectory(prefix="vesselgraph-") as folder:
        arrays, picture = Path(folder) / "scene.npz", Path(folder) / "scene.png"
        np.savez(arrays, points=mesh.points, faces=mesh.faces, colours=colours)
        environment = dict(os.environ)
        if not environment.get("DISPLAY"):
            environment.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        command = [sys.executable, "-P", str(_PROGRAM), str(arrays), str(picture), str(size[0]), str(size[1])]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=_TIME_LIMIT, check=False)
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise BackendUnavailableError("a picture of the surface, drawn by VTK", f"{error}", _DO) from error
        if done.returncode != 0 or not picture.is_file():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise BackendUnavailableError(
                "a picture of the surface, drawn by VTK", " ".join([f"exit code {done.returncode}", *last]), _DO
            )
        return picture.read_bytes()


def render_mesh_png(
    mesh: Mesh, path: str | Path, *, graph: VesselGraph | None = None, size: tuple[int, int] = (900, 720)
) -> Path:
    """Write :func:`mesh_png` to ``path`` and return it.

    Raises
    ------
    InputError, BackendUnavailableError
        See :func:`mesh_png`.
    OutputError
        The place cannot be written.
    """
    picture = mesh_png(mesh, graph, size=size)
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return Path(path)


def _colour_of_point(mesh: Mesh, graph: VesselGraph | None) -> NDArray[np.int64]:
    of_branch = np.ones(mesh.n_points, np.int64)
    if graph is not None and "branch_id" in mesh.point_data:
        of_branch = colour_of_edge(graph)[mesh.point_data["branch_id"]]
    return colour_of_point(mesh, of_branch)
