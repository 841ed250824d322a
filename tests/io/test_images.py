"""Image files against independent readers, and every kind of bad file with its error."""

from __future__ import annotations

import gzip
import warnings
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vesselgraph.errors import (
    BudgetError,
    FormatError,
    GeometryError,
    InputError,
    OutputError,
    RangeError,
    ShapeError,
    VesselGraphError,
)
from vesselgraph.io import read_heatmap, read_image, read_mask, write_image
from vesselgraph.space import Space
from vesselgraph.volume import Volume

LPS_OF_RAS = np.array([-1.0, -1.0, 1.0])


def counting(shape: tuple[int, ...] = (3, 4, 5), dtype: str = "int16") -> NDArray[np.generic]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def oblique(angles: tuple[float, float, float] = (10, 20, 30), spacing: tuple[float, ...] = (2.5, 0.7, 0.8)) -> Space:
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return Space(np.array(spacing), np.array([-120.5, 33.25, -1004.125]), rotation @ Space.axial().direction)


def save_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], **header: object) -> Path:
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


AFFINES = {
    "usual": np.array([[-0.8, 0, 0, 90], [0, -0.7, 0, 80], [0, 0, 2.5, -300], [0, 0, 0, 1.0]]),
    "flipped": np.array([[0.8, 0, 0, -90], [0, 0.7, 0, 80], [0, 0, -2.5, 300], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 2.5, -90], [0.8, 0, 0, 80], [0, -0.7, 0, 300], [0, 0, 0, 1.0]]),
    "oblique": np.block(
        [
            [
                Rotation.from_euler("xyz", (25, -10, 40), degrees=True).as_matrix() * [0.8, 0.7, 2.5],
                np.array([[5.0], [6], [7]]),
            ],
            [np.zeros((1, 3)), np.ones((1, 1))],
        ]
    ),
}


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_nifti_lies_where_nibabel_says(tmp_path: Path, name: str, form: str) -> None:
    data = counting((4, 5, 6))
    image = nib.Nifti1Image(data, AFFINES[name])
    image.set_sform(AFFINES[name], code=1 if form == "sform" else 0)
    image.set_qform(AFFINES[name], code=1 if form == "qform" else 0)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    oracle = nib.load(tmp_path / "a.nii.gz")
    for ijk in [(0, 0, 0), (3, 1, 2), (3, 4, 5)]:
        world = nib.affines.apply_affine(oracle.affine, ijk) * LPS_OF_RAS
        assert np.abs(volume.space.to_world(ijk[::-1]) - world).max() < 1e-4
        assert volume.array[ijk[::-1]] == data[ijk]


def test_nifti_prefers_the_sform_as_nibabel_does(tmp_path: Path) -> None:
    image = nib.Nifti1Image(counting(), AFFINES["usual"])
    image.set_qform(AFFINES["flipped"], code=1)
    image.set_sform(AFFINES["usual"], code=2)
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").space.origin == pytest.approx([-90, -80, -300])


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_versions_and_byte_orders(tmp_path: Path, kind: type, order: str) -> None:
    data = counting(dtype="int16") - 20
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype("int16"))
    nib.save(kind(data, AFFINES["oblique"], header), tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.array, data.T)
    assert volume.space.to_world((0, 0, 0)) == pytest.approx(AFFINES["oblique"][:3, 3] * LPS_OF_RAS, abs=1e-4)


def test_nifti_scaling_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(counting(dtype="uint16"), AFFINES["usual"])
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, tmp_path / "whole.nii")
    raw = bytearray((tmp_path / "whole.nii").read_bytes())
    raw[112:120] = np.array([2.0, -1024.0], dtype="<f4").tobytes()
    raw[352:] = counting(dtype="uint16").tobytes(order="F")
    (tmp_path / "whole.nii").write_bytes(raw)
    volume = read_image(tmp_path / "whole.nii")
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, (counting(dtype="int64") * 2 - 1024).T)
    raw[112:120] = np.array([0.5, 0.25], dtype="<f4").tobytes()
    (tmp_path / "part.nii").write_bytes(raw)
    volume = read_image(tmp_path / "part.nii")
    assert volume.array.dtype == np.float32
    assert volume.array.max() == 59 * 0.5 + 0.25


@pytest.mark.parametrize(
    ("dtype", "add", "expected"),
    [
        ("uint8", 0, "int16"),
        ("int32", -1000, "int16"),
        ("int32", 40000, "float32"),
        ("uint16", 65000, "float32"),
        ("int64", 3, "int16"),
        ("float32", 0, "float32"),
        ("float64", 0, "float32"),
    ],
)
def test_values_never_wrap(tmp_path: Path, dtype: str, add: int, expected: str) -> None:
    data = counting(dtype="int64") + add
    save_nifti(tmp_path / "a.nii", data.astype(dtype), AFFINES["usual"])
    volume = read_image(tmp_path / "a.nii")
    assert volume.array.dtype == expected
    assert np.array_equal(volume.array.astype(np.int64), data.T)


def test_values_too_large_for_exact_float32_are_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", counting(dtype="int64") + 2**40, AFFINES["usual"])
    with pytest.raises(FormatError, match="values that float32 holds exactly; got 1099511627776 to"):
        read_image(tmp_path / "a.nii")
    save_nifti(tmp_path / "b.nii", counting(dtype="float64") * 1e40, AFFINES["usual"])
    with pytest.raises(FormatError, match="values within float32"):
        read_image(tmp_path / "b.nii")


@settings(max_examples=15, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 9)] * 3),
    suffix=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]),
    dtype=st.sampled_from(["int16", "float32"]),
    mirror=st.booleans(),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    suffix: str,
    dtype: str,
    mirror: bool,
) -> None:
    space = oblique(angles, spacing)
    if mirror:
        space = Space(space.spacing, space.origin, space.direction * [1, -1, 1])
    path = tmp_path_factory.mktemp("trip") / f"a{suffix}"
    volume = Volume(counting(dtype=dtype) - 30, space)
    write_image(volume, path)
    back = read_image(path)
    assert back.array.dtype == volume.array.dtype
    assert np.array_equal(back.array, volume.array)
    corners = np.array([(0, 0, 0), (2, 3, 4), (0, 3, 0)])
    assert np.abs(back.space.to_world(corners) - space.to_world(corners)).max() < 1e-4


def test_written_nifti_is_where_nibabel_looks(tmp_path: Path) -> None:
    space = oblique()
    write_image(Volume(counting(), space), tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    world = nib.affines.apply_affine(image.affine, (4, 3, 2)) * LPS_OF_RAS
    assert np.abs(world - space.to_world((2, 3, 4))).max() < 1e-4
    assert np.asarray(image.dataobj)[4, 3, 2] == 59


def test_nrrd_in_ras_lies_in_lps(tmp_path: Path) -> None:
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: raw\nspace: right-anterior-superior\n"
    text += "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\n\n"
    (tmp_path / "a.nrrd").write_bytes(text.encode() + counting().tobytes())
    volume = read_image(tmp_path / "a.nrrd")
    assert volume.space.to_world((1, 1, 1)) == pytest.approx([-12, -23, 34])


def test_one_trailing_axis_of_one_is_no_fourth_dimension(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", counting((3, 4, 5, 1)), AFFINES["usual"])
    assert read_image(tmp_path / "a.nii").shape == (5, 4, 3)
    image = sitk.GetImageFromArray(counting((1, 5, 4, 3)), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert read_image(tmp_path / "a.mha").shape == (5, 4, 3)


def nifti_bytes(data: NDArray[np.generic] | None = None, affine: NDArray[np.float64] = AFFINES["usual"]) -> bytearray:
    return bytearray(nib.Nifti1Image(counting() if data is None else data, affine).to_bytes())


def patched(at: int, dtype: str, *values: float) -> bytes:
    raw = nifti_bytes()
    new = np.array(values, dtype=dtype).tobytes()
    raw[at : at + len(new)] = new
    return bytes(raw)


def mha(spacing: str = "ElementSpacing = 1 1 1\n", n_bytes: int = 120, dims: str = "5 4 3", extra: str = "") -> bytes:
    text = f"ObjectType = Image\nNDims = {len(dims.split())}\nBinaryData = True\nDimSize = {dims}\n{spacing}{extra}"
    return f"{text}ElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + counting().tobytes()[:n_bytes]


def nrrd(place: str, n_bytes: int = 120) -> bytes:
    text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n{place}\n"
    return text.encode() + counting().tobytes()[:n_bytes]


DIRECTIONS = "space: left-posterior-superior\nspace directions: {}\nspace origin: {}\n"

BAD_FILES: dict[str, tuple[str, bytes, type[VesselGraphError], str]] = {
    "empty": ("a.nii", b"", FormatError, "NIfTI data, as .nii says; got nothing"),
    "short header": ("a.nii", bytes(nifti_bytes()[:200]), FormatError, "header of 348 bytes; got 200"),
    "truncated": ("a.nii", bytes(nifti_bytes()[:-20]), FormatError, "got 100 of 120 bytes of voxels"),
    "truncated gzip": ("a.nii.gz", gzip.compress(bytes(nifti_bytes()))[:-30], FormatError, "complete NIfTI file"),
    "damaged gzip": (
        "a.nii.gz",
        gzip.compress(bytes(nifti_bytes()))[:40] + b"\xff" * 200,
        FormatError,
        "complete NIfTI file|decodable",
    ),
    "gzip that is none": ("a.nii.gz", bytes(nifti_bytes()), FormatError, "gzip data, as .nii.gz says; got NIfTI"),
    "nii that is gzip": ("a.nii", gzip.compress(bytes(nifti_bytes())), FormatError, "NIfTI data, as .nii says; got gzip"),
    "nifti as nrrd": ("a.nrrd", bytes(nifti_bytes()), FormatError, "NRRD data, as .nrrd says; got NIfTI"),
    "text as mha": ("a.mha", b"hello", FormatError, "MetaImage data, as .mha says; got another kind"),
    "unknown suffix": ("a.png", b"hello", FormatError, "a file ending in .nii, .nii.gz"),
    "analyze": ("a.nii", patched(344, "u1", 0, 0, 0, 0), FormatError, "no NIfTI mark"),
    "pair": ("a.nii", patched(344, "u1", 110, 105, 49, 0), FormatError, ".hdr/.img pair"),
    "rgb": ("a.nii", patched(70, "<i2", 128), FormatError, "RGB color"),
    "negative size": ("a.nii", patched(40, "<i2", 3, -5, 4, 3), FormatError, "1 to 7 axes"),
    "no forms": ("a.nii", patched(252, "<i2", 0, 0), GeometryError, "neither s-form nor q-form"),
    "shear": (
        "a.nii",
        patched(280, "<f4", 1, 0.3, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0),
        GeometryError,
        "orthogonal unit axes",
    ),
    "zero spacing": ("a.nii", patched(280, "<f4", 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), GeometryError, "spacing > 0"),
    "nan origin": ("a.nii", patched(280, "<f4", 1, 0, 0, np.nan), GeometryError, "finite axes and origin"),
    "unit": ("a.nii", patched(123, "u1", 7), GeometryError, "a length unit"),
    "4-D": ("a.nii", bytes(nifti_bytes(counting((3, 4, 5, 2)))), ShapeError, "2 channels or time points"),
    "2-D": ("a.nii", bytes(nifti_bytes(counting((3, 4)))), ShapeError, "2 axes"),
    "constant": ("a.nii", bytes(nifti_bytes(np.full((3, 4, 5), 7, dtype=np.int16))), FormatError, "the value 7 everywhere"),
    "all nan": ("a.nii", bytes(nifti_bytes(np.full((3, 4, 5), np.nan, dtype=np.float32))), FormatError, "NaN everywhere"),
    "inf": ("a.nii", bytes(nifti_bytes(np.full((3, 4, 5), np.inf, dtype=np.float32))), FormatError, "60 infinite values"),
    "mha truncated": ("a.mha", mha(n_bytes=60), FormatError, "a complete image file"),
    "mha without spacing": ("a.mha", mha(""), GeometryError, "voxel spacing; got none"),
    "mha zero spacing": ("a.mha", mha("ElementSpacing = 1 0 1\n"), GeometryError, "spacing > 0"),
    "mha negative spacing": ("a.mha", mha("ElementSpacing = 1 -2 1\n"), GeometryError, "spacing > 0"),
    "mha nan origin": ("a.mha", mha(extra="Offset = nan 0 0\n"), GeometryError, "finite offset"),
    "mha shear": ("a.mha", mha(extra="TransformMatrix = 1 0 0 0.3 1 0 0 0 1\n"), GeometryError, "orthogonal"),
    "mha 4-D": ("a.mha", mha("ElementSpacing = 1 1 1 1\n", dims="5 4 1 3"), ShapeError, "3 channels or time points"),
    "mha 2-D": ("a.mha", mha("ElementSpacing = 1 1\n", dims="5 12"), ShapeError, "2 axes"),
    "mha scene": ("a.mhd", b"ObjectType = Scene\nNDims = 3\nNObjects = 1\n", FormatError, "a MetaImage image; got ObjectType"),
    "mhd without data": (
        "a.mhd",
        mha().split(b"LOCAL")[0] + b"gone.raw\n",
        FormatError,
        "its voxels in gone.raw",
    ),
    "nrrd truncated": ("a.nrrd", nrrd(DIRECTIONS.format("(1,0,0) (0,1,0) (0,0,1)", "(0,0,0)"), 60), FormatError, "complete"),
    "nrrd without spacing": ("a.nrrd", nrrd(""), GeometryError, "voxel spacing; got none"),
    "nrrd zero spacing": (
        "a.nrrd",
        nrrd(DIRECTIONS.format("(0,0,0) (0,1,0) (0,0,1)", "(0,0,0)")),
        GeometryError,
        "spacing > 0",
    ),
    "nrrd nan origin": (
        "a.nrrd",
        nrrd(DIRECTIONS.format("(1,0,0) (0,1,0) (0,0,1)", "(nan,0,0)")),
        GeometryError,
        "finite space origin",
    ),
    "nrrd shear": (
        "a.nrrd",
        nrrd(DIRECTIONS.format("(1,0,0) (0.3,1,0) (0,0,1)", "(0,0,0)")),
        GeometryError,
        "orthogonal",
    ),
    "nrrd in cm": (
        "a.nrrd",
        nrrd(DIRECTIONS.format("(1,0,0) (0,1,0) (0,0,1)", "(0,0,0)") + 'space units: "cm" "cm" "cm"\n'),
        GeometryError,
        "an image in mm",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_in_three_parts(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, content, kind, text = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=f"expected .*{text}.*; ") as caught:
        read_image(tmp_path / name)
    assert type(caught.value) is kind
    assert capfd.readouterr() == ("", "")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a readable image file; got .*gone.nii: No such file"):
        read_image(tmp_path / "gone.nii")
    with pytest.raises(InputError, match=r"a folder with DICOM images; got .*no file"):
        read_image(tmp_path)


def test_series_of_a_file_is_refused(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting(), AFFINES["usual"])
    with pytest.raises(InputError, match="a DICOM folder to choose a series from"):
        read_image(path, series=2)


def test_huge_images_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = namedtuple("free", ["available"])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free(10**9))
    (tmp_path / "a.nii").write_bytes(patched(40, "<i2", 3, 2000, 2000, 2000))
    with pytest.raises(BudgetError, match=r"1.0 GB of free memory; got \(2000, 2000, 2000\) in .* needs 48.0 GB; "):
        read_image(tmp_path / "a.nii")
    (tmp_path / "a.mha").write_bytes(mha(dims="2000 2000 2000"))
    with pytest.raises(BudgetError, match=r"needs 48\.0 GB"):
        read_image(tmp_path / "a.mha")


def test_nan_background_is_filled_and_nan_inside_is_refused(tmp_path: Path) -> None:
    data = counting((6, 6, 6), "float32")
    data[:2] = np.nan
    data[2, 0, 0] = np.nan
    volume = read_image(save_nifti(tmp_path / "a.nii", data, AFFINES["usual"]))
    assert volume.array.dtype == np.float32
    assert (volume.array[np.isnan(data.T)] == np.nanmin(data)).all()
    assert np.array_equal(volume.array[~np.isnan(data.T)], data.T[~np.isnan(data.T)])
    data[4, 3, 3] = np.nan
    with pytest.raises(FormatError, match=r"1 NaN in .*, first at \(3, 3, 4\)"):
        read_image(save_nifti(tmp_path / "b.nii", data, AFFINES["usual"]))


def test_masks(tmp_path: Path) -> None:
    labels = counting((3, 4, 5), "int32") % 4 - 1
    path = save_nifti(tmp_path / "a.nii", labels, AFFINES["usual"])
    assert np.array_equal(read_mask(path).array, labels.T > 0)
    assert np.array_equal(read_mask(path, labels=(2,)).array, labels.T == 2)
    with pytest.raises(FormatError, match=r"voxels in \[9\]; got only values -1, 0, 1, 2 in"):
        read_mask(path, labels=(9,))
    empty = save_nifti(tmp_path / "b.nii", np.zeros((3, 4, 5), np.uint8), AFFINES["usual"])
    with pytest.raises(FormatError, match="a mask with voxels above 0; got only values 0 in"):
        read_mask(empty)
    full = save_nifti(tmp_path / "c.nii", np.ones((3, 4, 5), np.float32), AFFINES["usual"])
    assert read_mask(full).array.all()
    soft = save_nifti(tmp_path / "d.nii", np.full((3, 4, 5), 0.5, np.float32), AFFINES["usual"])
    with pytest.raises(FormatError, match="whole-number labels"):
        read_mask(soft)


def test_heatmaps(tmp_path: Path) -> None:
    heat = (counting(dtype="float32") / 59).astype(np.float32)
    read = read_heatmap(save_nifti(tmp_path / "a.nii", heat, AFFINES["usual"]))
    assert read.source == "file"
    assert read.heat.array.dtype == np.float32
    assert np.array_equal(read.heat.array, heat.T)
    mask = read_heatmap(save_nifti(tmp_path / "b.nii", (heat > 0.5).astype(np.uint8), AFFINES["usual"]))
    assert mask.source == "mask"
    with pytest.raises(RangeError, match=r"values from 0 to 255 in .*; divide by 255"):
        read_heatmap(save_nifti(tmp_path / "c.nii", (heat * 255).astype(np.uint8), AFFINES["usual"]))
    with pytest.raises(RangeError, match="values from nan to nan"):
        read_heatmap(save_nifti(tmp_path / "d.nii", heat * np.nan, AFFINES["usual"]))
    with pytest.raises(FormatError, match="some heat"):
        read_heatmap(save_nifti(tmp_path / "e.nii", heat * 0, AFFINES["usual"]))


def test_unwritable_outputs(tmp_path: Path) -> None:
    volume = Volume(counting(), oblique())
    with pytest.raises(OutputError, match=r"ending in .nii, .nii.gz, .nrrd, .mha; got a.png"):
        write_image(volume, tmp_path / "a.png")
    with pytest.raises(OutputError, match="no folder"):
        write_image(volume, tmp_path / "gone" / "a.nii")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: object, path: str, useCompression: bool) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("ITK ERROR: write failed")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(OutputError, match="ITK ERROR: write failed"):
        write_image(Volume(counting(), oblique()), tmp_path / "a.mha")
    assert list(tmp_path.iterdir()) == []


def test_every_real_image_is_read_as_nibabel_does_or_refused_clearly(data_dir: Path) -> None:
    paths = sorted(p for p in data_dir.rglob("*.nii.gz") if p.stat().st_size < 600_000)
    assert paths
    check: Callable[[Path], None] = _same_as_nibabel
    for path in paths:
        check(path)


def _same_as_nibabel(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = nib.load(path)
    try:
        volume = read_image(path)
    except ShapeError as error:
        assert "channels or time points" in str(error)  # noqa: PT017
        return
    data = np.asanyarray(oracle.dataobj).reshape(oracle.shape[:3])
    assert np.array_equal(volume.array, data.T.astype(volume.array.dtype))
    world = nib.affines.apply_affine(oracle.affine, (7, 5, 3)) * LPS_OF_RAS
    assert np.abs(volume.space.to_world((3, 5, 7)) - world).max() < 1e-3
