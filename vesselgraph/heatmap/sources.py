"""Where cases come from: generated studies, and real images named in a manifest or found in known folder layouts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vesselgraph.config import TrainHeatmapConfig
from vesselgraph.errors import FormatError, InputError
from vesselgraph.heatmap.cases import CASE_LAYOUT, TrainingCase, load_case, make_case, save_case
from vesselgraph.heatmap.targets import LEARNED_AXES, joined, segments_of
from vesselgraph.io import read_image, read_mask
from vesselgraph.io.atomic import atomic_path
from vesselgraph.metrics import skeleton_graph
from vesselgraph.phantom import GENERATOR, Study, make_study, sample_study_config
from vesselgraph.resampling import resample_like
from vesselgraph.volume import PhaseSet, Volume, oriented

TREE_COLUMNS = ("portal", "hepatic", "artery", "vessel")
COLUMNS = ("case", "image", "phase", *TREE_COLUMNS, "organ")
"""Columns of a manifest. ``vessel`` is a mask of vessels whose trees are not told apart."""

_AROUND_VESSELS = 10.0
"""Without an organ mask the truth counts this far around the vessels, mm."""


class StudySource:
    """Generated studies, kept on disk once made.

    Case ``i`` is the study with seed ``config.first_seed + i``; negative numbers are the studies to judge on.

    Parameters
    ----------
    config : TrainHeatmapConfig
    folder : Path
        Where cases are kept.
    """

    def __init__(self, config: TrainHeatmapConfig, folder: Path) -> None:
        self.config, self.folder = config, folder

    def __len__(self) -> int:
        """Return the number of studies to learn from."""
        return self.config.n_studies

    def case(self, index: int) -> TrainingCase:
        """Return one study, from disk if it was made before with the same settings."""
        settings = sample_study_config(self.config.first_seed + index, self.config.studies)
        path = self.folder / f"{settings.digest()}-{GENERATOR}-{CASE_LAYOUT}-{self.config.step:g}-{self.config.rim:g}.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_case(study_case(make_study(settings), self.config), path)
        return load_case(path)


def study_case(study: Study, config: TrainHeatmapConfig) -> TrainingCase:
    """Return the training case of a generated study."""
    graph = study.graph
    is_piece = np.ones(len(graph.path_position), np.bool_)
    is_piece[graph.path_offset[1:] - 1] = False
    branch = graph.edge_of_point[is_piece]
    visibility = {
        phase: np.asarray(graph.edge_data[f"visibility_{phase}"], np.float32)[branch]
        for phase in study.phases
        if f"visibility_{phase}" in graph.edge_data
    }
    moved = {phase: segments_of(study.graph_in(phase)) for phase in study.motions if phase in study.phases}
    return make_case(
        f"study {study.config.seed}",
        dict(study.phases),
        study.organ_mask,
        segments_of(graph),
        step=config.step,
        rim=config.rim,
        visibility=visibility,
        places={phase: np.stack([pieces.start, pieces.end]) for phase, pieces in moved.items()},
    )


@dataclass(frozen=True)
class CaseFiles:
    """The files of one real case; a path may end in ``:3`` for label 3 of a label image."""

    name: str
    images: Mapping[str, str]
    masks: Mapping[str, str]
    organ: str = ""


class ManifestSource:
    """The real cases of ``config.manifest``; none if it is empty.

    Raises
    ------
    FormatError
        The manifest cannot be read, lacks a column, or a case has no image or no vessel mask.
    """

    def __init__(self, config: TrainHeatmapConfig) -> None:
        self.config = config
        self.cases = read_manifest(config.manifest) if config.manifest else []

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.cases)

    def case(self, index: int) -> TrainingCase:
        """Return one case; centerlines and radii are derived from its masks, which takes seconds."""
        return real_case(self.cases[index], self.config)


def real_case(files: CaseFiles, config: TrainHeatmapConfig) -> TrainingCase:
    """Return the training case of images and vessel masks: the centerlines are the skeletons of the masks.

    Raises
    ------
    InputError
        A file cannot be used.
    SpaceMismatchError
        The images of the phases lie on different grids; register them first.
    """
    images = {}
    for phase, path in files.images.items():
        images[phase] = oriented(read_image(path), LEARNED_AXES)
    phases = PhaseSet(images)
    masks = {name: resample_like(_mask(path), phases.reference, interpolation="nearest") for name, path in files.masks.items()}
    parts = [segments_of(skeleton_graph(mask), None if name == "vessel" else name) for name, mask in masks.items()]
    segments = joined(parts)
    if not len(segments):
        raise InputError(f"vessel masks with a centerline in case {files.name}", "none", "check the masks")
    if files.organ:
        organ, rim = resample_like(_mask(files.organ), phases.reference, interpolation="nearest"), config.rim
    else:
        union = np.logical_or.reduce([mask.array for mask in masks.values()])
        organ, rim = phases.reference.with_array(union, "vessels"), _AROUND_VESSELS
    case = make_case(files.name, dict(phases), organ, segments, step=config.step, rim=rim)
    return replace(case, named="vessel" not in files.masks)


def _mask(path: str) -> Volume:
    place, sign, label = path.rpartition(":")
    if sign and label.isdigit():
        return read_mask(place, labels=[int(label)])
    return read_mask(path)


def read_manifest(path: str | Path) -> list[CaseFiles]:
    """Return the cases of a manifest, a CSV file with the columns :data:`COLUMNS`.

    One row an image. Rows with the same ``case`` are phases of one patient on one grid; their masks may stand in any of the
    rows. Columns without values may be left out. Paths are relative to the manifest; ``labels.nii.gz:2`` means label 2.

    Raises
    ------
    FormatError
        The file cannot be read, a column is unknown, or a case has no image, no vessel mask, or two images of one phase.
    """
    place = Path(path)
    try:
        with place.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError("a readable manifest", f"{place}: {error}", "check the path") from error
    unknown = sorted({str(key) for row in rows for key in row if key not in COLUMNS})
    if unknown or not rows:
        got = f"unknown columns {', '.join(unknown)}" if unknown else "no rows"
        raise FormatError(f"a manifest with the columns {', '.join(COLUMNS)}", f"{got} in {place}", "see docs/training.md")
    grouped: dict[str, list[dict[str, str]]] = {}
    for number, row in enumerate(rows):
        grouped.setdefault(row.get("case") or f"row {number + 1}", []).append(row)
    return [_case_files(name, group, place.parent) for name, group in grouped.items()]


def _case_files(name: str, rows: list[dict[str, str]], folder: Path) -> CaseFiles:
    def at(text: str) -> str:
        return str(folder / text)

    images = [(row.get("phase") or "unknown", at(row["image"])) for row in rows if row.get("image")]
    masks = {column: at(row[column]) for row in rows for column in TREE_COLUMNS if row.get(column)}
    organ = next((at(row["organ"]) for row in rows if row.get("organ")), "")
    if not images or not masks or len(dict(images)) < len(images):
        got = f"{len(images)} images of {len(dict(images))} phases and {len(masks)} vessel masks"
        raise FormatError(f"images of different phases and a vessel mask in case {name}", got, "complete the manifest")
    return CaseFiles(name, dict(images), masks, organ)


def write_manifest(cases: list[CaseFiles], path: str | Path) -> None:
    """Write a manifest that :func:`read_manifest` reads; paths are written as they are."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for case in cases:
            for number, (phase, image) in enumerate(case.images.items()):
                masks = {**case.masks, "organ": case.organ} if number == 0 else {}
                writer.writerow({"case": case.name, "image": image, "phase": phase, **masks})


def find_cases(folder: str | Path, layout: str) -> list[CaseFiles]:
    """Return the cases of a data set in its published folder layout.

    Parameters
    ----------
    folder : path
        The unpacked data set.
    layout : {"msd", "ircadb", "livs"}
        ``msd``: Medical Segmentation Decathlon Task08, ``imagesTr`` and ``labelsTr`` (1 vessel, 2 tumour; trees not told
        apart). ``ircadb``: 3D-IRCADb-01, ``3Dircadb1.*/PATIENT_DICOM`` and ``MASKS_DICOM/{portalvein, venoussystem, artery,
        liver}``, the archives unpacked. ``livs``: ``*/Liver.nii`` with ``Liver-vessel-mask.nii`` and ``Liver-mask.nii``.

    Raises
    ------
    InputError
        The layout is unknown, or the folder holds no such case.
    """
    finders: dict[str, Callable[[Path], list[CaseFiles]]] = {"msd": _find_msd, "ircadb": _find_ircadb, "livs": _find_livs}
    if layout not in finders:
        raise InputError(f"a layout of {', '.join(finders)}", repr(layout), "write a manifest for other data")
    cases = finders[layout](Path(folder))
    if not cases:
        raise InputError(f"cases in the layout {layout}", f"none in {folder}", "name the unpacked folder; see docs/training.md")
    return cases


def _find_msd(folder: Path) -> list[CaseFiles]:
    return [
        CaseFiles(_stem(image), {"portal": str(image)}, {"vessel": f"{folder / 'labelsTr' / image.name}:1"})
        for image in sorted((folder / "imagesTr").glob("[!.]*.nii.gz"))
        if (folder / "labelsTr" / image.name).exists()
    ]


def _find_ircadb(folder: Path) -> list[CaseFiles]:
    named = {"portal": ("portalvein", "portalvein1"), "hepatic": ("venoussystem", "venacava"), "artery": ("artery",)}
    cases = []
    for patient in sorted(path.parent for path in folder.glob("*/PATIENT_DICOM")):
        masks: dict[str, str] = {}
        for tree, names in named.items():
            found = [patient / "MASKS_DICOM" / name for name in names if (patient / "MASKS_DICOM" / name).is_dir()]
            masks |= {tree: str(found[0])} if found else {}
        liver = patient / "MASKS_DICOM" / "liver"
        if masks:
            organ = str(liver) if liver.is_dir() else ""
            cases.append(CaseFiles(patient.name, {"portal": str(patient / "PATIENT_DICOM")}, masks, organ))
    return cases


def _find_livs(folder: Path) -> list[CaseFiles]:
    cases = []
    for suffix in (".nii", ".nii.gz"):
        for image in sorted(folder.glob(f"*/Liver{suffix}")):
            vessels, liver = (image.with_name(f"Liver-{name}{suffix}") for name in ("vessel-mask", "mask"))
            if vessels.exists():
                organ = str(liver) if liver.exists() else ""
                cases.append(CaseFiles(image.parent.name, {"portal": str(image)}, {"vessel": str(vessels)}, organ))
    return cases


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
