"""VTK's own readers, writers and arrays behind checks, so that no VTK message or silent empty result leaves this module."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import (
    vtkIdTypeArray,
    vtkIntArray,
    vtkLogger,
    vtkOutputWindow,
    vtkPoints,
    vtkStringArray,
    vtkStringOutputWindow,
)
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkIOLegacy import vtkPolyDataWriter
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

from vesselgraph.errors import FormatError, OutputError
from vesselgraph.graph import Column, IntArray
from vesselgraph.space import FloatArray

SPACE = "SPACE"
SPACE_LPS = "LPS"
# Zlib packs at most 1032 bytes into one.
_MOST_PER_BYTE = 1100
# The size VTK cuts arrays into unless told otherwise.
_BLOCK = 1 << 20
_LEGACY_PROGRAM = Path(__file__).with_name("_read_legacy.py")
_LEGACY_TIME_LIMIT = 600
# VTK has no 16-bit float, no bool: the next wider type holds them exactly.
_CARRIER = {"f2": np.float32, "b1": np.uint8}


def to_vtk(name: str, column: NDArray[Any]) -> Any:
    """Return a named VTK array of a numeric (n,) or (n, k) array or a text column."""
    if column.dtype.kind == "U":
        array = vtkStringArray()
        array.SetNumberOfValues(len(column))
        for i, text in enumerate(column.tolist()):
            array.SetValue(i, text)
    else:
        native = column.astype(_CARRIER.get(column.dtype.str[1:], column.dtype.newbyteorder("=")))
        array = numpy_to_vtk(np.ascontiguousarray(native), deep=1)
    array.SetName(name)
    return array


def array_names(
    columns: Iterable[str], taken: Collection[str] = (), aliases: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the array name of every column: its alias or its own where VTK can write that, unique beside ``taken``."""
    used, names = set(taken), dict[str, str]()
    for name in columns:
        candidate = (aliases or {}).get(name, name)
        # VTK writes names into XML attributes as they are, and its legacy writer aborts the process on braces.
        if not candidate.isprintable() or not candidate.strip() or set(candidate) & set("<>&\"'{}"):
            candidate = f"Column{len(names)}"
        while candidate in used:
            candidate += "_"
        used.add(candidate)
        names[name] = candidate
    return names


def int_array(name: str, values: IntArray) -> Any:
    """Return a vtkIntArray: VMTK's filters take their id arrays in this type only."""
    array = vtkIntArray()
    array.SetName(name)
    array.SetNumberOfValues(len(values))
    vtk_to_numpy(array)[:] = values if len(values) else 0
    return array


def from_vtk(array: Any) -> Column:
    """Return a VTK array as a numpy array; text as a text column."""
    if isinstance(array, vtkStringArray):
        return np.array([array.GetValue(i) for i in range(array.GetNumberOfValues())], dtype=np.str_)
    return np.array(vtk_to_numpy(array))


def arrays_of(data: Any) -> dict[str, Column]:
    """Return all named arrays of a VTK attribute or field data object."""
    found = {}
    for i in range(data.GetNumberOfArrays()):
        array = data.GetAbstractArray(i)
        if array is not None and array.GetName() and array.GetClassName() != "vtkVariantArray":
            found[array.GetName()] = from_vtk(array)
    return found


def points_of(poly: Any) -> FloatArray:
    """Return the points of a data set, (n, 3) float64."""
    if poly.GetPoints() is None:
        return np.zeros((0, 3))
    return np.asarray(vtk_to_numpy(poly.GetPoints().GetData()), dtype=np.float64).reshape(-1, 3)


def cells_of(cells: Any) -> tuple[IntArray, IntArray]:
    """Return offsets (n + 1,) and point ids of a VTK cell array."""
    if cells is None or cells.GetNumberOfCells() == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    offsets = np.asarray(vtk_to_numpy(cells.GetOffsetsArray()), dtype=np.int64)
    return offsets, np.asarray(vtk_to_numpy(cells.GetConnectivityArray()), dtype=np.int64)


def poly_data(points: FloatArray, *, lines: IntArray | None = None, faces: IntArray | None = None) -> Any:
    """Return a data set of polylines over consecutive points (``lines`` their offsets) or of triangles (``faces`` (F, 3))."""
    poly = vtkPolyData()
    holder = vtkPoints()
    holder.SetDataTypeToDouble()
    holder.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float64), deep=1))
    poly.SetPoints(holder)
    if lines is not None and len(lines) > 1:
        poly.SetLines(_cells(lines, np.arange(len(points))))
    if faces is not None and len(faces):
        poly.SetPolys(_cells(np.arange(0, 3 * len(faces) + 1, 3), faces.ravel()))
    poly.GetFieldData().AddArray(to_vtk(SPACE, np.array([SPACE_LPS])))
    poly.GetFieldData().AddArray(to_vtk("UNIT", np.array(["mm"])))
    return poly


def _cells(offsets: IntArray, ids: IntArray) -> Any:
    cells = vtkCellArray()
    cells.SetData(_id_array(offsets), _id_array(ids))
    return cells


def _id_array(values: IntArray) -> vtkIdTypeArray:
    return numpy_to_vtkIdTypeArray(np.ascontiguousarray(values, dtype=np.int64), deep=1)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what VTK says inside the block; some of its parts report errors nowhere but to this global window."""
    before, window = vtkOutputWindow.GetInstance(), vtkStringOutputWindow()
    verbosity = vtkLogger.GetCurrentVerbosityCutoff()
    messages: list[str] = []
    vtkOutputWindow.SetInstance(window)
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield messages
    finally:
        vtkLogger.SetStderrVerbosity(verbosity)
        vtkOutputWindow.SetInstance(before)
    # VTK quotes bytes of the file; they come as bytes if they are no text.
    said: str | bytes = window.GetOutput() or ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    messages.extend(_lines(text))


def write_vtp(poly: Any, path: Path) -> None:
    """Write XML poly data: 64-bit, compressed, appended as base64 so that the file is well-formed XML."""
    writer = vtkXMLPolyDataWriter()
    writer.SetDataModeToAppended()
    writer.EncodeAppendedDataOn()
    writer.SetHeaderTypeToUInt64()
    _write(writer, poly, path)


def write_legacy(poly: Any, path: Path, title: str) -> None:
    """Write binary legacy poly data whose header line is ``title`` and the space."""
    writer = vtkPolyDataWriter()
    writer.SetFileTypeToBinary()
    writer.SetHeader(f"{title} SPACE={SPACE_LPS} UNIT=mm")
    _write(writer, poly, path)


def _write(writer: Any, poly: Any, path: Path) -> None:
    writer.SetFileName(str(path))
    writer.SetInputData(poly)
    with _heard() as messages:
        done = writer.Write()
    if done != 1 or messages:
        said = messages[0] if messages else "VTK could not write"
        raise OutputError(f"to write {path.name}", said, "check that the folder is writable and has free space")


def read_poly(path: Path) -> tuple[Any, str]:
    """Return the poly data of a ``.vtp`` or a legacy ``.vtk`` file and the header line of the latter.

    Raises
    ------
    FormatError
        VTK reports any error, or the file holds another data set.
    """
    poly, header = _read_legacy(path) if path.suffix.lower() == ".vtk" else (_read_xml(path), "")
    _check_cells(poly)
    return poly, header


def _read_xml(path: Path) -> Any:
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    with _heard() as messages:
        readable = reader.CanReadFile(str(path)) and _has_end(path)
        _refuse_absurd_counts(path)
        if readable:
            reader.Update()
    _refuse_unread(path.suffix, bool(readable), messages)
    return reader.GetOutput()


def _read_legacy(path: Path) -> tuple[Any, str]:
    """Read by another process, which turns the file into XML: damaged bytes end VTK's legacy reader and would end us."""
    with tempfile.TemporaryDirectory(prefix="vesselgraph-") as folder:
        turned, record = Path(folder) / "turned.vtp", Path(folder) / "record.json"
        command = [sys.executable, "-P", str(_LEGACY_PROGRAM), str(path), str(turned), str(record)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LEGACY_TIME_LIMIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FormatError("a legacy file VTK can read", f"{error}", "the file is damaged; or save it as .vtp") from error
        if done.returncode != 0 or not record.is_file():
            said = f"VTK ended with code {done.returncode}"
            raise FormatError("a whole .vtk file of poly data", said, "the file is truncated or damaged")
        found = json.loads(record.read_text(encoding="utf-8"))
        _refuse_unread(".vtk", found["is_poly"], _lines(found["said"]))
        return _read_xml(turned), found["header"]


def _refuse_unread(suffix: str, readable: bool, messages: list[str]) -> None:
    if not readable:
        raise FormatError(f"poly data in a {suffix} file", "something else", "the file is truncated or of another kind")
    if messages:
        said = next((m for m in messages if not m.startswith(("ERROR: In", "Warning: In"))), messages[0])
        raise FormatError(f"a whole {suffix} file of poly data", said[:300], "the file is truncated or damaged")


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _check_cells(poly: Any) -> None:
    # VTK's filters trust ids and offsets and may end the process over wrong ones.
    n_points = poly.GetNumberOfPoints()
    for kind in ("Verts", "Lines", "Polys", "Strips"):
        offsets, ids = cells_of(getattr(poly, f"Get{kind}")())
        rising = offsets[0] == 0 and offsets[-1] == len(ids) and bool((np.diff(offsets) >= 0).all())
        if not rising or (len(ids) and (ids.min() < 0 or ids.max() >= n_points)):
            raise FormatError(f"{kind.lower()} of the {n_points} points", "offsets or ids beyond them", "the file is damaged")


def _has_end(path: Path) -> bool:
    # VTK stops before the end, so it would not miss the last lines.
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return b"</VTKFile>" in file.read()


def _refuse_absurd_counts(path: Path) -> None:
    # VTK allocates what a count says before it looks at the data, and ends the process if that fails.
    data = path.read_bytes()
    head, _, rest = data.partition(b"<AppendedData")
    counts = [int(digits) for digits in re.findall(rb'NumberOf\w+="\s*(\d+)', head)]
    if max(counts, default=0) > _MOST_PER_BYTE * len(data):
        raise FormatError("counts the file has room for", f"{max(counts)} in {len(data)} bytes", "the file is damaged")
    packed = b'header_type="UInt64"' in head and b"compressor=" in head and rest.lstrip().startswith(b'encoding="base64"')
    if packed:
        blocks = rest.partition(b"_")[2]
        for offset in re.findall(rb'offset="\s*(\d+)', head):
            _refuse_absurd_blocks(blocks, int(offset))


def _refuse_absurd_blocks(data: bytes, place: int) -> None:
    """Check the block table of one compressed array: how many blocks, their size, the last one's size, packed sizes."""
    try:
        n_blocks = int(np.frombuffer(base64.b64decode(data[place : place + 32]), "<u8", 3)[0])
        # Four characters hold three bytes; the table is padded to whole groups.
        n_characters = -(-(3 + n_blocks) * 8 // 3) * 4
        if n_blocks > len(data) or place + n_characters > len(data):
            raise FormatError("whole block tables", f"{n_blocks} blocks", "the file is damaged")
        table = np.frombuffer(base64.b64decode(data[place : place + n_characters]), "<u8", 3 + n_blocks)
    except ValueError as error:
        raise FormatError("whole block tables", f"{error}", "the file is damaged") from error
    room = _MOST_PER_BYTE * len(data)
    if n_blocks and table[1] == 0:
        raise FormatError("blocks of some size", "0 bytes", "the file is damaged")
    if int(table[1]) > max(room, _BLOCK) or table[2] > table[1] or table[3:].astype(float).sum() > len(data):
        raise FormatError("blocks the file has room for", f"{table[:6].tolist()}", "the file is damaged")


def space_sign(fields: Mapping[str, Column], header: str = "") -> FloatArray:
    """Return the factors that bring file coordinates to LPS: all 1, or (-1, -1, 1) for a file that says RAS."""
    said = str(fields[SPACE][0]) if SPACE in fields and len(fields[SPACE]) else header
    return np.array([-1.0, -1.0, 1.0]) if "RAS" in said else np.ones(3)
