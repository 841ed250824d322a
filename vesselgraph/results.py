"""The output folder of a run: files that appear together or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vesselgraph.errors import OutputError
from vesselgraph.io import write_branch_table, write_graph, write_image, write_mesh
from vesselgraph.pipeline import Reconstruction
from vesselgraph.progress import Progress, silent
from vesselgraph.pruning.naming import TREE_NAMES
from vesselgraph.report import write_report

GRAPH_FILES = ("graph.vtp", "graph.json", "graph.swc", "graph.graphml")
MESH_FILES = ("mesh.vtp", "mesh.stl", "mesh.glb")
TREE_FILES = tuple(f"mesh-{name}.stl" for name in TREE_NAMES.values())
"""Surfaces of the named trees, as far as there are such trees."""
RECORD_FILE = "run.json"
INTERMEDIATE_FILES = ("overcomplete.vtp",)
"""What a run also keeps if asked to: every candidate branch with its evidence, score and reason."""
RESULT_FILES = (*GRAPH_FILES, "branches.csv", *MESH_FILES, "heatmap.nii.gz", "report.html", RECORD_FILE)


def check_folder(folder: str | Path) -> None:
    """Check that results may be written into a folder, before a long run; nothing is left behind.

    Files of an earlier run (recognised by its ``run.json``) may be replaced; other files in the folder are left alone.

    Raises
    ------
    OutputError
        The place is a file or not writable, or it holds a file with the name of a result that no run of ours wrote.
    """
    place = Path(folder)
    taken = [name for name in (*RESULT_FILES, *TREE_FILES, *INTERMEDIATE_FILES) if (place / name).exists()]
    if taken and not _is_ours(place / RECORD_FILE):
        raise OutputError(
            "a folder without foreign files of our names",
            f"{place} with {', '.join(taken[:5])} and no run.json of vesselgraph",
            "choose another folder or move these files away",
        )
    with _folder(place), tempfile.TemporaryFile(dir=place):
        pass


@contextmanager
def _folder(place: Path) -> Iterator[None]:
    """Make a folder for the body; take away what was made if it is still empty afterwards."""
    made = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        do = "check the path, its rights and the free space"
        raise OutputError(f"to write into {place}", error.strerror or str(error), do) from error
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def write_results(
    result: Reconstruction,
    folder: str | Path,
    *,
    scores: Mapping[str, Any] | None = None,
    keep_intermediate: bool = False,
    progress: Progress = silent,
) -> list[Path]:
    """Write everything a run made into a folder and return the paths: ``RESULT_FILES``, then those of named trees.

    All files are first written into a hidden folder inside it and moved to their names once every one is complete; if
    writing fails, nothing is left behind and earlier results stay as they were.

    Parameters
    ----------
    result : Reconstruction
        What to write.
    folder : str or Path
        Made if missing; see :func:`check_folder` for what may be replaced.
    scores : mapping, optional
        Agreement with a known truth, shown in the report and kept in ``run.json``.
    keep_intermediate : bool
        Also write ``INTERMEDIATE_FILES``; if false, those of an earlier run in the folder are taken away. So are the surfaces
        of trees that this run does not have.
    progress : Progress
        Told the file and the done fraction.

    Raises
    ------
    OutputError
        The folder cannot be written, the disk is full, or foreign files have our names.
    """
    check_folder(folder)
    place = Path(folder)
    run = dict(result.run) if scores is None else {**result.run, "scores": dict(scores)}
    with _folder(place):
        staging = Path(tempfile.mkdtemp(prefix=".vesselgraph-", dir=place))
        try:
            writers = _writers(result, run, scores, progress)
            if keep_intermediate:
                writers = {**{name: partial(write_graph, result.overcomplete) for name in INTERMEDIATE_FILES}, **writers}
            for done, (name, write) in enumerate(writers.items()):
                progress(f"writing {name}", done / len(writers))
                write(staging / name)
            for name in writers:
                (staging / name).replace(place / name)
            for name in {*INTERMEDIATE_FILES, *TREE_FILES} - set(writers):
                (place / name).unlink(missing_ok=True)
            progress("writing", 1.0)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    extra = [name for name in (*TREE_FILES, *INTERMEDIATE_FILES) if name in writers]
    return [place / name for name in (*RESULT_FILES, *extra)]


def _writers(
    result: Reconstruction, run: Mapping[str, Any], scores: Mapping[str, Any] | None, progress: Progress
) -> dict[str, Callable[[Path], object]]:
    """Return one writer a file: the record comes last, so it vouches for the rest."""
    report = partial(
        write_report,
        image=None if result.phases is None else result.phases.reference,
        graph=result.graph,
        mesh=result.mesh,
        heatmap=result.heatmap,
        region=result.region.mask,
        run=run,
        scores=scores,
        progress=progress,
    )
    return {
        **{name: partial(write_graph, result.graph) for name in GRAPH_FILES},
        "branches.csv": partial(write_branch_table, result.graph),
        **{name: partial(write_mesh, result.mesh) for name in MESH_FILES},
        **{f"mesh-{name}.stl": partial(write_mesh, mesh) for name, mesh in result.tree_meshes.items()},
        "heatmap.nii.gz": partial(write_image, result.heatmap.heat),
        "report.html": report,
        RECORD_FILE: partial(_write_json, run),
    }


def _write_json(values: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _is_ours(record: Path) -> bool:
    try:
        return bool(json.loads(record.read_text(encoding="utf-8")).get("program") == "vesselgraph")
    except (OSError, ValueError, AttributeError):
        return False
