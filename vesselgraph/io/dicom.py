"""DICOM series: which there are below a folder, and one of them as a volume.

Planes are ordered by their position along the normal of the image plane; file names and instance numbers play no part.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vesselgraph.errors import FormatError, GeometryError, InputError, SeriesChoiceError
from vesselgraph.io.budget import require_memory
from vesselgraph.io.dicom_pixels import read_values
from vesselgraph.io.dicom_slices import SPLITTERS, Scan, Slice, scan
from vesselgraph.space import FloatArray, Space
from vesselgraph.volume import Volume

_ANGLE_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
_STEP_TOLERANCE_FRACTION = 0.05
# Headers round positions to 0.1 mm.
_STEP_TOLERANCE = 0.1
_SHIFT_TOLERANCE_FRACTION = 0.5


@dataclass(frozen=True)
class SeriesInfo:
    """What the headers say about one image series below a folder.

    Parameters
    ----------
    number : int
        What to pass as ``series``: the DICOM series number where these are all there and differ, else 1, 2, ...
    uid, description, modality : str
        As in the headers; may be empty.
    shape : (planes, rows, columns)
    spacing : (3,) mm
        In array order; the plane step is the mean distance of the positions, NaN with a single plane.
    phase_hint : str
        Acquisition time, contrast agent and protocol, as far as given.
    notes : tuple of str
        Remarks in plain words: what was passed over, or differs from what the header says.
    files : tuple of Path
        In order of position.
    """

    number: int
    uid: str
    description: str
    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    phase_hint: str
    notes: tuple[str, ...]
    files: tuple[Path, ...] = field(repr=False)

    def __str__(self) -> str:
        """Return one line for a list to choose from."""
        size = " x ".join(str(n) for n in self.shape)
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing)
        text = f"{self.number}: {self.description or 'no description'} ({self.modality}), {size} at {spacing} mm"
        return f"{text}, {self.phase_hint}" if self.phase_hint else text


@dataclass(frozen=True)
class _Series:
    info: SeriesInfo
    slices: tuple[Slice, ...]


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """Return every image series below a folder, sub-folders included, by number.

    Localizers, structured reports, segmentations, color images and images without a place in the patient are left out; the
    ``notes`` of each series count them.

    Raises
    ------
    InputError
        The folder is missing or holds no DICOM image.
    FormatError
        A DICOM file is damaged.
    """
    return [series.info for series in _find(Path(folder))]


def read_series(place: Path, *, series: int | str | None = None) -> Volume:
    """Return one DICOM series below a folder, or the series that a DICOM file belongs to; the door is ``read_image``.

    Its name is the description of the series, that of its folder if there is none.
    """
    chosen = _choose(_find(place), series, place)
    space = _space(chosen.slices)
    require_memory(chosen.info.shape, 2 * 2, str(place))
    array = read_values(chosen.slices)
    return Volume(array, space, chosen.info.description or chosen.slices[0].path.parent.name)


def _find(place: Path) -> list[_Series]:
    if not place.exists():
        raise InputError("an existing DICOM folder or file", f"nothing at {place}", "check the path")
    found = scan(place)
    if place.is_file() and found.slices and found.slices[0].frame is None:
        wanted = _key(found.slices[0])
        beside = scan(place.parent, recursive=False)
        found = Scan(tuple(s for s in beside.slices if _key(s) == wanted), {})
    if not found.slices:
        raise _nothing(place, found)
    groups: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for plane in _without_copies(found.slices):
        groups[_key(plane)].append(plane)
    parts = [part for group in groups.values() for part in _split(group)]
    several = [part for part in parts if len(part[0]) > 1]
    skipped = dict(found.skipped)
    if several and len(several) < len(parts):
        skipped["series of a single image"] = len(parts) - len(several)
    return _numbered([_describe(part, label, skipped) for part, label in several or parts])


def _nothing(place: Path, found: Scan) -> InputError:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in found.skipped.items()) or "no file"
    if place.is_file():
        return FormatError("an image of a known kind", f"{place}: {reasons}", "pass DICOM, NIfTI, NRRD, MHA or MHD")
    return InputError("a folder with DICOM images", f"{place}: {reasons}", "name the folder of the series, or an image file")


def _key(plane: Slice) -> tuple[object, ...]:
    if plane.series_uid:
        return (plane.series_uid,)
    # Without a UID, what looks different is different.
    place = tuple(round(v, 2) for v in plane.orientation), tuple(round(v, 3) for v in plane.spacing)
    name = plane.series_number, plane.tags["SeriesDescription"], plane.modality
    return ("", plane.path.parent, *name, plane.rows, plane.columns, *place)


def _without_copies(slices: Iterable[Slice]) -> list[Slice]:
    """Return the slices without repeated copies of one file: same instance UID at the same place."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for plane in slices:
        identity = (plane.uid, plane.series_uid, plane.frame, plane.position, plane.orientation)
        if plane.uid and identity in seen:
            continue
        seen.add(identity)
        kept.append(plane)
    return kept


def _split(group: list[Slice]) -> list[tuple[list[Slice], str]]:
    """Split repeated scans that share a series UID (phases, kernels), if one attribute tells them apart."""
    if not _has_repeats(group):
        return [(group, "")]
    for name in SPLITTERS:
        parts: dict[str, list[Slice]] = defaultdict(list)
        for plane in group:
            parts[plane.tags.get(name, "")].append(plane)
        if len(parts) > 1 and all(len(part) > 1 and not _has_repeats(part) for part in parts.values()):
            return [(part, f"{name} {value or 'empty'}") for value, part in sorted(parts.items())]
    return [(group, "")]


def _has_repeats(group: Sequence[Slice]) -> bool:
    return max(Counter((s.position, s.orientation) for s in group).values()) > 1


def _describe(group: list[Slice], label: str, skipped: dict[str, int]) -> _Series:
    ordered = tuple(sorted(group, key=_height))
    first = ordered[0]
    step = (_height(ordered[-1]) - _height(first)) / (len(ordered) - 1) if len(ordered) > 1 else math.nan
    notes = [f"passed over: {count} x {reason}" for reason, count in skipped.items()]
    thickness = first.tags["SliceThickness"]
    if thickness and len(ordered) > 1 and abs(float(thickness) - step) > 0.05:
        notes.append(f"slice thickness {thickness} mm, slices {step:.4g} mm apart")
    if first.tags["PhotometricInterpretation"] == "MONOCHROME1":
        notes.append("stored for inverted display (MONOCHROME1); values are kept")
    if label:
        notes.append(f"one of several scans in a series, told apart by {label}")
    description = " ".join(part for part in (first.tags["SeriesDescription"], label) if part)
    info = SeriesInfo(
        number=0 if first.series_number is None else first.series_number,
        uid=first.series_uid,
        description=description,
        modality=first.modality,
        shape=(len(ordered), first.rows, first.columns),
        spacing=(step, *first.spacing[:2]),  # type: ignore[arg-type]
        phase_hint=_phase_hint(first),
        notes=tuple(notes),
        files=tuple(s.path for s in ordered),
    )
    return _Series(info, ordered)


def _phase_hint(plane: Slice) -> str:
    time = plane.tags["AcquisitionTime"] or plane.tags["ContentTime"]
    parts = []
    if len(time) >= 6:
        parts.append(f"acquired {time[:2]}:{time[2:4]}:{time[4:6]}")
    if plane.tags["ContrastBolusAgent"]:
        parts.append(f"contrast {plane.tags['ContrastBolusAgent']}")
    if plane.tags["ContrastBolusStartTime"]:
        parts.append(f"bolus at {plane.tags['ContrastBolusStartTime']}")
    if plane.tags["ProtocolName"]:
        parts.append(f"protocol {plane.tags['ProtocolName']}")
    return ", ".join(parts)


def _numbered(found: list[_Series]) -> list[_Series]:
    numbers = [series.info.number for series in found]
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        found = [replace(s, info=replace(s.info, number=index)) for index, s in enumerate(found, start=1)]
    return sorted(found, key=lambda series: series.info.number)


def _choose(found: list[_Series], wanted: int | str | None, place: Path) -> _Series:
    listing = "".join(f"\n  {series.info}" for series in found)
    if wanted is None:
        if len(found) == 1:
            return found[0]
        raise SeriesChoiceError(
            "one image series",
            f"{len(found)} in {place}:{listing}\n",
            "choose one by its number, UID or description: --series, in Python series=",
        )
    text = str(wanted).strip()
    tests = (
        lambda i: text == str(i.number),
        lambda i: text == i.uid,
        lambda i: text.casefold() == i.description.casefold(),
        lambda i: text and text.casefold() in i.description.casefold(),
    )
    for test in tests:
        hits = [series for series in found if test(series.info)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            break
    count = len(hits) if hits else "no"
    raise SeriesChoiceError(
        f"series {text!r} to name one series", f"{count} such in {place}:{listing}\n", "pass one of these numbers"
    )


def _axes(plane: Slice) -> FloatArray:
    """Return the world unit vectors of plane, row and column index as columns of a matrix, (3, 3)."""
    along_columns, along_rows = np.array(plane.orientation[:3]), np.array(plane.orientation[3:6])
    return np.stack([np.cross(along_columns, along_rows), along_rows, along_columns], axis=1)


def _height(plane: Slice) -> float:
    return float(np.dot(_axes(plane)[:, 0], plane.position))


def _space(slices: Sequence[Slice]) -> Space:
    """Return the grid of slices that are ordered by position.

    Raises
    ------
    GeometryError
        The slices do not make one regular grid; the message names the first offending files.
    """
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError("at least two slices", f"one image: {first.path}", "export the whole series")
    _require_equal(slices)
    axes = _axes(first)
    space_check = np.abs(axes.T @ axes - np.eye(3)).max()
    if not space_check < _ANGLE_TOLERANCE:
        raise GeometryError("orthogonal unit row and column directions", f"{first.orientation} in {first.path}", "repair it")
    axes /= np.linalg.norm(axes, axis=0)
    positions = np.array([s.position for s in slices])
    step = _regular_step(slices, positions @ axes[:, 0])
    _require_straight(slices, positions, axes)
    return Space(np.array([step, *first.spacing]), positions[0], axes)


def _require_equal(slices: Sequence[Slice]) -> None:
    first = slices[0]
    a: tuple[float, ...]
    b: tuple[float, ...]
    for plane in slices[1:]:
        if (plane.rows, plane.columns) != (first.rows, first.columns):
            what, a, b = "size", (first.rows, first.columns), (plane.rows, plane.columns)
        elif not np.allclose(plane.orientation, first.orientation, atol=_ANGLE_TOLERANCE):
            what, a, b = "orientation", first.orientation, plane.orientation
        elif not np.allclose(plane.spacing, first.spacing, rtol=_SPACING_TOLERANCE):
            what, a, b = "pixel spacing", first.spacing, plane.spacing
        else:
            continue
        raise GeometryError(
            f"slices of one {what}", f"{a} in {first.path.name} and {b} in {plane.path.name}", "export one scan to one folder"
        )


def _regular_step(slices: Sequence[Slice], heights: FloatArray) -> float:
    gaps = np.diff(heights)
    step = float(np.median(gaps))
    if gaps.min() < 0.01:
        k = int(gaps.argmin())
        raise GeometryError(
            "one image at each position",
            f"{int((gaps < 0.01).sum())} repeated positions, first {slices[k].path.name} and {slices[k + 1].path.name}",
            "remove the copies, or separate phases and reconstructions into folders of their own",
        )
    tolerance = max(_STEP_TOLERANCE, _STEP_TOLERANCE_FRACTION * step)
    mean = (heights[-1] - heights[0]) / (len(heights) - 1)
    if np.abs(heights - (heights[0] + mean * np.arange(len(heights)))).max() <= tolerance:
        return float(mean)
    k = int(np.abs(gaps - step).argmax())
    times = gaps[k] / step
    where = f"between {slices[k].path.name} and {slices[k + 1].path.name}"
    if times > 1.5 and abs(times - round(times)) < 0.1:
        n_missing = int(sum(round(g / step) - 1 for g in gaps if g > 1.5 * step))
        raise GeometryError(
            f"slices {step:.4g} mm apart",
            f"{n_missing} missing, first gap of {gaps[k]:.4g} mm {where}",
            "export the series again",
        )
    raise GeometryError(
        "evenly spaced slices",
        f"steps from {gaps.min():.4g} to {gaps.max():.4g} mm, the oddest {where}",
        "export one scan with one slice spacing",
    )


def _require_straight(slices: Sequence[Slice], positions: FloatArray, axes: FloatArray) -> None:
    shift = (positions - positions[0]) @ axes[:, 1:]
    worst = int(np.abs(shift).max(axis=1).argmax())
    if np.abs(shift[worst]).max() <= _SHIFT_TOLERANCE_FRACTION * min(slices[0].spacing):
        return
    height = float((positions[-1] - positions[0]) @ axes[:, 0])
    angle = math.degrees(math.atan2(float(np.linalg.norm(shift[-1])), height))
    raise GeometryError(
        "slices stacked at right angles",
        f"a shift of {np.abs(shift[worst]).max():.3g} mm at {slices[worst].path.name} (tilted gantry, {angle:.2f} degrees)",
        "resample the series onto an upright grid first (for example dcm2niix or 3D Slicer)",
    )
