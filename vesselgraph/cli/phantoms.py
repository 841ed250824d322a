"""``vesselgraph phantom``: a generated CT with its exact truth, on disk."""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import vesselgraph as vg
from vesselgraph.cli.frame import QuietOption, progress_bar, say
from vesselgraph.config import StudyConfig
from vesselgraph.errors import OutputError
from vesselgraph.progress import Progress

if TYPE_CHECKING:
    from vesselgraph.phantom import Study
    from vesselgraph.volume import Volume

DICOM_ENDING, NIFTI_ENDING = "-dicom", ".nii.gz"
TRUTH_GRAPH = "truth/graph.vtp"
RECORD = "truth/phantom.json"


class ImageFormat(StrEnum):
    """How the generated CT is written."""

    NIFTI = "nifti"
    DICOM = "dicom"
    BOTH = "both"


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the images and their truth; made if missing.")],
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random; the same seed gives the same CT.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help='Change one setting, e.g. phases=["arterial","portal"].'),
    ] = None,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="How the CTs are written.")] = ImageFormat.NIFTI,
    quiet: QuietOption = False,
) -> None:
    """Write a generated abdominal CT in several contrast phases, with its exact vessel graph and masks."""
    chosen = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    config = StudyConfig.build(overrides=chosen)
    with progress_bar(quiet) as progress:
        made = write_phantom(config, out, image_format, progress=progress)
    say(f"images    {', '.join(made.phases)}, {made.organ_mask.shape} voxels each, in {out}", quiet)
    say(f"truth     {made.graph.n_edges} branches, {made.graph.length / 1000:.2f} m, {out / TRUTH_GRAPH}", quiet)


def write_phantom(config: StudyConfig, folder: Path, image_format: ImageFormat, *, progress: Progress) -> Study:
    """Generate a CT, write it with its truth and return it; an earlier phantom of ours in the folder is replaced.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds such files without our record.
    """
    _clear(folder)
    made = vg.make_study(config, progress=progress)
    _write_truth(made, folder)
    for name, image in made.phases.items():
        progress(f"writing the {name} phase", 0.0)
        _write_image(image, folder, name, image_format)
    return made


def _write_truth(made: Study, folder: Path) -> None:
    (folder / "truth").mkdir(exist_ok=True)
    record = {"program": "vesselgraph", "version": vg.__version__, "config": made.config.model_dump(mode="json")}
    # The record goes first: it marks everything beside it as ours, also if writing is interrupted.
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    vg.write_graph(made.graph, folder / TRUTH_GRAPH)
    for name in made.phases:
        vg.write_graph(vg.clear_graph(made, name), folder / f"truth/clear-{name}.vtp")
    for name, mask in {**made.vessel_masks, "organ": made.organ_mask}.items():
        vg.write_image(mask, folder / f"truth/{name}.nii.gz")


def _write_image(image: Volume, folder: Path, name: str, image_format: ImageFormat) -> None:
    if image_format in {ImageFormat.NIFTI, ImageFormat.BOTH}:
        vg.write_image(image, folder / f"{name}{NIFTI_ENDING}")
    if image_format in {ImageFormat.DICOM, ImageFormat.BOTH}:
        vg.write_dicom_series(image, folder / f"{name}{DICOM_ENDING}")


def _clear(folder: Path) -> None:
    """Make the folder, and remove an earlier phantom from it if our record says that it is one."""
    images = [folder / f"{name}{ending}" for name in StudyConfig().phases for ending in (DICOM_ENDING, NIFTI_ENDING)]
    ours = [*images, folder / "truth"]
    present = [path for path in ours if path.exists()]
    if present and not (folder / RECORD).is_file():
        raise OutputError(
            "a folder without foreign files of our names",
            f"{', '.join(str(path) for path in present)} and no {RECORD}",
            "choose another folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in present:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise OutputError(f"to write into {folder}", error.strerror or str(error), "check the path and its rights") from error
