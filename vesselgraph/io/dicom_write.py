"""A volume as a CT series that any DICOM reader takes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesselgraph.errors import RangeError
from vesselgraph.io.atomic import atomic_folder
from vesselgraph.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_MAX_LONG_STRING = 64
_INTERCEPT = -1024


def write_dicom_series(
    volume: Volume,
    folder: str | Path,
    *,
    patient_name: str = "Anonymous",
    series_description: str = "",
    phase: str = "",
    series_number: int = 1,
) -> None:
    """Write a volume as a CT series of one file per plane into a new or empty folder: all of it or nothing.

    Values are rounded to whole Hounsfield units and stored as int16. The same content gives the same UIDs; series with one
    ``patient_name`` share a study and a frame of reference, so phases of one patient lie in one study.

    Parameters
    ----------
    volume : Volume
        Values within int16. If its axes form a left-handed frame in DICOM's sense, :func:`~vesselgraph.io.read_image` gives
        the planes back in the opposite order, at the same world positions.
    folder : path
        New or empty; its parent must exist.
    patient_name, series_description, phase : str
        The phase is added to the description.
    series_number : int
        Give phases different numbers.

    Raises
    ------
    RangeError
        Bool voxels, NaN, or values beyond int16.
    OutputError
        The folder is in use or cannot be written.
    """
    stored, intercept = _stored(volume)
    description = " ".join(part for part in (series_description, phase) if part)
    dataset = _common(volume, patient_name, description, series_number, intercept)
    with atomic_folder(folder) as temporary:
        for index in range(volume.shape[0]):
            _add_plane(dataset, volume, index, stored[index])
            dataset.save_as(temporary / f"IM{index + 1:05d}.dcm", enforce_file_format=True)


def _stored(volume: Volume) -> tuple[NDArray[np.int16], int]:
    array = volume.array
    if array.dtype.kind == "b":
        raise RangeError("an image in Hounsfield units", "bool voxels", "write masks with write_image")
    low, high = float(array.min()), float(array.max())
    if not (low >= -32768 and high <= 32767):
        raise RangeError("finite values within int16", f"{low:.6g} to {high:.6g}", "clip or rescale the image first")
    intercept = _INTERCEPT if high - _INTERCEPT <= 32767 else 0
    return (np.rint(array).astype(np.int32) - intercept).astype(np.int16), intercept


def _common(volume: Volume, patient_name: str, description: str, number: int, intercept: int) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    content = hashlib.sha256(np.ascontiguousarray(volume.array).tobytes() + repr(volume.space.to_dict()).encode()).hexdigest()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(_CT_IMAGE_STORAGE)
    dataset.SOPClassUID = _CT_IMAGE_STORAGE
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.Modality = "CT"
    dataset.Manufacturer = "vesselgraph"
    dataset.PatientName = patient_name
    dataset.PatientID = patient_name
    for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "KVP"):
        setattr(dataset, name, "")
    dataset.ReferringPhysicianName = ""
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = ""
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = _uid("study", patient_name)
    dataset.FrameOfReferenceUID = _uid("frame", patient_name)
    dataset.SeriesInstanceUID = _uid("series", content, patient_name, description, str(number))
    dataset.SeriesNumber = number
    dataset.SeriesDescription = description[:_MAX_LONG_STRING]
    dataset.ImageOrientationPatient = _decimals(volume.space.direction[:, [2, 1]].T.ravel())
    dataset.PixelSpacing = _decimals(volume.space.spacing[1:])
    dataset.SliceThickness = _decimals(volume.space.spacing[:1])[0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = volume.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", str(intercept), "HU"
    dataset.WindowCenter, dataset.WindowWidth = "60", "400"
    return dataset


def _add_plane(dataset: Dataset, volume: Volume, index: int, plane: NDArray[np.int16]) -> None:
    uid = _uid("image", str(dataset.SeriesInstanceUID), str(index))
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SOPInstanceUID = uid
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = _decimals(volume.space.to_world((index, 0, 0)))
    dataset.PixelData = plane.astype("<i2").tobytes()


def _uid(*sources: str) -> UID:
    from pydicom.uid import generate_uid

    return generate_uid(entropy_srcs=["vesselgraph", *sources])


def _decimals(values: Any) -> list[Any]:
    from pydicom.valuerep import DSfloat

    # A DICOM decimal has at most 16 characters.
    return [DSfloat(float(value), auto_format=True) for value in values]
