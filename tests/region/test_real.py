"""The real cases: what was found is stated with slack, so that only a real loss turns these red."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from vesselgraph.config import RegionConfig
from vesselgraph.region import estimate_region
from vesselgraph.resampling import from_sitk, resample_like

pytestmark = pytest.mark.real_data


def load(path):
    if not path.exists():
        pytest.skip(f"no {path.name} at {path.parent}")
    return from_sitk(sitk.ReadImage(str(path)), path.stem)


def test_portal_phase_liver_with_its_expert_vessels(data_dir, dice):
    case = data_dir / "ircadb01_p01"
    liver = load(case / "liver.nii.gz").array > 0
    vessels = (load(case / "portalvein.nii.gz").array > 0) | (load(case / "venoussystem.nii.gz").array > 0)
    image = load(case / "ct.nii.gz")
    region = estimate_region(image)
    assert region.kind == "liver"
    inside = vessels & liver
    assert (region.mask.array & inside).sum() > 0.99 * inside.sum()
    organ = estimate_region(image, RegionConfig(margin=0.0))
    assert dice(organ.mask.array, liver) > 0.89


def test_slab_of_twenty_slices_with_arms_and_table(data_dir, dice):
    folder = data_dir / "ts_abdomen" / "example_ct_dicom"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = from_sitk(sitk.ReadImage(files), "slab")
    labels = resample_like(load(data_dir / "ts_abdomen" / "example_seg_dicom.nii.gz"), image, interpolation="nearest")
    region = estimate_region(image, RegionConfig(margin=0.0))
    assert region.kind == "liver"
    assert dice(region.mask.array, labels.array == 5) > 0.93
    assert "cuts the liver below, above" in region.note


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ts_abdomen/example_ct.nii.gz", "no enhanced vessels"),
        ("ts_abdomen/example_mr_sm.nii.gz", "not CT"),
        ("chest_ct_lidc0314/chest_2mm.nii.gz", "shows the chest"),
        ("chest_ct_lidc0314/lung_crop_native.nii.gz", "no"),
        ("head_ct_cranium/cranium_ct.nii.gz", "bone"),
        ("ts_cta_heart_aorta/ct_cropped.nii.gz", "shows the chest"),
        ("ts_cta_pulmonary/ct_cropped.nii.gz", "shows the chest"),
    ],
)
def test_other_images_are_searched_as_a_whole(data_dir, name, why):
    region = estimate_region(load(data_dir / name))
    assert region.kind == "whole"
    assert why in region.note
    assert np.asarray(region.mask.array)[deep_in_body(load(data_dir / name))].mean() > 0.999


def deep_in_body(image):
    """The largest piece that is not air, with its holes, without couch and 9 mm of skin: voxels that may hold vessels."""
    tissue = ndimage.binary_opening(image.array > -300, iterations=3)
    labels, _ = ndimage.label(tissue)
    body = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    return ndimage.distance_transform_edt(np.pad(filled, 1, mode="edge"), sampling=image.space.spacing)[1:-1, 1:-1, 1:-1] > 9.0
