"""Images, masks and heatmaps in DICOM, NIfTI, NRRD and MetaImage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from vesselgraph.errors import FormatError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.dicom import read_series
from vesselgraph.resampling import from_sitk, to_sitk
from vesselgraph.volume import Heatmap, Volume

FILE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def read_image(path: str | Path, *, series: int | str | None = None) -> Volume:
    """Return the CT of a DICOM folder or an image file."""
    place = Path(path)
    if place.is_dir() or not place.name.lower().endswith(FILE_SUFFIXES):
        return read_series(place, series=series)
    return _read_file(place)


def _read_file(place: Path) -> Volume:
    try:
        return from_sitk(sitk.ReadImage(str(place)))
    except RuntimeError as error:
        raise FormatError(f"a readable image at {place}", str(error).splitlines()[-1], "check the file") from error


def read_mask(path: str | Path, *, labels: tuple[int, ...] | None = None) -> Volume:
    """Return the bool mask of a label image."""
    volume = _read_file(Path(path))
    array = np.greater(volume.array, 0) if labels is None else np.isin(volume.array, labels)
    if not array.any():
        raise FormatError("a mask with at least one voxel", f"an empty mask in {path}", "check the labels")
    return volume.with_array(array)


def read_heatmap(path: str | Path) -> Heatmap:
    """Return the heatmap of a probability image or a 0/1 mask."""
    volume = _read_file(Path(path))
    heat = Heatmap(volume.with_array(volume.array.astype(np.float32)), source="file")
    return Heatmap(heat.heat, source="mask") if heat.is_mask else heat


def write_image(volume: Volume, path: str | Path) -> None:
    """Write a volume as NIfTI, NRRD or MHA."""
    with atomic_path(path) as temporary:
        sitk.WriteImage(to_sitk(volume), str(temporary), useCompression=True)
