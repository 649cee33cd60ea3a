"""Make DICOM files for tests."""

import io
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, Sequence, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

ENCODERS = {
    JPEG2000Lossless: lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", level=0, mct=False),
    JPEG2000: lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", level=60, mct=False),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGLosslessSV1: lambda frame: imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=16),
    JPEGLossless: lambda frame: imagecodecs.jpeg8_encode(frame, lossless=True, predictor=4, bitspersample=16),
    JPEGBaseline8Bit: lambda frame: imagecodecs.jpeg8_encode(frame, level=95),
    JPEGExtended12Bit: lambda frame: imagecodecs.jpeg8_encode(frame, level=95, bitspersample=12),
}
# Identifying values of ten kinds.
PHI: dict[str, Any] = {
    "PatientName": "Zyxmann^Quirina",
    "PatientID": "MRN-7788123",
    "PatientBirthDate": "19570309",
    "PatientAddress": "Pfefferweg 47",
    "PatientTelephoneNumbers": "+49-30-555-7612",
    "OtherPatientIDs": "SSN-442-11-9087",
    "AccessionNumber": "ACC6650192",
    "ReferringPhysicianName": "Vontobler^Ekkehard",
    "InstitutionName": "Klinikum Nordhang",
    "StudyID": "STU31337",
}
PRIVATE_PHI = "Privat-Quirina-0815"


def dicom(levels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **attributes: Any) -> bytes:
    """Return a file of MR Image Storage with one grey frame [h, w], or several [frames, h, w]; None removes an attribute."""
    frames = levels if levels.ndim == 3 else levels[None]
    bits = 8 * levels.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = EnhancedMRImageStorage if levels.ndim == 3 else MRImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.InstanceNumber, dataset.PatientID = "MR", 1, "1"
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(levels.dtype.kind == "i")
    if levels.ndim == 3:
        dataset.NumberOfFrames = len(frames)
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](frame)) for frame in frames])
    else:
        dataset.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    for keyword in [keyword for keyword, value in attributes.items() if value is None]:
        del dataset[keyword]
    return encode(dataset, syntax)


def encode(dataset: Dataset, syntax: UID) -> bytes:
    """Return the file of a dataset."""
    if syntax == RLELossless and not dataset["PixelData"].is_undefined_length:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def with_private_phi(data: bytes) -> bytes:
    """Return a file with an identifying value in a private element and in a nested sequence."""
    dataset = dcmread(io.BytesIO(data))
    block = dataset.private_block(0x0029, "QUIRINA PRIVATE", create=True)
    block.add_new(0x01, "LO", PRIVATE_PHI)
    block.add_new(0x02, "PN", PHI["PatientName"])
    nested = Dataset()
    nested.PatientName, nested.PatientID = PHI["PatientName"], PHI["PatientID"]
    dataset.OtherPatientIDsSequence = Sequence([nested])
    return encode(dataset, dataset.file_meta.TransferSyntaxUID)
