"""Images, masks and heatmaps: DICOM, NIfTI, NRRD and MetaImage in; NIfTI, NRRD, MHA out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from vesselgraph.errors import FormatError, InputError, OutputError, RangeError
from vesselgraph.io.atomic import atomic_path
from vesselgraph.io.dicom import read_series
from vesselgraph.io.itk_files import last_line, quiet, read_itk
from vesselgraph.io.nifti import read_nifti
from vesselgraph.resampling import to_sitk
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, Volume

IMAGE_SUFFIXES = {".nii": "NIfTI", ".nii.gz": "gzip", ".nrrd": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage"}
"""Every suffix of an image file, and what such a file starts as; all but ``.mhd`` can be written too."""

_MAX_EXACT_FLOAT32 = 2**24
_MAX_NAMED = 5


def read_image(path: str | Path, *, series: int | str | None = None) -> Volume:
    """Return the CT or other 3-D image of a DICOM folder or an image file, on the grid it was stored on.

    Parameters
    ----------
    path : path
        A folder with a DICOM series (sub-folders are looked through), one DICOM file (its series is read), or a file with
        a suffix of :data:`IMAGE_SUFFIXES`.
    series : int or str, optional
        Which DICOM series, if there are several: its number, UID or description as :func:`~vesselgraph.io.list_series` shows.

    Returns
    -------
    Volume
        int16 if all values are whole and fit, else float32. DICOM slope and intercept and NIfTI scaling are applied. In CT
        DICOM, values below -1500 HU mark pixels outside the scanner's circle and become -1024; MONOCHROME1 changes the
        display only, so its values are kept. NaN in a part that touches the border of the image is background and becomes
        the smallest value; NaN inside is refused.

    Raises
    ------
    InputError
        Nothing is there, or the folder holds no image.
    SeriesChoiceError
        Several series; the message lists them.
    FormatError
        Truncated, of another kind than its suffix says, of unknown kind, lossy, constant, or infinite or NaN inside.
    GeometryError
        Missing, repeated, tilted or unevenly spaced slices, mixed sizes or orientations, impossible spacing or axes.
    ShapeError
        Not 3-D, or more than one channel.
    BudgetError
        The image does not fit into the free memory; found from the header before any voxel is read.
    """
    place = Path(path)
    if place.is_dir() or _is_dicom(place):
        volume = read_series(place, series=series)
        return volume.with_array(_image_values(volume.array, place))
    if series is not None:
        raise InputError("a DICOM folder to choose a series from", f"the file {place}", "leave series out")
    array, space = _read_file(place)
    return Volume(_image_values(array, place), space, _stem(place))


def read_mask(path: str | Path, *, labels: Sequence[int] | None = None) -> Volume:
    """Return the bool mask of a label image: voxels above 0, or those with one of ``labels``.

    Raises
    ------
    FormatError
        Nothing is marked, or the values are no labels (fractions, NaN); otherwise as :func:`read_image`.
    """
    place = Path(path)
    if place.is_dir() or _is_dicom(place):
        volume = read_series(place)
        array, space = volume.array, volume.space
    else:
        array, space = _read_file(place)
    if array.dtype.kind == "f" and not bool(np.equal(array, np.rint(array)).all()):
        raise FormatError("whole-number labels", f"fractions or NaN in {place}", "use read_heatmap for probabilities")
    mask = np.greater(array, 0) if labels is None else np.isin(array, list(labels))
    if not mask.any():
        found = np.unique(array)
        there = ", ".join(f"{v:g}" for v in found[: 2 * _MAX_NAMED]) + (", ..." if len(found) > 2 * _MAX_NAMED else "")
        wanted = "above 0" if labels is None else f"in {list(labels)}"
        raise FormatError(f"a mask with voxels {wanted}", f"only values {there} in {place}", "check the file and the labels")
    return Volume(mask, space, _stem(place))


def read_heatmap(path: str | Path) -> Heatmap:
    """Return the vessel heatmap of a probability image in [0, 1] or a 0/1 mask; the source is then "file" or "mask".

    Raises
    ------
    RangeError
        Values outside [0, 1]; nothing is scaled silently.
    FormatError
        All values are 0; otherwise as :func:`read_image`.
    """
    place = Path(path)
    array, space = _read_file(place)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0.0 and high <= 1.0):
        advice = "divide by 255 and save it as float" if array.dtype.kind in "iu" and high <= 255 else "scale it to [0, 1]"
        raise RangeError("a heatmap within [0, 1] without NaN", f"values from {low:.4g} to {high:.4g} in {place}", advice)
    if high == 0.0:
        raise FormatError("a heatmap with some heat", f"only zeros in {place}", "check the file")
    heatmap = Heatmap(Volume(array.astype(np.float32), space, _stem(place)), source="file")
    return Heatmap(heatmap.heat, source="mask") if heatmap.is_mask else heatmap


def write_image(volume: Volume, path: str | Path) -> None:
    """Write a volume as NIfTI, NRRD or MHA, by the suffix of ``path``, compressed where the format can; all or nothing.

    Bool becomes uint8 0 and 1.

    Raises
    ------
    OutputError
        Another suffix, or the file cannot be written.
    """
    suffix = _suffix(Path(path))
    writable = [known for known in IMAGE_SUFFIXES if known != ".mhd"]
    if suffix not in writable:
        raise OutputError(f"a file name ending in {', '.join(writable)}", f"{Path(path).name}", "choose one of these")
    with atomic_path(path) as temporary:
        try:
            with quiet():
                sitk.WriteImage(to_sitk(volume), str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OutputError(f"to write {path}", last_line(error), "check free space and the voxel type") from error


def _suffix(place: Path) -> str:
    name = place.name.lower()
    return next((suffix for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), "")


def _stem(place: Path) -> str:
    return place.name[: len(place.name) - len(_suffix(place))]


def _start(place: Path) -> bytes:
    try:
        with place.open("rb") as stream:
            return stream.read(352)
    except OSError as error:
        raise InputError("a readable image file", f"{place}: {error.strerror}", "check the path") from error


def _is_dicom(place: Path) -> bool:
    start = _start(place)
    return start[128:132] == b"DICM" or (not _suffix(place) and start[:4] in (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00"))


def _kind(start: bytes) -> str:
    """Return which kind of file starts like this; nothing for an empty one."""
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] == b"NRRD":
        return "NRRD"
    if start[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        return "NIfTI"
    if b"NDims" in start or start.lstrip()[:10] == b"ObjectType":
        return "MetaImage"
    return "another kind of file" if start else ""


def _read_file(place: Path) -> tuple[NDArray[Any], Space]:
    suffix = _suffix(place)
    kind = _kind(_start(place))
    if not suffix:
        raise FormatError(
            f"DICOM, or a file ending in {', '.join(IMAGE_SUFFIXES)}", f"{place.name}", "convert it to one of these"
        )
    if kind != IMAGE_SUFFIXES[suffix]:
        do = "give the file its right suffix" if kind else "copy or export the file again"
        raise FormatError(f"{IMAGE_SUFFIXES[suffix]} data, as {suffix} says", f"{kind or 'nothing'} in {place}", do)
    return read_nifti(place) if suffix.startswith(".nii") else read_itk(place)


def _image_values(array: NDArray[Any], place: Path) -> NDArray[Any]:
    """Return values as int16 or float32, or say why they make no image."""
    if array.dtype.kind == "f":
        array = _without_border_nan(array, place)
    low, high = array.min(), array.max()
    if low == high:
        raise FormatError("an image with contrast", f"the value {low:g} everywhere in {place}", "check the export")
    if array.dtype.kind in "iu":
        if low >= -32768 and high <= 32767:
            return array.astype(np.int16, copy=False)
        if max(abs(int(low)), abs(int(high))) > _MAX_EXACT_FLOAT32:
            raise FormatError("values that float32 holds exactly", f"{low} to {high} in {place}", "rescale the image first")
    elif max(abs(float(low)), abs(float(high))) > float(np.finfo(np.float32).max):
        raise FormatError("values within float32", f"{low:g} to {high:g} in {place}", "rescale the image first")
    return array.astype(np.float32, copy=False)


def _without_border_nan(array: NDArray[Any], place: Path) -> NDArray[Any]:
    bad = ~np.isfinite(array)
    if not bad.any():
        return array
    if bad.all() or np.isinf(array).any():
        count = int(np.isinf(array).sum())
        got = f"{count} infinite values" if count else "NaN everywhere"
        raise FormatError("finite voxels", f"{got} in {place}", "check how the image was made")
    labels, _ = ndimage.label(bad)
    faces = [np.take(labels, end, axis=axis) for axis in range(3) for end in (0, -1)]
    at_border = np.unique(np.concatenate([face.ravel() for face in faces]))
    inside = bad & ~np.isin(labels, at_border)
    if inside.any():
        first = tuple(int(i) for i in np.argwhere(inside)[0])
        raise FormatError(
            "finite voxels inside the image", f"{int(inside.sum())} NaN in {place}, first at {first}", "fill or mask them first"
        )
    return np.where(bad, array[~bad].min(), array)
