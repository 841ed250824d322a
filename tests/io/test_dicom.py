"""DICOM series: written and read back exactly, chosen among several, and refused where the slices make no grid."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid
from scipy.spatial.transform import Rotation

from vesselgraph.errors import FormatError, GeometryError, InputError, OutputError, RangeError, SeriesChoiceError
from vesselgraph.io import list_series, read_image, read_phases, write_dicom_series
from vesselgraph.space import Space
from vesselgraph.volume import Volume

SHAPE = (6, 5, 7)
Change = Callable[[Dataset, int], None]


def volume(space: Space | None = None, seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).integers(-1024, 3000, SHAPE).astype(np.int16)
    return Volume(array, space or Space.axial((2.5, 0.7, 0.8), (-120.5, 33.25, -1004.125)))


def oblique(angles: tuple[float, ...], spacing: tuple[float, ...], origin: tuple[float, ...]) -> Space:
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return Space(np.array(spacing), np.array(origin), rotation @ Space.axial().direction)


def write(folder: Path, change: Change | None = None, source: Volume | None = None, **options: object) -> Path:
    """Write a series and change the header of each of its files."""
    write_dicom_series(source or volume(), folder, **options)
    for index, path in enumerate(sorted(folder.iterdir())):
        if change is not None:
            dataset = pydicom.dcmread(path)
            change(dataset, index)
            dataset.save_as(path)
    return folder


@settings(max_examples=10, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 9)] * 3),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
)
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
) -> None:
    folder = tmp_path_factory.mktemp("trip") / "series"
    source = volume(oblique(angles, spacing, origin))
    write_dicom_series(source, folder)
    back = read_image(folder)
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, source.array)
    corners = [(0, 0, 0), (5, 4, 6), (5, 0, 0)]
    assert np.abs(back.space.to_world(corners) - source.space.to_world(corners)).max() < 1e-4


def test_written_files_say_what_pydicom_expects(tmp_path: Path) -> None:
    source = volume(oblique((10, 20, 30), (2.5, 0.7, 0.8), (1, 2, 3)))
    write_dicom_series(source, tmp_path / "s", patient_name="Doe^Jane", series_description="liver", phase="portal")
    assert len(list((tmp_path / "s").iterdir())) == 6
    dataset = pydicom.dcmread(tmp_path / "s" / "IM00004.dcm")
    assert dataset.SOPClassUID.name == "CT Image Storage"
    assert dataset.SeriesDescription == "liver portal"
    assert dataset.ImagePositionPatient == pytest.approx(source.space.to_world((3, 0, 0)).tolist())
    # DICOM PS3.3 C.7.6.2.1.1: rows follow each other along the second direction, columns along the first.
    row = np.array(dataset.ImageOrientationPatient[3:]) * dataset.PixelSpacing[0]
    column = np.array(dataset.ImageOrientationPatient[:3]) * dataset.PixelSpacing[1]
    assert np.array(dataset.ImagePositionPatient) + 4 * row + 6 * column == pytest.approx(source.space.to_world((3, 4, 6)))
    assert np.array_equal(dataset.pixel_array.astype(int) * int(dataset.RescaleSlope) - 1024, source.array[3])


def test_a_volume_is_named_after_its_series_or_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "named", series_description="liver")
    assert read_image(tmp_path / "named").name == "liver"

    def no_description(dataset: pydicom.Dataset, index: int) -> None:
        del dataset.SeriesDescription

    write(tmp_path / "portal-dicom", no_description)
    assert read_image(tmp_path / "portal-dicom").name == "portal-dicom"


def test_a_mirrored_grid_comes_back_at_the_same_places(tmp_path: Path) -> None:
    space = Space.axial((2.0, 1.0, 1.0), (0, 0, 50))
    source = volume(Space(space.spacing, space.origin, space.direction * [-1, 1, 1]))
    back = read_image(write(tmp_path / "s", source=source))
    assert np.array_equal(back.array, source.array[::-1])
    assert back.space.to_world((0, 0, 0)) == pytest.approx(source.space.to_world((5, 0, 0)))


def test_writing_refuses_what_is_no_ct(tmp_path: Path) -> None:
    with pytest.raises(RangeError, match="bool voxels"):
        write_dicom_series(volume().with_array(np.ones(SHAPE, bool)), tmp_path / "s")
    with pytest.raises(RangeError, match="finite values within int16; got nan"):
        write_dicom_series(volume().with_array(np.full(SHAPE, np.nan)), tmp_path / "s")
    with pytest.raises(OutputError, match="already holds files"):
        write_dicom_series(volume(), write(tmp_path / "used"))
    assert not (tmp_path / "s").exists()


def test_values_up_to_the_end_of_int16(tmp_path: Path) -> None:
    array = np.linspace(-1400, 32767, np.prod(SHAPE)).astype(np.int16).reshape(SHAPE)
    assert np.array_equal(read_image(write(tmp_path / "s", source=volume().with_array(array))).array, array)


def test_order_is_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", lambda d, i: setattr(d, "InstanceNumber", 100 - 7 * i))
    for index, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{(index * 5) % 7}")
    (folder / "deep").mkdir()
    (folder / "3").rename(folder / "deep" / "x")
    assert np.array_equal(read_image(folder).array, volume().array)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    write_dicom_series(volume(seed=1), tmp_path / "t", series_description="other")
    for path in (tmp_path / "t").iterdir():
        path.rename(folder / f"other{path.name}")
    assert np.array_equal(read_image(folder / "IM00003.dcm").array, volume().array)
    assert np.array_equal(read_image(folder / "otherIM00003.dcm").array, volume(seed=1).array)


def test_empty_uids_are_grouped_by_what_they_show(tmp_path: Path) -> None:
    def anonymise(dataset: Dataset, index: int) -> None:
        dataset.SeriesInstanceUID = dataset.StudyInstanceUID = dataset.SOPInstanceUID = ""
        dataset.SliceThickness = "3"

    folder = write(tmp_path / "s", anonymise)
    assert np.array_equal(read_image(folder).array, volume().array)
    (info,) = list_series(folder)
    assert info.shape == SHAPE
    assert info.spacing == pytest.approx((2.5, 0.7, 0.8))
    assert info.notes == ("slice thickness 3 mm, slices 2.5 mm apart",)
    tall = Volume(volume().array[:, :4], Space.axial((2.5, 0.7, 0.8)))
    write_dicom_series(tall, tmp_path / "t")
    for path in (tmp_path / "t").iterdir():
        dataset = pydicom.dcmread(path)
        anonymise(dataset, 0)
        dataset.save_as(folder / f"t{path.name}")
    with pytest.raises(SeriesChoiceError, match="got 2 in"):
        read_image(folder)


def two_series(folder: Path) -> Path:
    folder.mkdir()
    write(folder / "a", series_description="arterial", series_number=4)
    write(folder / "b", series_description="portal venous", series_number=7, source=volume(seed=1))
    return folder


def test_several_series_are_listed_to_choose_from(tmp_path: Path) -> None:
    folder = two_series(tmp_path / "study")
    with pytest.raises(SeriesChoiceError) as caught:
        read_image(folder)
    text = str(caught.value)
    assert "4: arterial (CT), 6 x 5 x 7 at 2.5 x 0.7 x 0.8 mm" in text
    assert "7: portal venous" in text
    assert "choose one by its number, UID or description: --series, in Python series=" in text
    uid = list_series(folder)[1].uid
    for choice in (7, "7", uid, "portal venous", "Portal"):
        assert np.array_equal(read_image(folder, series=choice).array, volume(seed=1).array)
    with pytest.raises(SeriesChoiceError, match="series '9' to name one series; got no such"):
        read_image(folder, series=9)


def test_phases_are_named_by_folder_and_series(tmp_path: Path) -> None:
    folder = two_series(tmp_path / "study")
    with pytest.raises(SeriesChoiceError, match="phase 'portal': one image series"):
        read_phases({"portal": folder})
    phases = read_phases({"portal": f"{folder}#7"})
    assert np.array_equal(phases["portal"].array, volume(seed=1).array)
    assert phases["portal"].name == "portal"


def test_series_without_numbers_are_counted(tmp_path: Path) -> None:
    def unnumbered(dataset: Dataset, index: int) -> None:
        dataset.SeriesNumber = None

    (tmp_path / "study").mkdir()
    write(tmp_path / "study" / "a", unnumbered, series_description="one")
    write(tmp_path / "study" / "b", unnumbered, series_description="two")
    assert [info.number for info in list_series(tmp_path / "study")] == [1, 2]


def test_phases_that_share_a_series_uid_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    for phase, seed in (("1", 0), ("2", 1)):

        def same(dataset: Dataset, index: int, phase: str = phase) -> None:
            dataset.SeriesInstanceUID = "1.2.3"
            dataset.AcquisitionNumber = phase

        write(tmp_path / "study" / phase, same, source=volume(seed=seed))
    first, second = list_series(tmp_path / "study")
    assert "AcquisitionNumber 1" in first.description
    assert "told apart by AcquisitionNumber 2" in second.notes[-1]
    assert np.array_equal(read_image(tmp_path / "study", series=second.number).array, volume(seed=1).array)


def test_what_is_no_scan_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    extra = pydicom.dcmread(folder / "IM00001.dcm")
    for name, key, value in (
        ("scout", "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        ("report", "Modality", "SR"),
        ("color", "SamplesPerPixel", 3),
    ):
        changed = copy.deepcopy(extra)
        setattr(changed, key, value)
        changed.save_as(folder / name)
    alone = copy.deepcopy(extra)
    alone.SeriesInstanceUID = "1.2.3"
    alone.save_as(folder / "alone")
    del extra.ImagePositionPatient
    extra.save_as(folder / "placeless")
    assert np.array_equal(read_image(folder).array, volume().array)
    (info,) = list_series(folder)
    said = "; ".join(info.notes)
    for reason in ("not DICOM", "localizer", "not a scan (SR)", "color image", "image without position", "series of a single"):
        assert f"passed over: 1 x {reason}" in said


def test_copies_of_one_image_are_dropped(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    shutil.copy(folder / "IM00002.dcm", folder / "copy.dcm")
    assert read_image(folder).shape == SHAPE


def set_position(dataset: Dataset, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
    old = [float(v) for v in dataset.ImagePositionPatient]
    dataset.ImagePositionPatient = [old[0] + x, old[1] + y, old[2] + z]


BAD_SERIES: dict[str, tuple[Change, str]] = {
    "duplicate position": (
        lambda d, i: set_position(d, z=-2.5 if i == 3 else 0.0),
        "one image at each position; got 1 repeated positions, first IM0000[34].dcm and IM0000[34].dcm",
    ),
    "uneven": (lambda d, i: set_position(d, z=1.0 if i >= 3 else 0.0), r"evenly spaced slices; got steps from 2.5 to 3.5 mm"),
    "two spacings": (
        lambda d, i: set_position(d, z=1.0 * max(0, i - 3)),
        r"evenly spaced slices; got steps from 2.5 to 3.5 mm",
    ),
    "tilt": (lambda d, i: set_position(d, y=0.5 * i), r"at right angles; got a shift of 2.5 mm .*tilted gantry, 11.31 degrees"),
    "orientation": (
        lambda d, i: setattr(d, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1] if i == 2 else [1, 0, 0, 0, 1, 0]),
        "slices of one orientation",
    ),
    "pixel spacing": (lambda d, i: setattr(d, "PixelSpacing", [0.7, 0.9 if i == 4 else 0.8]), "slices of one pixel spacing"),
    "size": (lambda d, i: setattr(d, "Rows", 5 if i else 4), "slices of one size"),
    "not orthogonal": (lambda d, _: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0.3, 1, 0]), "orthogonal unit row"),
    "zero spacing": (lambda d, _: setattr(d, "PixelSpacing", [0, 0.8]), "spacing > 0"),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_slices_that_make_no_grid_are_refused(tmp_path: Path, case: str) -> None:
    change, text = BAD_SERIES[case]
    with pytest.raises(GeometryError, match=text):
        read_image(write(tmp_path / "s", change))


def test_missing_slices_are_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", source=Volume(np.arange(12 * 35).reshape(12, 5, 7).astype(np.int16), volume().space))
    (folder / "IM00005.dcm").unlink()
    (folder / "IM00008.dcm").unlink()
    (folder / "IM00009.dcm").unlink()
    text = "slices 2.5 mm apart; got 3 missing, first gap of 7.5 mm between IM00007.dcm and IM00010.dcm"
    with pytest.raises(GeometryError, match=text):
        read_image(folder)


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(GeometryError, match="at least two slices; got one image"):
        read_image(folder)


def test_rounded_positions_are_accepted_and_averaged(tmp_path: Path) -> None:
    def rounded(dataset: Dataset, index: int) -> None:
        x, y, z = (float(v) for v in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y, round(z, 1)]

    space = Space.axial((1.25, 0.7, 0.8), (0, 0, 0))
    back = read_image(write(tmp_path / "s", rounded, source=volume(space)))
    assert back.space.spacing[0] == pytest.approx(1.25, abs=0.02)


def test_rescale_never_wraps(tmp_path: Path) -> None:
    def unsigned(dataset: Dataset, index: int) -> None:
        stored = np.full((5, 7), 65535, dtype=np.uint16)
        stored[0] = np.arange(7)
        dataset.PixelRepresentation, dataset.PixelData = 0, stored.tobytes()
        dataset.RescaleIntercept = "-1024"

    back = read_image(write(tmp_path / "s", unsigned))
    assert back.array.dtype == np.float32
    assert back.array.max() == 65535 - 1024
    assert back.array[0, 0].tolist() == list(range(-1024, -1017))


def test_fractional_slope_and_a_slope_of_its_own_for_each_slice(tmp_path: Path) -> None:
    stored = volume().array.astype(np.int64) + 1024

    def scale(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope = str(0.5 + 0.25 * index)

    back = read_image(write(tmp_path / "s", scale))
    assert back.array.dtype == np.float32
    expected = stored * (0.5 + 0.25 * np.arange(6))[:, None, None] - 1024
    assert np.array_equal(back.array, expected.astype(np.float32))


def test_padding_outside_the_circle_becomes_air(tmp_path: Path) -> None:
    array = volume().array.copy()
    array[:, 0, 0] = -3024
    array[:, 1, 1] = -1100
    back = read_image(write(tmp_path / "s", source=volume().with_array(array)))
    assert (back.array[:, 0, 0] == -1024).all()
    assert (back.array[:, 1, 1] == -1100).all()


def test_monochrome1_keeps_its_values_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", lambda d, _: setattr(d, "PhotometricInterpretation", "MONOCHROME1"))
    assert np.array_equal(read_image(folder).array, volume().array)
    assert "MONOCHROME1" in list_series(folder)[0].notes[-1]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression(tmp_path: Path, syntax: str) -> None:
    def compress(dataset: Dataset, index: int) -> None:
        if syntax == RLELossless:
            dataset.compress(RLELossless)

    if syntax == JPEG2000Lossless:
        path = pydicom.data.get_testdata_file("MR_small_jp2klossless.dcm", download=False)
        plain = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm", download=False))
        for index in range(2):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(index)])
            dataset.ImagePositionPatient = [0, 0, index]
            dataset.save_as(tmp_path / f"{index}.dcm")
        assert np.array_equal(read_image(tmp_path).array[1], plain.pixel_array)
        return
    assert np.array_equal(read_image(write(tmp_path / "s", compress)).array, volume().array)


def test_lossy_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="losslessly stored Hounsfield units; got lossy compression"):
        read_image(write(tmp_path / "s", lambda d, _: setattr(d, "LossyImageCompression", "01")))

    def jpeg(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].VR = "OB"

    with pytest.raises(FormatError, match="got JPEG baseline in"):
        read_image(write(tmp_path / "t", jpeg))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    whole = (folder / "IM00003.dcm").read_bytes()
    (folder / "IM00003.dcm").write_bytes(whole[:-30])
    with pytest.raises(FormatError, match=r"decodable pixel data; got .*IM00003.dcm: "):
        read_image(folder)
    (folder / "IM00003.dcm").write_bytes(whole[:400])
    with pytest.raises((FormatError, GeometryError), match=r"IM00003.dcm|1 missing"):
        read_image(folder)


def test_a_broken_number_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "s")
    path = folder / "IM00002.dcm"
    path.write_bytes(path.read_bytes().replace(b"1\\0\\0\\0\\1\\0", b"1\\0\\x\\0\\1\\0").replace(b"1.0\\0.0", b"1.0\\a.0"))
    with pytest.raises(FormatError, match=r"readable numbers; got .*IM00002.dcm"):
        read_image(folder)


def enhanced(path: Path, source: Volume, shuffle: tuple[int, ...] = (2, 0, 1, 5, 4, 3)) -> Path:
    """Write a multi-frame file whose frames are out of order."""
    write_dicom_series(source, path.parent / "plain")
    dataset = pydicom.dcmread(path.parent / "plain" / "IM00001.dcm")
    shutil.rmtree(path.parent / "plain")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del dataset[name]
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = source.space.direction[:, [2, 1]].T.ravel().round(12).tolist()
    measures.PixelSpacing = source.space.spacing[1:].tolist()
    values.RescaleSlope, values.RescaleIntercept = 1, -1024
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([orientation]), Items([measures])
    shared.PixelValueTransformationSequence = Items([values])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for index in shuffle:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = source.space.to_world((index, 0, 0)).round(9).tolist()
        frame.PlanePositionSequence = Items([place])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = (source.array[list(shuffle)].astype(np.int32) + 1024).astype("<i2").tobytes()
    dataset.save_as(path)
    return path


def test_enhanced_multi_frame_ct(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", volume())
    for place in (path, tmp_path):
        back = read_image(place)
        assert np.array_equal(back.array, volume().array)
        assert back.space.is_close(volume().space)


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match=r"a folder with DICOM images; got .*1 x not DICOM"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="an existing DICOM folder or file"):
        list_series(tmp_path / "gone")


def test_real_series_with_empty_uids(data_dir: Path) -> None:
    folder = data_dir / "ts_abdomen" / "example_ct_dicom"
    (info,) = list_series(folder)
    assert info.uid == ""
    assert info.shape == (20, 512, 512)
    assert "slice thickness 3 mm, slices 2 mm apart" in info.notes
    ct = read_image(folder)
    assert ct.space.spacing == pytest.approx([2.0, 0.9765625, 0.9765625])
    assert (ct.array.min(), ct.array.max()) == (-1024, 1839)
    header = pydicom.dcmread(info.files[7], stop_before_pixels=True)
    assert ct.space.to_world((7, 0, 0)) == pytest.approx([float(v) for v in header.ImagePositionPatient])
