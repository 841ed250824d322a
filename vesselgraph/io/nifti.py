"""NIfTI-1 and NIfTI-2 single files, read from their bytes so that every fault of the header has a name.

The s-form gives the place in the patient if it is set, else the q-form, as in nibabel. NIfTI's world is RAS; it becomes LPS.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1; NIfTI-2, https://nifti.nimh.nih.gov/nifti-2
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import FormatError, GeometryError, ShapeError
from vesselgraph.io.budget import require_memory
from vesselgraph.io.grids import space_from_axes
from vesselgraph.space import FloatArray, Space

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_TYPES = {
    1: "bits",
    32: "complex",
    128: "RGB color",
    1536: "128-bit float",
    1792: "complex",
    2048: "complex",
    2304: "RGBA color",
}
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_LONGEST_HEADER = 540


@dataclass(frozen=True)
class _Header:
    dims: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: FloatArray


def read_nifti(path: Path) -> tuple[NDArray[Any], Space]:
    """Return the scaled values (planes, rows, columns) and the grid of a NIfTI file.

    Values are the stored type, or float64 / int64 where the header scales them.

    Raises
    ------
    FormatError
        Truncated, damaged, or of a type without real numbers.
    ShapeError
        Not 3-D.
    GeometryError
        Neither s-form nor q-form is set, or the grid is impossible.
    BudgetError
        The values do not fit into the free memory.
    """
    try:
        with _opened(path) as stream:
            header = _header(stream.read(_LONGEST_HEADER), path)
            shape = _shape(header.dims, path)
            space = _space(header.affine)
            require_memory(shape, header.dtype.itemsize + 4, str(path))
            stream.seek(header.offset)
            stored = _stored(stream, math.prod(shape), header.dtype, path)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError("a complete NIfTI file", f"{path}: {error}", "copy or export the file again") from error
    return _scaled(stored.reshape(shape), header.slope, header.intercept), space


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _header(data: bytes, path: Path) -> _Header:
    if len(data) < 348:
        raise FormatError("a NIfTI header of 348 bytes", f"{len(data)} bytes in {path}", "copy or export the file again")
    for order in "<>":
        size = struct.unpack_from(order + "i", data)[0]
        if size == 348:
            return _header_1(data, order, path)
        if size == 540 and len(data) == 540:
            return _header_2(data, order, path)
    raise FormatError("a NIfTI file", f"another kind of header in {path}", "check the suffix")


def _header_1(data: bytes, order: str, path: Path) -> _Header:
    magic = data[344:348]
    if magic != b"n+1\0":
        kind = "a header without its image (.hdr/.img pair)" if magic == b"ni1\0" else "no NIfTI mark (Analyze?)"
        raise FormatError("a single-file NIfTI image", f"{kind} in {path}", "convert it to .nii.gz")
    dims = struct.unpack_from(order + "8h", data, 40)
    code = struct.unpack_from(order + "h", data, 70)[0]
    pixdim = struct.unpack_from(order + "8f", data, 76)
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    qcode, scode = struct.unpack_from(order + "2h", data, 252)
    quaternion = struct.unpack_from(order + "6f", data, 256)
    rows = struct.unpack_from(order + "12f", data, 280)
    affine = _affine(scode, qcode, rows, quaternion, pixdim, data[123] & 7, path)
    return _Header(_dims(dims, path), _dtype(code, order, path), int(offset), slope, intercept, affine)


def _header_2(data: bytes, order: str, path: Path) -> _Header:
    code = struct.unpack_from(order + "h", data, 12)[0]
    dims = struct.unpack_from(order + "8q", data, 16)
    pixdim = struct.unpack_from(order + "8d", data, 104)
    offset = struct.unpack_from(order + "q", data, 168)[0]
    slope, intercept = struct.unpack_from(order + "2d", data, 176)
    qcode, scode = struct.unpack_from(order + "2i", data, 344)
    quaternion = struct.unpack_from(order + "6d", data, 352)
    rows = struct.unpack_from(order + "12d", data, 400)
    units = struct.unpack_from(order + "i", data, 500)[0]
    affine = _affine(scode, qcode, rows, quaternion, pixdim, units & 7, path)
    return _Header(_dims(dims, path), _dtype(code, order, path), offset, slope, intercept, affine)


def _dims(dims: tuple[int, ...], path: Path) -> tuple[int, ...]:
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise FormatError("1 to 7 axes of at least one voxel", f"dim {list(dims)} in {path}", "repair the header")
    return tuple(dims[1 : dims[0] + 1])


def _dtype(code: int, order: str, path: Path) -> np.dtype[Any]:
    if code not in _DTYPES:
        kind = _OTHER_TYPES.get(code, f"type code {code}")
        raise FormatError("integer or floating voxels", f"{kind} in {path}", "convert the image to one real channel")
    return np.dtype(order + _DTYPES[code])


def _shape(dims: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    if len(dims) < 3 or any(n > 1 for n in dims[3:]):
        n_more = math.prod(dims[3:])
        got = f"{n_more} channels or time points" if n_more > 1 else f"{len(dims)} axes"
        raise ShapeError("one 3-D image", f"{got}, size {dims}, in {path}", "save one 3-D channel as its own file")
    return dims[2], dims[1], dims[0]


def _affine(
    scode: int,
    qcode: int,
    rows: tuple[float, ...],
    quaternion: tuple[float, ...],
    pixdim: tuple[float, ...],
    units: int,
    path: Path,
) -> FloatArray:
    if scode > 0:
        affine = np.array(rows).reshape(3, 4)
    elif qcode > 0:
        affine = _from_quaternion(quaternion, pixdim)
    else:
        raise GeometryError(
            "a NIfTI file that says where it lies", f"neither s-form nor q-form in {path}", "set one from the original image"
        )
    if units not in _TO_MM:
        raise GeometryError("a length unit of mm, m or um", f"unit code {units} in {path}", "repair the header")
    return np.asarray(affine * _TO_MM[units])


def _from_quaternion(quaternion: tuple[float, ...], pixdim: tuple[float, ...]) -> FloatArray:
    b, c, d = quaternion[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    if a == 0.0:
        b, c, d = (v / math.sqrt(b * b + c * c + d * d) for v in (b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    scale = np.array([pixdim[1], pixdim[2], pixdim[3] * handedness])
    return np.column_stack([rotation * scale, quaternion[3:]])


def _space(affine: FloatArray) -> Space:
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine
    return space_from_axes(lps[:, 2::-1], lps[:, 3])


def _stored(stream: BinaryIO, n_voxels: int, dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    buffer = np.empty(n_voxels, dtype=dtype)
    view = buffer.view(np.uint8).data
    done = 0
    while done < len(view):
        n_read = stream.readinto(view[done : done + (1 << 24)])  # type: ignore[attr-defined]
        if not n_read:
            raise FormatError(
                "a complete NIfTI file", f"{done} of {len(view)} bytes of voxels in {path}", "copy the file again"
            )
        done += n_read
    return buffer if dtype.isnative else buffer.astype(dtype.newbyteorder("="))


def _scaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    # A slope of 0 or NaN means "not scaled" in the standard.
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)) or (slope == 1 and intercept == 0):
        return stored
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 4 and float(slope).is_integer() and float(intercept).is_integer():
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return stored * np.float64(slope) + np.float64(intercept)
