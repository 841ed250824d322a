"""DICOM headers: every image plane below a folder, with its place in the patient."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesselgraph.errors import FormatError, InputError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_FILES = 100_000
"""More files than any study has: a sign that the wrong folder was named."""

SPLITTERS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ConvolutionKernel",
    "EchoTime",
    "ImageType",
    "SeriesDescription",
)
"""What tells repeated scans of one region apart when they share one series UID."""

_NOT_SCANS = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "PR", "SR", "KO", "REG", "DOC", "OT"}
_HINTS = ("ProtocolName", "ContrastBolusAgent", "ContrastBolusStartTime", "ContentTime")
_TAGS = (
    *SPLITTERS,
    *_HINTS,
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "LossyImageCompression",
    "SliceThickness",
    "GantryDetectorTilt",
    "BitsAllocated",
    "PixelRepresentation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True)
class Slice:
    """One image plane of one DICOM file.

    ``position`` (mm, LPS) is the centre of the first pixel, ``orientation`` the direction in which the column index grows
    followed by that in which the row index grows, ``spacing`` the distance between rows and between columns in mm.
    """

    path: Path
    frame: int | None
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    rows: int
    columns: int
    slope: float
    intercept: float
    modality: str
    syntax: str
    is_lossy: bool
    uid: str
    series_uid: str
    series_number: int | None
    tags: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Scan:
    """The image planes below a folder, and what was passed over: reason to number of files."""

    slices: tuple[Slice, ...]
    skipped: dict[str, int]


def scan(place: Path, *, recursive: bool = True) -> Scan:
    """Return the image planes of all DICOM files below a folder, or of one file.

    Raises
    ------
    FormatError
        A file starts like DICOM but cannot be read.
    InputError
        The folder is missing, holds no DICOM image, or holds more than :data:`MAX_FILES` files.
    """
    slices: list[Slice] = []
    skipped: dict[str, int] = {}
    for path in _files(place, recursive):
        dataset = read_header(path)
        found = "not DICOM" if dataset is None else _planes(dataset, path)
        if isinstance(found, str):
            skipped[found] = skipped.get(found, 0) + 1
        else:
            slices.extend(found)
    return Scan(tuple(slices), skipped)


def read_header(path: Path) -> Dataset | None:
    """Return the header of a DICOM file without its pixels, or None if the file is something else.

    Raises
    ------
    FormatError
        The file says it is DICOM but its header is broken.
    """
    import pydicom

    try:
        with path.open("rb") as stream:
            start = stream.read(132)
        # Old writers leave the preamble out and start with a group 0002 or 0008 element.
        if start[128:] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    except PermissionError as error:
        raise FormatError("a readable file", f"{path}: {error.strerror}", "check its permissions") from error
    except Exception as error:  # pydicom raises many kinds on broken files
        if start[128:] != b"DICM":
            return None
        raise FormatError("an undamaged DICOM file", f"{path}: {error}", "export or copy the series again") from error
    return dataset if start[128:] == b"DICM" or "SOPClassUID" in dataset else None


def _files(place: Path, recursive: bool) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    count = 0
    for path in sorted(place.rglob("*") if recursive else place.iterdir()):
        if path.is_file() and path.name.upper() != "DICOMDIR":
            count += 1
            if count > MAX_FILES:
                raise InputError("the folder of one study", f"more than {MAX_FILES} files below {place}", "name its folder")
            yield path


def _planes(dataset: Dataset, path: Path) -> list[Slice] | str:
    """Return the planes of one file, or in plain words why it holds none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reason = _no_scan(dataset)
            if reason:
                return reason
            if "PerFrameFunctionalGroupsSequence" in dataset:
                return _frames(dataset, path)
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                return "multi-frame image without a place for each frame"
            return [_plane(dataset, dataset, dataset, dataset, path, None)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise FormatError("a DICOM header with readable numbers", f"{path}: {error}", "export the series again") from error


def _no_scan(dataset: Dataset) -> str:
    modality = str(dataset.get("Modality", ""))
    if modality in _NOT_SCANS or not dataset.get("Rows") or not dataset.get("Columns"):
        return f"not a scan ({modality or 'no modality'})"
    if "LOCALIZER" in [str(part).upper() for part in dataset.get("ImageType") or []]:
        return "localizer"
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "color image"
    has_place = dataset.get("ImagePositionPatient") and dataset.get("ImageOrientationPatient") and dataset.get("PixelSpacing")
    if not has_place and "PerFrameFunctionalGroupsSequence" not in dataset:
        return "image without position, orientation or pixel spacing"
    return ""


def _frames(dataset: Dataset, path: Path) -> list[Slice] | str:
    from pydicom import Dataset as Empty

    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Empty())
    planes = []
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        groups = [_group(name, frame, shared) for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures")]
        if None in groups:
            return "multi-frame image without position, orientation or pixel spacing"
        position, orientation, measures = groups
        rescale = _group("PixelValueTransformation", frame, shared) or dataset
        place = Empty()
        place.update(position)
        place.update(orientation)
        planes.append(_plane(dataset, place, measures, rescale, path, index, _frame_tags(frame)))
    return planes


def _group(name: str, frame: Dataset, shared: Dataset) -> Any:
    for owner in (frame, shared):
        for item in owner.get(f"{name}Sequence") or []:
            return item
    return None


def _frame_tags(frame: Dataset) -> dict[str, str]:
    content = next(iter(frame.get("FrameContentSequence") or []), None)
    if content is None:
        return {}
    names = {"TemporalPositionIndex": "TemporalPositionIndex", "FrameAcquisitionNumber": "AcquisitionNumber"}
    return {tag: str(content.get(name)) for name, tag in names.items() if content.get(name) is not None}


def _plane(
    dataset: Dataset,
    place: Dataset,
    measures: Dataset,
    rescale: Dataset,
    path: Path,
    frame: int | None,
    extra: dict[str, str] | None = None,
) -> Slice:
    number = dataset.get("SeriesNumber")
    tags = {name: _text(dataset.get(name)) for name in (*SPLITTERS, *_HINTS, "SliceThickness", "PhotometricInterpretation")}
    meta = getattr(dataset, "file_meta", None)
    return Slice(
        path=path,
        frame=frame,
        position=tuple(float(v) for v in place.ImagePositionPatient),
        orientation=tuple(float(v) for v in place.ImageOrientationPatient),
        spacing=tuple(float(v) for v in measures.PixelSpacing),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        slope=1.0 if rescale.get("RescaleSlope") is None else float(rescale.RescaleSlope),
        intercept=0.0 if rescale.get("RescaleIntercept") is None else float(rescale.RescaleIntercept),
        modality=str(dataset.get("Modality", "")),
        syntax=str(meta.get("TransferSyntaxUID", "")) if meta is not None else "",
        is_lossy=str(dataset.get("LossyImageCompression", "00")) == "01",
        uid=str(dataset.get("SOPInstanceUID", "") or ""),
        series_uid=str(dataset.get("SeriesInstanceUID", "") or ""),
        series_number=None if number is None else int(number),
        tags={**tags, **(extra or {})},
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__") else "\\".join(map(str, value))
