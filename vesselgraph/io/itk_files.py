"""NRRD and MetaImage through SimpleITK, with the checks that ITK leaves out.

ITK reads a file without spacing as 1 mm, and an origin of NaN as 0: a wrong place that nobody notices. Both are refused here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from vesselgraph.errors import FormatError, GeometryError, ShapeError
from vesselgraph.io.budget import require_memory
from vesselgraph.io.grids import space_from_axes
from vesselgraph.space import Space

_HEADER_BYTES = 1 << 16
_SPACING_KEYS = {"elementspacing", "elementsize", "spacings", "space directions"}
_PLACE_KEYS = _SPACING_KEYS | {"offset", "origin", "position", "transformmatrix", "rotation", "orientation", "space origin"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what ITK's C and C++ libraries print off standard error; their exceptions still come through."""
    was_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        sitk.ProcessObject.SetGlobalWarningDisplay(was_shown)


def last_line(error: Exception) -> str:
    """Return the last line of an ITK exception, where its reason stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def read_itk(path: Path) -> tuple[NDArray[Any], Space]:
    """Return the values (planes, rows, columns) and the grid of an NRRD, MHA or MHD file.

    Raises
    ------
    FormatError
        Truncated or damaged.
    ShapeError
        Not one 3-D channel.
    GeometryError
        No spacing in the header, or an impossible grid.
    BudgetError
        The values do not fit into the free memory.
    """
    _check_text(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
            _check_shape(reader, path)
            space = _space(reader)
            bytes_per_voxel = sitk.Image([1] * 3, reader.GetPixelID()).GetSizeOfPixelComponent()
            require_memory(reader.GetSize(), bytes_per_voxel + 4, str(path))
            image = reader.Execute()
    except RuntimeError as error:
        raise FormatError("a complete image file", f"{path}: {last_line(error)}", "copy or export the file again") from error
    array = sitk.GetArrayFromImage(image)
    return array.reshape(array.shape[-3:]), space


def _check_text(path: Path) -> None:
    """Check what the header says in words, since ITK fills in what is missing."""
    with path.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).split(b"\n\n")[0].decode("latin-1")
    fields = dict(re.findall(r"^([A-Za-z][\w ]*?)\s*[:=]+\s*(.*?)\s*$", text, flags=re.MULTILINE))
    original = {name.lower(): value for name, value in fields.items()}
    fields = {name: value.lower() for name, value in original.items()}
    if fields.get("objecttype", "image") != "image":
        raise FormatError("a MetaImage image", f"ObjectType {fields['objecttype']!r} in {path}", "pass the image file instead")
    data = original.get("elementdatafile", "LOCAL")
    if data.split(" ")[0] not in ("LOCAL", "LIST") and "%" not in data and not (path.parent / data).is_file():
        raise FormatError(f"{path} with its voxels in {data}", "no such file", "keep both files in one folder")
    if not _SPACING_KEYS & fields.keys():
        raise GeometryError("a header with the voxel spacing", f"none in {path}", "set it from the original image")
    for name in _PLACE_KEYS & fields.keys():
        if re.search(r"\b(nan|inf)", fields[name]):
            raise GeometryError(f"finite {name}", f"{fields[name]!r} in {path}", "repair the image header")
    units = set(re.findall(r'"(.*?)"', fields.get("space units", ""))) | set(re.findall(r'"(.*?)"', fields.get("units", "")))
    wrong = units - {"mm", "millimeter", "millimeters", "", "???"}
    if wrong:
        raise GeometryError("an image in mm", f"unit {sorted(wrong)} in {path}", "convert the spacing and origin to mm")


def _check_shape(reader: sitk.ImageFileReader, path: Path) -> None:
    size, n_channels = reader.GetSize(), reader.GetNumberOfComponents()
    if n_channels != 1 or any(n > 1 for n in size[3:]):
        n_channels *= int(np.prod(size[3:]))
        got = f"{n_channels} channels or time points, size {size}, in {path}"
        raise ShapeError("one 3-D image", got, "save one 3-D channel as its own file")
    if len(size) < 3:
        raise ShapeError("one 3-D image", f"{len(size)} axes, size {size}, in {path}", "stack the slices with their spacing")


def _space(reader: sitk.ImageFileReader) -> Space:
    n_axes = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(n_axes, n_axes)[:3, :3]
    spacing = np.array(reader.GetSpacing())[:3]
    if not (spacing > 0).all():
        raise GeometryError("spacing > 0 mm on every axis", f"{spacing.tolist()}", "repair the image header")
    return space_from_axes((direction * spacing)[:, ::-1], np.array(reader.GetOrigin())[:3])
