"""Which predictions are compared with which truths: one pair, a table of pairs, or two folders."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from vesselgraph.errors import FormatError, InputError

GRAPH_SUFFIXES = (".vtp", ".vtk", ".json", ".graphml", ".swc")
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
_IN_FOLDER = ("graph.vtp", "truth/graph.vtp", "truth.vtp")
_COLUMNS = ("predicted", "truth")


@dataclass(frozen=True)
class Pair:
    """A case: its name, the files to compare, and the mask to compare in, if any."""

    case: str
    predicted: Path
    truth: Path
    region: Path | None = None


def is_image(path: Path) -> bool:
    """Return whether a file name is that of an image, which a truth may be."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def pairs_of_table(table: Path, region: Path | None = None) -> list[Pair]:
    """Return the pairs of a CSV file with the columns ``predicted``, ``truth`` and, if wanted, ``case`` and ``region``.

    Relative paths start at the table's folder. Cases without a name are called by the number of their row.

    Raises
    ------
    InputError
        The file is missing or empty, lacks a column or a value, or names a case twice.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("a CSV file of pairs", f"{table}: {error}", "check the path") from error
    lacking = [name for name in _COLUMNS if any(not row.get(name) for row in rows)]
    if not rows or lacking:
        got = f"no {' and no '.join(lacking)} in {table}" if rows else f"no rows in {table}"
        raise FormatError("rows with predicted and truth (and case, region)", got, "complete the table")
    pairs = [
        Pair(
            row.get("case") or f"{number:03d}",
            table.parent / row["predicted"],
            table.parent / row["truth"],
            table.parent / row["region"] if row.get("region") else region,
        )
        for number, row in enumerate(rows, 1)
    ]
    names = [pair.case for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FormatError("every case once", f"twice: {', '.join(twice[:5])}", "give the cases different names")
    return pairs


def pairs_of_folders(predicted: Path, truth: Path, region: Path | None = None) -> list[Pair]:
    """Return the pairs of two folders whose entries have the same names.

    An entry is a graph file (``NAME.vtp``, for truths also a mask image ``NAME.nii.gz``) or a folder ``NAME`` that holds
    ``graph.vtp``, ``truth/graph.vtp`` or ``truth.vtp``. ``region`` is one mask for all, or a folder of masks of these names.

    Raises
    ------
    InputError
        A name is missing on one side: a case left out silently would flatter or spoil the mean.
    """
    ours, theirs = _entries(predicted, GRAPH_SUFFIXES), _entries(truth, GRAPH_SUFFIXES + IMAGE_SUFFIXES)
    regions = _entries(region, IMAGE_SUFFIXES) if region is not None and region.is_dir() else None
    sides = [(predicted, ours), (truth, theirs)] + ([(region, regions)] if regions is not None else [])
    names = sorted(set(ours) | set(theirs))
    missing = [
        f"{name} in {folder}" for folder, entries in sides for name in names if entries is not None and name not in entries
    ]
    if missing or not names:
        got = f"{len(missing)} missing: {', '.join(missing[:5])}" if names else f"no graphs in {predicted} and {truth}"
        raise InputError("graphs of the same names in both folders", got, "add or move files, or name the pairs with --pairs")
    return [Pair(name, ours[name], theirs[name], regions[name] if regions is not None else region) for name in names]


def _entries(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by case name."""
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            inner = next((entry / name for name in _IN_FOLDER if (entry / name).is_file()), None)
            name, path = entry.name, inner
        else:
            suffix = next((s for s in sorted(suffixes, key=len, reverse=True) if entry.name.lower().endswith(s)), None)
            name, path = entry.name[: -len(suffix)] if suffix else "", entry if suffix else None
        if path is None:
            continue
        if name in found:
            raise InputError(f"one file for {name!r} in {folder}", f"{found[name].name} and {path.name}", "remove one of them")
        found[name] = path
    return found
