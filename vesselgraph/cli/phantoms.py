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
from vesselgraph.config import PhantomConfig
from vesselgraph.errors import OutputError
from vesselgraph.progress import Progress

if TYPE_CHECKING:
    from vesselgraph.phantom import Phantom

DICOM_FOLDER = "ct-dicom"
NIFTI_FILE = "ct.nii.gz"
TRUTH_GRAPH = "truth/graph.vtp"
RECORD = "truth/phantom.json"


class ImageFormat(StrEnum):
    """How the generated CT is written."""

    NIFTI = "nifti"
    DICOM = "dicom"
    BOTH = "both"


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the image and its truth; made if missing.")],
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random; the same seed gives the same CT.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. spacing=[2,1,1] (mm).")
    ] = None,
    image_format: Annotated[ImageFormat, typer.Option("--format", help="How the CT is written.")] = ImageFormat.NIFTI,
    quiet: QuietOption = False,
) -> None:
    """Write a generated liver CT with its exact vessel graph and masks."""
    chosen = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    config = PhantomConfig.build(overrides=chosen)
    with progress_bar(quiet) as progress:
        made = write_phantom(config, out, image_format, progress=progress)
    say(f"image     {made.image.shape} voxels in {out}", quiet)
    say(f"truth     {made.graph.n_edges} branches, {made.graph.length / 1000:.2f} m, {out / TRUTH_GRAPH}", quiet)


def write_phantom(
    config: PhantomConfig, folder: Path, image_format: ImageFormat = ImageFormat.DICOM, *, progress: Progress
) -> Phantom:
    """Generate a CT, write it with its truth and return it; an earlier phantom of ours in the folder is replaced.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds such files without our record.
    """
    _clear(folder)
    progress("generating a CT", 0.0)
    made = vg.make_phantom(config)
    (folder / "truth").mkdir(exist_ok=True)
    record = {"program": "vesselgraph", "version": vg.__version__, "config": config.model_dump(mode="json")}
    # The record goes first: it marks everything beside it as ours, also if writing is interrupted.
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    progress("writing the CT", 0.5)
    vg.write_graph(made.graph, folder / TRUTH_GRAPH)
    vg.write_image(made.vessel_mask, folder / "truth/vessels.nii.gz")
    vg.write_image(made.organ_mask, folder / "truth/organ.nii.gz")
    if image_format in {ImageFormat.NIFTI, ImageFormat.BOTH}:
        vg.write_image(made.image, folder / NIFTI_FILE)
    if image_format in {ImageFormat.DICOM, ImageFormat.BOTH}:
        vg.write_dicom_series(made.image, folder / DICOM_FOLDER)
    return made


def _clear(folder: Path) -> None:
    """Make the folder, and remove an earlier phantom from it if our record says that it is one."""
    ours = [folder / DICOM_FOLDER, folder / NIFTI_FILE, folder / "truth"]
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
