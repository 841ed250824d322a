"""What the doors of graphs and meshes share: choosing the format by suffix, and whose fault a file that fails to parse is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vesselgraph.errors import FormatError, GeometryError, GraphInvariantError, InputError, RangeError, ShapeError

Entry = TypeVar("Entry")


def by_suffix(formats: Mapping[str, Entry], place: Path, what: str) -> Entry:
    """Return the entry of a table for the suffix of a file name.

    Raises
    ------
    FormatError
        The table has no such suffix.
    """
    entry = formats.get(place.suffix.lower())
    if entry is None:
        expected = f"a {what} file name ending in {', '.join(formats)}"
        raise FormatError(expected, f"{place.name!r}", "choose one of these suffixes")
    return entry


def require_file(place: Path) -> None:
    """Refuse a path without a file.

    Raises
    ------
    InputError
        There is none.
    """
    if not place.is_file():
        raise InputError("an existing file", f"{place}", "check the path")


@contextmanager
def parsing(place: Path, what: str) -> Iterator[None]:
    """Put the file's name into every FormatError of the block, and make one of whatever else its bytes lead to.

    Raises
    ------
    FormatError
        The block raised it, or an error that only damaged content can cause.
    """
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{error.expected} in {place.name}", error.got, error.do) from error
    except (GraphInvariantError, GeometryError, RangeError, ShapeError) as error:
        raise FormatError(f"an intact {what} in {place.name}", f"a broken one ({error})", "the file is damaged") from error
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        # Whatever a damaged file makes of our parsing, it is the file's fault.
        said = f"{type(error).__name__}: {error}"
        raise FormatError(f"a {what} that can be read in {place.name}", said, "the file is damaged") from error
