"""Decode DICOM files with pydicom, in a process that a hostile file may end (`brain_tumor/dicom.py`)."""

import hashlib
import io
import logging
import math
import warnings
import zlib
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from brain_tumor.body_parts import is_plainly_not_head
from brain_tumor.dicom import DAMAGED, MAX_FRAMES, DicomImage, Window
from brain_tumor.dicom_codecs import JPEG, JPEG_2000, JPEG_LS, PLUGIN
from brain_tumor.dicom_display import display_colours, display_grey, numbers
from brain_tumor.errors import ImageError
from brain_tumor.frames import check_size, choose_image

Request = tuple[bytes, int, int | None, Window | None]

MAX_INFLATED_BYTES = 128 * 2**20
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# The plugin of pydicom that decodes each transfer syntax.
SYNTAXES = {
    **dict.fromkeys((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian), ""),
    **dict.fromkeys((*JPEG, *JPEG_LS, *JPEG_2000), PLUGIN),
    RLELossless: "pydicom",
}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTES = [f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")]
BIG_ENDIAN = (False, False)
# Of the elements of a file only these are kept.
KEYWORDS = [
    *("SOPClassUID", "Modality", "BodyPartExamined", "AnatomicRegionSequence"),
    *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", *PIXELS),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *PALETTES,
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
# What of a multi-frame file's functional groups is an attribute of the image in a file of one frame.
FUNCTIONAL_GROUPS = (
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"),
    *("PlanePositionSequence", "PlaneOrientationSequence", "FrameAnatomySequence"),
)

# It quotes values of the file in what it prints.
logging.getLogger("pydicom").disabled = True
warnings.filterwarnings("ignore", module="pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def answer(request: Request) -> DicomImage | ImageError:
    """Return the image that `brain_tumor.dicom.read_dicom` returns, or the error that it raises."""
    try:
        return _decode(*request)
    except ImageError as error:
        return error
    except MemoryError:
        return ImageError("corrupt", "the DICOM file takes too much memory to decode; export it again")
    except Exception:  # pydicom raises AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError, struct.error, ...
        return ImageError("corrupt", DAMAGED)


def _decode(data: bytes, max_pixels: int, frame: int | None, window: Window | None) -> DicomImage:
    dataset = _parse(data)
    _check_has_image(dataset)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > MAX_FRAMES:
        raise ImageError("too_large", f"got {frames:,} frames, expected at most {MAX_FRAMES}")
    number = choose_image("DICOM", frames, frame)
    of_frame = _of_frame(dataset, number)
    size = _displayed_size(of_frame, max_pixels)
    levels, mode = _levels(dataset, number), str(dataset.PhotometricInterpretation)
    if mode in GREY:
        pixels, window, extremes = display_grey(levels, of_frame, window)
        pixels = 255 - pixels if mode == "MONOCHROME1" else pixels
    else:
        pixels, window, extremes = display_colours(levels, dataset), None, None
    if pixels.shape[1::-1] != size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    normal, position_mm = _plane(of_frame)
    return DicomImage(
        pixels=pixels,
        mode=mode,
        frames=frames,
        warnings=_warnings(of_frame),
        window=window,
        levels=extremes,
        position_mm=position_mm,
        normal=normal,
        instance_number=_whole_number(dataset.get("InstanceNumber")),
        identity=_identity(dataset),
    )


def _parse(data: bytes) -> Dataset:
    """Return the elements of a file, which may lack preamble and meta information, with its transfer syntax."""
    stream = io.BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        data = _inflate(data[stream.tell() :])
    dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=KEYWORDS)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        dataset.SOPClassUID = MediaStorageDirectoryStorage
    if dataset.original_encoding == BIG_ENDIAN:
        for colour in PALETTES:  # which pydicom reads as little endian
            if colour in dataset and dataset[colour].VR == "OW":
                dataset[colour].value = np.frombuffer(dataset[colour].value, ">u2").astype("<u2").tobytes()
    return dataset


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ImageError("too_large", f"the deflated DICOM file has more than {MAX_INFLATED_BYTES:,} bytes")
    return inflated


def _check_has_image(dataset: Dataset) -> None:
    if not any(keyword in dataset for keyword in PIXELS):
        if "Rows" in dataset or "SOPClassUID" not in dataset:  # of a file that ends in its pixels pydicom returns nothing
            raise ImageError("corrupt", DAMAGED)
        kind = _name_of(UID(str(dataset.SOPClassUID)), "unknown kind")
        raise ImageError("unsupported_type", f"the DICOM file holds no image, it is of the kind: {kind}; send a slice")
    syntax, accepted = UID(str(dataset.file_meta.TransferSyntaxUID)), (*GREY, *COLOURS)
    if dataset.PhotometricInterpretation not in accepted:
        raise ImageError("unsupported_type", f"DICOM images of this colour space are not accepted; send {', '.join(accepted)}")
    if syntax not in SYNTAXES:
        name = _name_of(syntax, "an unknown transfer syntax")
        raise ImageError("unsupported_type", f"DICOM files with {name} are not accepted; export the slice uncompressed")


def _name_of(uid: UID, unknown: str) -> str:
    """Return the name of a UID in the standard: another one may identify somebody."""
    return unknown if uid.name == uid else uid.name


def _of_frame(dataset: Dataset, number: int) -> Dataset:
    """Return the attributes of one frame: those of the file, replaced by those of the frame's functional groups."""
    of_frame = Dataset()
    of_frame.file_meta = dataset.file_meta
    of_frame.update({element.tag: element for element in dataset if element.keyword not in PIXELS})
    shared, per_frame = (dataset.get(f"{kind}FunctionalGroupsSequence") or [] for kind in ("Shared", "PerFrame"))
    for groups in (*shared[:1], *per_frame[number : number + 1]):
        for keyword in FUNCTIONAL_GROUPS:
            for group in (groups.get(keyword) or [])[:1]:
                of_frame.update(group)
    return of_frame


def _displayed_size(of_frame: Dataset, max_pixels: int) -> tuple[int, int]:
    """Return width and height with square pixels, which enlarge the shorter side of the others."""
    width, height = int(of_frame.Columns), int(of_frame.Rows)
    if not width or not height:
        raise ImageError("corrupt", DAMAGED)
    check_size(width, height, max_pixels)
    spacings = (of_frame.get(keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"))
    row, column = next((numbers(each, 2) for each in spacings if each), None) or (1.0, 1.0)
    if row > 0 and column > 0:
        ratio = row / column
        width, height = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    check_size(width, height, max_pixels)
    return width, height


def _levels(dataset: Dataset, number: int) -> np.ndarray:
    """Decode a frame to [height, width], or to RGB [height, width, 3]."""
    syntax = dataset.file_meta.TransferSyntaxUID
    unused = max(0, int(dataset.get("HighBit", 0)) + 1 - int(dataset.BitsStored))
    dataset.BitsStored += unused  # bits below those of the pixels, which pydicom takes for the lowest ones
    levels, _ = get_decoder(syntax).as_array(dataset, index=number, decoding_plugin=SYNTAXES[syntax])
    return levels >> unused if unused else levels


def _warnings(of_frame: Dataset) -> tuple[str, ...]:
    region = of_frame.get("AnatomicRegionSequence") or [Dataset()]
    part = str(of_frame.get("BodyPartExamined") or region[0].get("CodeMeaning") or "")
    codes = {"not_mr": of_frame.get("Modality") != "MR", "not_head": is_plainly_not_head(part)}
    return tuple(code for code, applies in codes.items() if applies)


def _plane(of_frame: Dataset) -> tuple[tuple[float, float, float] | None, float | None]:
    """Return the unit normal of the image, and its position along the normal in mm (DICOM PS3.3, C.7.6.2.1.1)."""
    position, axes = numbers(of_frame.get("ImagePositionPatient"), 3), numbers(of_frame.get("ImageOrientationPatient"), 6)
    if position is None or axes is None:
        return None, None
    normal = np.cross(axes[:3], axes[3:])
    length = float(np.linalg.norm(normal))
    if not 0 < length < math.inf:
        return None, None
    x, y, z = (float(each) for each in normal / length)
    along = float(np.dot(position, (x, y, z)))
    return ((x, y, z), along) if math.isfinite(along) else (None, None)


def _identity(dataset: Dataset) -> tuple[str, ...]:
    patient = f"{dataset.get('PatientID') or ''}".strip() and f"{dataset.PatientID}\n{dataset.get('IssuerOfPatientID') or ''}"
    values = {"patient": patient, "study": dataset.get("StudyInstanceUID"), "series": dataset.get("SeriesInstanceUID")}
    return tuple(f"{name} {hashlib.sha256(str(value).encode()).hexdigest()}" for name, value in values.items() if value)


def _whole_number(value: Any) -> int | None:
    """Return an Integer String, of 32 bits with a sign (DICOM PS3.5, 6.2); None for any other value."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -(2**31) <= number < 2**31 else None
