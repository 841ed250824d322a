"""The manifest of a classification task: its images, what is known of them, and what each case serves for."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import FormatError, RangeError
from vesselgraph.volume import Volume

SPLITS = ("train", "validation", "test")
EMPTY = "empty"
"""Stands in the mask column for a mask of which it is known that nothing is in it."""

_RESERVED = ("case", "split", "mask")


@dataclass(frozen=True, eq=False)
class ImageCase:
    """One case: files by view, labels in {0, 1} or NaN where unknown, and a mask of the finding if one was drawn."""

    name: str
    split: str
    images: Mapping[str, str]
    labels: NDArray[np.float64]
    mask: str = ""


@dataclass(frozen=True, eq=False)
class CaseList:
    """The cases of a manifest, the names of their labels, and the names of their views ("" for a plain ``image`` column)."""

    cases: tuple[ImageCase, ...]
    labels: tuple[str, ...]
    views: tuple[str, ...]

    def of(self, split: str) -> list[ImageCase]:
        """Return the cases of one split."""
        return [case for case in self.cases if case.split == split]

    def known(self, split: str) -> NDArray[np.float64]:
        """Return the labels of one split, (cases, labels)."""
        rows = [case.labels for case in self.of(split)]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)))


def read_case_list(path: str | Path, labels: Sequence[str] = (), *, labelled: bool = True) -> CaseList:
    """Return the cases of a manifest, a CSV file with one row a case.

    Columns: ``image``, or ``image:NAME`` for each of several views, where a case may lack some; ``split`` (train, validation,
    test; left out: train); ``case`` (a name; left out: the row's number); ``mask`` (of the finding, ``empty`` where it is known
    that there is none, or nothing). The others are labels: 0, 1, or nothing where unknown. Paths are relative to the manifest.

    Parameters
    ----------
    path : path
    labels : sequence of str
        The label columns, in order; empty: all columns that are not named above.
    labelled : bool
        Whether label columns are needed; if not, those asked for are taken where they are, else unknown.

    Raises
    ------
    FormatError
        The file cannot be read, has no image column or no label column, lacks one that was asked for, or a value is not
        allowed.
    """
    place = Path(path)
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError("a readable manifest", f"{place}: {error}", "check the path") from error
    views = [name for name in columns if name == "image" or name.startswith("image:")]
    found = [name for name in columns if name not in _RESERVED and name not in views]
    chosen = list(labels) or found
    missing = [name for name in chosen if name not in found] if labelled else []
    if missing or (labelled and not chosen) or not views or not rows:
        got = f"no column {', '.join(missing)}" if missing else "no label column" if not chosen else "no image column or no row"
        raise FormatError(
            f"a manifest with an image column and the labels {', '.join(chosen) or '(any)'}",
            f"{got} among {', '.join(columns)} in {place}",
            "add the column, or name others in `labels`",
        )
    cases = tuple(_case(row, number, chosen, views, place) for number, row in enumerate(rows, start=2))
    _refuse_copies(cases, place)
    return CaseList(cases, tuple(chosen), tuple(name.partition(":")[2] for name in views))


def cases_of_files(paths: Sequence[str], view: str = "") -> list[ImageCase]:
    """Return one case a file, named after it; files of one name get a number."""
    made: list[ImageCase] = []
    for path in paths:
        stem = Path(path).name.split(".")[0] or "image"
        names = {case.name for case in made}
        name = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(paths) + 2))) if one not in names)
        made.append(ImageCase(name, "test", {view: path}, np.zeros(0)))
    return made


def _case(row: Mapping[str, str], number: int, labels: list[str], views: list[str], place: Path) -> ImageCase:
    name = row.get("case") or f"row {number}"
    split = row.get("split") or SPLITS[0]
    images = {view.partition(":")[2]: str(place.parent / row[view]) for view in views if row[view]}
    known = np.array([_label(row.get(label), f"{label} of {name} in {place}") for label in labels], np.float64)
    if split not in SPLITS or not images:
        got = f"split {split!r} and {len(images)} images in case {name} of {place}"
        raise FormatError(f"a split of {', '.join(SPLITS)} and at least one image", got, "complete the row")
    return ImageCase(name, split, images, known, _mask(row.get("mask") or "", place))


def _mask(text: str, place: Path) -> str:
    return text if text in {"", EMPTY} else str(place.parent / text)


def _label(text: str | None, where: str) -> float:
    if text is None or not text.strip():
        return math.nan
    if text.strip() not in {"0", "1", "0.0", "1.0"}:
        raise FormatError("labels of 0, 1, or nothing", f"{text!r} as {where}", "write one column a finding, 0 or 1")
    return float(text)


def _refuse_copies(cases: tuple[ImageCase, ...], place: Path) -> None:
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})[:5]
    home: dict[str, str] = {}
    for case in cases:
        for image in case.images.values():
            # An image in two splits would be judged by what it taught.
            if home.setdefault(image, case.split) != case.split:
                raise FormatError("every image in one split", f"{image} in {home[image]} and {case.split}", "keep one")
    if twice:
        raise FormatError("a name of its own for each case", f"{', '.join(twice)} several times in {place}", "rename them")


def require_values(volume: Volume, name: str) -> Volume:
    """Return a volume whose values can be looked at.

    Raises
    ------
    RangeError
        It holds values that are not finite, or all are the same.
    """
    array = volume.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        n_wrong = int((~np.isfinite(array)).sum())
        raise RangeError("finite image values", f"{n_wrong} that are NaN or infinite in {name}", "fill them first")
    if array.min() == array.max():
        raise RangeError("an image with something in it", f"{name}, all {array.flat[0]}", "leave the case out")
    return volume


def require_slices(volume: Volume, name: str) -> Volume:
    """Return a volume every slice of which can be looked at: an empty one would be an answer like any other.

    Raises
    ------
    RangeError
        All values of a slice are the same.
    """
    flat = volume.array.reshape(len(volume.array), -1)
    empty = np.flatnonzero(flat.min(1) == flat.max(1))
    if len(empty):
        got = f"{len(empty)} of {len(flat)} with one value only in {name}, the first number {empty[0]}"
        raise RangeError(
            "slices with something in them", got, "crop them away; margins a resampling has filled are such slices"
        )
    return volume
