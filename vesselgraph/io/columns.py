"""Columns as plain lists and back, and checked access to what a file holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import FormatError, OutputError
from vesselgraph.graph import Column, Step, VesselGraph
from vesselgraph.space import Space

# JSON has no NaN and no infinity: NaN is null, the others are these words.
_WORDS = {"Infinity": math.inf, "-Infinity": -math.inf}
_WIDEST_FLOAT = 8


def plain_list(column: Column) -> list[Any]:
    """Return a column as Python values JSON can hold; NaN as None, infinities as words."""
    values: list[Any] = column.tolist()
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return values
    return [value if math.isfinite(value) else _word(value) for value in values]


def _word(value: float) -> str | None:
    if math.isnan(value):
        return None
    return "Infinity" if value > 0 else "-Infinity"


def column_from(values: Any, dtype: str, place: str) -> Column:
    """Return the column that :func:`plain_list` took apart.

    Raises
    ------
    FormatError
        The dtype is not one a column may have, or a value does not fit it; the message names ``place``.
    """
    try:
        kind = np.dtype(dtype)
        if kind.kind not in "biufU" or not isinstance(values, list):
            raise TypeError(f"a column of {dtype}")
        if kind.kind == "f":
            values = [math.nan if v is None else _WORDS.get(v, v) if isinstance(v, str) else v for v in values]
        column = np.array(values, dtype=kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{place} as a list of {dtype}", str(error), "the file is damaged; write it again") from error
    if column.ndim != 1:
        raise FormatError(f"{place} as a flat list", f"shape {column.shape}", "the file is damaged; write it again")
    return column


def numbers_from(values: Any, shape: tuple[int, ...], dtype: type, place: str) -> NDArray[Any]:
    """Return nested lists of numbers as an array; -1 in ``shape`` means any length, None among the values means NaN.

    Raises
    ------
    FormatError
        The values are not numbers or have another shape; the message names ``place``.
    """
    try:
        array: NDArray[Any] = np.array(values, dtype=np.float64 if dtype is float else None)
        array = array.reshape(shape) if array.size == 0 else array
        if dtype is int and array.size and array.dtype.kind not in "iu":
            raise FormatError(f"{place} as whole numbers", f"{array.dtype}", "the file is damaged; write it again")
        array = array.astype(np.float64 if dtype is float else np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{place} as numbers", str(error), "the file is damaged; write it again") from error
    if array.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, array.shape, strict=True)):
        raise FormatError(f"{place} of shape {shape}", f"shape {array.shape}", "the file is damaged; write it again")
    return array


def take(record: Any, place: str) -> Any:
    """Return ``record["a"]["b"]`` for the place ``"a.b"``.

    Raises
    ------
    FormatError
        A key is missing; the message names the place.
    """
    value = record
    for key in place.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise FormatError(f"the entry {place!r}", "none in the file", "write the file again")
        value = value[key]
    return value


def check_columns(axes: Mapping[str, Mapping[str, Column]]) -> None:
    """Refuse columns that no file format holds exactly; ``axes`` holds the columns of each axis by its name.

    Raises
    ------
    OutputError
        Values that are neither bool, integer, floating nor text, a float wider than 64 bits, or text that is not valid
        Unicode or holds NUL, which ends a text in every format.
    """
    for axis, columns in axes.items():
        for name, column in columns.items():
            if column.dtype.kind not in "biufU":
                raise OutputError(f"{axis} column {name!r} of a plain type", f"{column.dtype}", "convert or drop it")
            if column.dtype.kind == "f" and column.dtype.itemsize > _WIDEST_FLOAT:
                raise OutputError(f"{axis} column {name!r} of at most 64 bits", f"{column.dtype}", "convert it to float64")
            texts = [name, *column.tolist()] if column.dtype.kind == "U" else [name]
            if any("\0" in text for text in texts):
                raise OutputError(f"{axis} column {name!r} of text without NUL", "NUL inside a text", "repair the text")
            try:
                "".join(texts).encode()
            except UnicodeEncodeError as error:
                raise OutputError(f"{axis} column {name!r} of valid Unicode", str(error), "repair the text") from error


def frame_record(graph: VesselGraph) -> dict[str, Any]:
    """Return what every lossless format states beside the arrays: frame, unit, grid and history."""
    return {
        "frame": "LPS",
        "unit": "mm",
        "space": graph.space.to_dict() if graph.space is not None else None,
        "history": [{"stage": s.stage, "config_digest": s.config_digest, "version": s.version} for s in graph.history],
    }


def frame_from(record: Mapping[str, Any]) -> tuple[Space | None, tuple[Step, ...]]:
    """Return the grid and the history of :func:`frame_record`.

    Raises
    ------
    FormatError
        Another frame or unit than LPS mm, or a malformed entry.
    """
    if record.get("frame") != "LPS" or record.get("unit") != "mm":
        raise FormatError(
            "coordinates in LPS mm", f"frame {record.get('frame')!r}, unit {record.get('unit')!r}", "convert the file first"
        )
    space, steps = record.get("space"), record.get("history", [])
    if not (space is None or isinstance(space, dict)) or not isinstance(steps, list):
        raise FormatError("a space and a history", f"{type(space).__name__}, {type(steps).__name__}", "write the file again")
    try:
        history = tuple(Step(str(s["stage"]), str(s["config_digest"]), str(s["version"])) for s in steps)
        return (None if space is None else Space.from_dict(space)), history
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("a space and a history", f"{error}", "write the file again") from error
