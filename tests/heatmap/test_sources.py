"""Cases from generated studies, manifests and published folder layouts."""

from __future__ import annotations

import numpy as np
import pytest

from vesselgraph import Space, Volume, write_dicom_series, write_image
from vesselgraph.config import StudyRanges, TrainHeatmapConfig
from vesselgraph.errors import FormatError, InputError, SpaceMismatchError
from vesselgraph.heatmap.sources import (
    CaseFiles,
    ManifestSource,
    StudySource,
    find_cases,
    read_manifest,
    real_case,
    study_case,
    write_manifest,
)
from vesselgraph.phantom import make_study, sample_study_config

CONFIG = TrainHeatmapConfig(rim=4.0)
SPACE = Space.axial(spacing=(1.5, 0.8, 0.8))


def tube_volume(kind: str, row: int = 15) -> Volume:
    """A tube of radius 3 mm along the planes, as mask or CT."""
    y, x = np.indices((30, 30)) * 0.8
    inside = np.broadcast_to(np.hypot(y - row * 0.8, x - 12.0) <= 3.0, (20, 30, 30))
    if kind == "mask":
        return Volume(inside.astype(np.uint8), SPACE, kind)
    noise = np.random.default_rng(0).normal(110.0, 5.0, inside.shape)
    return Volume(np.rint(noise + 60.0 * inside).astype(np.int16), SPACE, kind)


@pytest.fixture
def folder(tmp_path):
    write_image(tube_volume("ct"), tmp_path / "ct.nii.gz")
    write_image(tube_volume("mask"), tmp_path / "portal.nii.gz")
    write_image(tube_volume("mask", 8).with_array(2 * tube_volume("mask", 8).array), tmp_path / "hepatic.nii.gz")
    write_image(Volume(np.ones((20, 30, 30), np.uint8), SPACE), tmp_path / "liver.nii.gz")
    return tmp_path


def test_centerlines_and_radii_come_from_the_masks(folder) -> None:
    (folder / "m.csv").write_text(
        "case,image,phase,portal,hepatic,organ\np1,ct.nii.gz,portal,portal.nii.gz,hepatic.nii.gz:2,liver.nii.gz\n"
    )
    source = ManifestSource(CONFIG.model_copy(update={"manifest": str(folder / "m.csv")}))
    assert len(source) == 1
    case = source.case(0)
    assert list(case.phases) == ["portal"]
    assert case.named
    assert set(case.segments.tree.tolist()) == {1, 2}
    portal = case.segments.taken(case.segments.tree == 1)
    world = case.space.to_world(portal.start)
    np.testing.assert_allclose(world[:, :2].mean(axis=0), [12.0, 12.0], atol=0.6)
    assert np.median(portal.start_radius) == pytest.approx(3.0, abs=0.6)
    assert case.counts.all()


def test_unnamed_vessels_without_an_organ_count_around_themselves(folder) -> None:
    case = real_case(CaseFiles("a", {"unknown": str(folder / "ct.nii.gz")}, {"vessel": str(folder / "portal.nii.gz")}), CONFIG)
    assert not case.named
    assert set(case.segments.tree.tolist()) == {0}
    assert case.counts.any()
    assert not case.counts.all()


def test_phases_on_different_grids_are_refused(folder) -> None:
    other = tube_volume("ct").crop((0, 0, 0), (19, 30, 30))
    write_image(other, folder / "late.nii.gz")
    images = {"portal": str(folder / "ct.nii.gz"), "delayed": str(folder / "late.nii.gz")}
    with pytest.raises(SpaceMismatchError, match="delayed"):
        real_case(CaseFiles("a", images, {"portal": str(folder / "portal.nii.gz")}), CONFIG)


def test_rows_of_one_case_are_its_phases(tmp_path) -> None:
    (tmp_path / "m.csv").write_text("case,image,phase,vessel\na,1.nii,portal,v.nii\na,2.nii,arterial,\nb,3.nii,,w.nii\n")
    first, second = read_manifest(tmp_path / "m.csv")
    assert {name: path.rsplit("/", 1)[1] for name, path in first.images.items()} == {"portal": "1.nii", "arterial": "2.nii"}
    assert list(first.masks) == ["vessel"]
    assert list(second.images) == ["unknown"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,image,veins\na,1.nii,2.nii\n", "unknown columns veins"),
        ("case,image,portal\n", "no rows"),
        ("case,image,portal\na,1.nii,\n", "0 vessel masks"),
        ("case,image,phase,portal\na,1.nii,portal,2.nii\na,3.nii,portal,\n", "2 images of 1 phases"),
    ],
)
def test_a_manifest_that_says_too_little_is_refused(tmp_path, text: str, words: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(FormatError, match=words):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(FormatError, match="check the path"):
        read_manifest(tmp_path / "none.csv")


def test_a_manifest_survives_the_disk(tmp_path) -> None:
    cases = [CaseFiles("a", {"portal": "/x/1.nii", "native": "/x/2.nii"}, {"portal": "/x/p.nii:3"}, "/x/liver.nii")]
    write_manifest(cases, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == cases


def test_the_decathlon_layout(tmp_path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
        for name in ("hepaticvessel_001.nii.gz", "._hepaticvessel_001.nii.gz"):
            (tmp_path / part / name).touch()
    (tmp_path / "imagesTr/hepaticvessel_002.nii.gz").touch()
    (case,) = find_cases(tmp_path, "msd")
    assert case.name == "hepaticvessel_001"
    assert case.masks["vessel"].endswith("labelsTr/hepaticvessel_001.nii.gz:1")


def test_the_ircadb_layout_is_read_as_dicom(tmp_path) -> None:
    patient = tmp_path / "3Dircadb1.1"
    (patient / "MASKS_DICOM").mkdir(parents=True)
    write_dicom_series(tube_volume("ct"), patient / "PATIENT_DICOM")
    mask = tube_volume("mask")
    write_dicom_series(mask.with_array((255 * mask.array).astype(np.int16)), patient / "MASKS_DICOM/portalvein")
    (case,) = find_cases(tmp_path, "ircadb")
    assert (case.name, sorted(case.masks), case.organ) == ("3Dircadb1.1", ["portal"], "")
    made = real_case(case, CONFIG)
    assert set(made.segments.tree.tolist()) == {1}
    assert made.counts.any()


def test_the_livs_layout(tmp_path) -> None:
    (tmp_path / "Sample-001").mkdir()
    for name in ("Liver.nii", "Liver-mask.nii", "Liver-vessel-mask.nii"):
        (tmp_path / "Sample-001" / name).touch()
    (case,) = find_cases(tmp_path, "livs")
    assert case.masks["vessel"].endswith("Liver-vessel-mask.nii")
    assert case.organ.endswith("Liver-mask.nii")


def test_unknown_layouts_and_empty_folders_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="a layout of msd"):
        find_cases(tmp_path, "other")
    with pytest.raises(InputError, match="none in"):
        find_cases(tmp_path, "msd")


def test_a_generated_study_is_made_once(tmp_path) -> None:
    ranges = StudyRanges(shape=(32, 32, 32), n_portal_tips=(40, 60), n_hepatic_tips=(40, 60), slice_thickness=(1.0, 1.2))
    config = CONFIG.model_copy(update={"studies": ranges, "first_seed": 50, "n_studies": 2})
    source = StudySource(config, tmp_path / "cases")
    case = source.case(1)
    assert case.name == "study 51"
    assert set(case.phases) == {"native", "arterial", "portal", "delayed"}
    assert set(case.visibility) == set(case.phases)
    assert all(len(values) == len(case.segments) for values in case.visibility.values())
    (file,) = (tmp_path / "cases").iterdir()
    stamp = file.stat().st_mtime_ns
    again = source.case(1)
    assert file.stat().st_mtime_ns == stamp
    assert np.array_equal(again.phases["portal"], case.phases["portal"])
    # Vessels of the study are bright in its portal phase.
    seen = case.segments_seen(["portal"], CONFIG)
    strong = seen.taken(seen.clarity > 0.8)
    index = np.rint(strong.start).astype(int)
    index = index[((index >= 0) & (index < case.shape)).all(axis=1)]
    if len(index) > 20:
        assert np.median(case.phases["portal"][tuple(index.T)]) > np.median(case.phases["portal"][case.counts])


def test_phases_of_another_breath_keep_their_own_centerlines() -> None:
    # The arterial phase lies elsewhere than the portal one, the truth's place.
    ranges = StudyRanges(
        shape=(48, 48, 48), motion_fraction=1.0, shift=(2.0, 2.5), slice_thickness=(1.0, 1.1), n_portal_tips=(40, 60)
    )
    study = make_study(sample_study_config(50, ranges))
    case = study_case(study, CONFIG)
    assert set(case.places) == set(study.motions)
    assert "portal" not in case.places
    step = np.linalg.norm(case.places["arterial"][0] - case.segments.start, axis=1)
    expected = np.linalg.norm(study.graph_in("arterial").path_position - study.graph.path_position, axis=1)
    assert 0.5 * np.median(expected) < np.median(step) < 2.0 * np.median(expected)
    assert np.median(expected) > 0.5
