"""DICOM pixels as exact values: stored numbers times slope plus intercept, never wrapped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from vesselgraph.errors import FormatError
from vesselgraph.io.dicom_slices import Slice
from vesselgraph.io.itk_files import last_line, quiet

AIR_HU = -1024
PADDING_BELOW_HU = -1500
"""No tissue on CT lies below air; scanners mark pixels outside their circle with -2000, -3024 and the like."""

_MAX_EXACT_FLOAT32 = 2**24
_LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
}
# pydicom decodes these itself; the rest goes to GDCM inside SimpleITK.
_OWN_SYNTAXES = {
    "",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
}


def read_values(slices: Sequence[Slice]) -> NDArray[Any]:
    """Return the values (planes, rows, columns) of slices in the given order: int16 if all fit, else float32.

    On CT, values below :data:`PADDING_BELOW_HU` mark pixels outside the scanner's circle and become air.

    Raises
    ------
    FormatError
        Lossy compression, a frame that cannot be decoded, or whole numbers too large for exact float32.
    """
    _refuse_lossy(slices)
    array: NDArray[Any] = np.empty((len(slices), slices[0].rows, slices[0].columns), dtype=np.int16)
    frames = _Frames()
    for index, plane in enumerate(slices):
        values = frames.values(plane)
        if plane.modality == "CT":
            values[values < PADDING_BELOW_HU] = AIR_HU
        if array.dtype == np.int16 and not _fits_int16(values):
            array = array.astype(np.float32)
        if array.dtype == np.float32 and values.dtype.kind == "i" and np.abs(values).max() > _MAX_EXACT_FLOAT32:
            raise FormatError(
                "values that float32 holds exactly", f"up to {np.abs(values).max()} in {plane.path}", "rescale the image first"
            )
        array[index] = values
    return array


def _refuse_lossy(slices: Sequence[Slice]) -> None:
    for plane in slices:
        if plane.is_lossy or plane.syntax in _LOSSY_SYNTAXES:
            raise FormatError(
                "losslessly stored Hounsfield units",
                f"{_LOSSY_SYNTAXES.get(plane.syntax, 'lossy compression')} in {plane.path}",
                "ask the archive for the original series; convert it to NIfTI yourself if you accept the loss",
            )


def _fits_int16(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iu" and bool(values.min() >= -32768 and values.max() <= 32767)


class _Frames:
    """Decoded frames of one file at a time, so that a multi-frame file is decoded once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._stored: NDArray[Any] | None = None

    def values(self, plane: Slice) -> NDArray[Any]:
        """Return the rescaled values of one plane: int64 where slope and intercept are whole numbers, else float64."""
        if plane.frame is None and plane.syntax not in _OWN_SYNTAXES:
            return _checked(_by_simpleitk(plane), plane)
        if self._stored is None or self._path != plane.path:
            self._stored, self._path = _by_pydicom(plane.path), plane.path
        frame = self._stored
        if plane.frame is not None and frame.ndim == 3:
            frame = frame[plane.frame]
        frame = _checked(frame, plane)
        if plane.slope.is_integer() and plane.intercept.is_integer():
            return np.asarray(frame.astype(np.int64) * int(plane.slope) + int(plane.intercept))
        return np.asarray(frame * plane.slope + plane.intercept)


def _by_pydicom(path: Path) -> NDArray[Any]:
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(pydicom.dcmread(path, force=True).pixel_array)
    except Exception as error:  # pydicom and its plug-ins raise many kinds
        raise _undecodable(path, str(error)) from error


def _by_simpleitk(plane: Slice) -> NDArray[Any]:
    try:
        with quiet():
            image = sitk.ReadImage(str(plane.path))
    except RuntimeError as error:
        raise _undecodable(plane.path, last_line(error)) from error
    array = np.asarray(sitk.GetArrayFromImage(image)[0])
    return array.astype(np.int64) if array.dtype.kind in "iu" else array.astype(np.float64)


def _checked(frame: NDArray[Any], plane: Slice) -> NDArray[Any]:
    if frame.shape != (plane.rows, plane.columns):
        raise _undecodable(plane.path, f"a frame of shape {frame.shape}, header says {(plane.rows, plane.columns)}")
    return frame


def _undecodable(path: Path, reason: str) -> FormatError:
    first = reason.splitlines()[0] if reason else "no pixel data"
    return FormatError("decodable pixel data", f"{path}: {first}", "export the series again, uncompressed if it stays so")
