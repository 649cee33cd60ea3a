"""An MRI series of a phantom as DICOM files, to try service, page and PACS without patient data.

`python -m brain_tumor.phantom_series` writes it to a folder or sends it to a PACS.
"""

import argparse
import io
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from brain_tumor.errors import InputError
from brain_tumor.phantoms import VOLUME_HEIGHT, make_volume

DESCRIPTION = "phantom axial"
PIXEL_MM = 0.9
HEAD_RADIUS_MM = 100.0
LEVELS_PER_GREY = 16  # 12 bits, as a scanner writes them
STORE_TIMEOUT_SECONDS = 60
open_directly = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def phantom_series(seed: int = 0, slices: int = 40) -> list[Dataset]:
    """Return the slices of `make_volume` as instances of MR Image Storage, from the feet to the head.

    Equal arguments give equal UIDs, so that a PACS holds the series once.

    Args:
        seed: Seed of the volume.
        slices: Number of slices; the distance of the first to the last is 120 mm.
    """
    images, _ = make_volume(seed, slices)
    heights_mm = np.linspace(-VOLUME_HEIGHT, VOLUME_HEIGHT, slices) * HEAD_RADIUS_MM
    name = f"brain-tumor phantom {seed} of {slices} slices"
    series = []
    for index, (image, height_mm) in enumerate(zip(images, heights_mm, strict=True)):
        dataset = _series_attributes(name, seed)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[name, "instance", str(index)])
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [-PIXEL_MM * image.shape[1] / 2, -PIXEL_MM * image.shape[0] / 2, round(height_mm, 3)]
        dataset.SliceThickness = dataset.SpacingBetweenSlices = round(heights_mm[1] - heights_mm[0], 3) if slices > 1 else 1
        _set_pixels(dataset, image.astype("<u2") * LEVELS_PER_GREY)
        series.append(dataset)
    return series


def encode(dataset: Dataset) -> bytes:
    """Return the DICOM file of an instance."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, instances: Sequence[Dataset]) -> None:
    """Write instances to a new folder, `001.dcm` and so on.

    Raises:
        InputError: The folder exists or cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if folder.exists():
            raise FileExistsError("it exists, expected a new folder")
        partial.mkdir(parents=True, exist_ok=True)
        for number, instance in enumerate(instances, start=1):
            (partial / f"{number:03}.dcm").write_bytes(encode(instance))
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None


def store(url: str, instances: Sequence[Dataset]) -> None:
    """Send instances to a PACS by STOW-RS (DICOM PS3.18 10.5), all in one request, and past the proxy of the environment.

    Args:
        url: Root of the PACS's DICOMweb services.
        instances: What to store.

    Raises:
        InputError: The PACS cannot be reached, or does not store all of them.
    """
    boundary = uuid.uuid4().hex
    parts = [b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (boundary.encode(), encode(each)) for each in instances]
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    body = b"".join(parts) + b"--%b--\r\n" % boundary.encode()
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/studies", body, headers)
        with open_directly(request, timeout=STORE_TIMEOUT_SECONDS) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except (OSError, ValueError) as error:
        raise InputError(f"{url}: the PACS cannot be reached: {getattr(error, 'reason', error)}") from None
    if status != 200:  # 202: some were refused
        raise InputError(f"{url}: the PACS did not store all instances: status {status}, expected 200")


def _series_attributes(name: str, seed: int) -> Dataset:
    """Return what all instances of the series have in common."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.PatientName, dataset.PatientID = "Phantom^Brain", f"PHANTOM-{seed}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[name, kind]) for kind in ("study", "series", "frame of reference")
    )
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.StudyID, dataset.StudyDescription = str(seed), "Phantom, no patient"
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = "MR", 1, DESCRIPTION
    dataset.BodyPartExamined, dataset.PatientPosition = "BRAIN", "HFS"
    dataset.Manufacturer = "brain-tumor phantom"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "RM", "NONE", "2D"
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    # Of type 2: no scanner has made it.
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"):
        setattr(dataset, keyword, "")
    for keyword in ("AcquisitionNumber", "ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength"):
        setattr(dataset, keyword, None)
    return dataset


def _set_pixels(dataset: Dataset, levels: np.ndarray) -> None:
    """Set the image of an instance: levels, uint16 [h, w], 0-4095, with the window that shows them all."""
    dataset.Rows, dataset.Columns = levels.shape
    dataset.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = levels.tobytes()
    dataset["PixelData"].VR = "OW"


def main() -> None:
    """Write the series to a folder, or send it to a PACS."""
    parser = argparse.ArgumentParser(prog="python -m brain_tumor.phantom_series", description=main.__doc__)
    parser.add_argument(
        "target", help="a new folder, or the root of a PACS's DICOMweb services, such as http://localhost:8042/dicom-web"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantom; default: %(default)s")
    options = parser.parse_args()
    try:
        series = phantom_series(options.seed)
        if options.target.startswith(("http://", "https://")):
            store(options.target, series)
        else:
            write(Path(options.target), series)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{options.target}: {len(series)} slices of the study {series[0].StudyInstanceUID}")


if __name__ == "__main__":
    main()
