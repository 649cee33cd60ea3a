"""DICOM files: what is displayed, against DCMTK's dcmj2pnm; the facts that are read; what is rejected."""

import io
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from brain_tumor.body_parts import is_plainly_not_head
from brain_tumor.dicom import MAX_FRAMES, DicomImage, Window, read_dicom
from brain_tumor.dicom_decoder import answer
from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from tests.brain_tumor.dicoms import ENCODERS, PHI, dicom
from tests.tools import tool

MAX_PIXELS = 16_000_000
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
MORE_FILES = Path(data_store.__file__).parent / "data"
LEVELS = (np.add.outer(np.arange(40) * 37, np.arange(60) * 29) + 300).astype(np.uint16)  # 300 to 3,454, of 12 bits
NO_IMAGE: dict[str, Any] = {"PixelData": None, "Rows": None}
TWELVE_BITS: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}
# Of pydicom's and pydicom-data's files all that hold an image are compared, except for these.
LEFT_OUT = {
    "color-pl.dcm": "its pixels are not square, which dcmj2pnm ignores",
    "color-px.dcm": "its pixels are not square, which dcmj2pnm ignores",
    "eCT_Supplemental.dcm": "its window is in functional groups, which dcmj2pnm does not read",
    "liver.dcm": "a mask, of which dcmj2pnm finds no window",
    "liver_1frame.dcm": "a mask, of which dcmj2pnm finds no window",
    "liver_expb.dcm": "a mask, of which dcmj2pnm finds no window",
    "liver_expb_1frame.dcm": "a mask, of which dcmj2pnm finds no window",
    "rtdose_expb.dcm": "32-bit big-endian pixels, which dcmj2pnm reads wrongly: rtdose.dcm has the same",
    "rtdose_expb_1frame.dcm": "32-bit big-endian pixels, which dcmj2pnm reads wrongly: rtdose_1frame.dcm has the same",
    "SC_rgb_32bit_2frame.dcm": "32-bit colours, which dcmj2pnm does not read",
    "SC_rgb_expb_32bit_2frame.dcm": "32-bit colours, which dcmj2pnm does not read",
}


def decode(data: bytes, frame: int | None = None, window: Window | None = None, max_pixels: int = MAX_PIXELS) -> DicomImage:
    """Decode in this process."""
    result = answer((data, max_pixels, frame, window))
    if isinstance(result, ImageError):
        raise result
    return result


def displayed(file: Path, frame: int, scratch: Path) -> np.ndarray:
    """Return what dcmj2pnm displays, after gdcmconv has decompressed what Debian's dcmj2pnm does not decode."""
    dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    undecoded = (*JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
    option = "+Wi" if dataset.get("WindowCenter") is not None else "+Wl" if "VOILUTSequence" in dataset else "+Wh"
    output, raw = scratch / "displayed.pnm", scratch / "raw.dcm"
    for source in [file] if syntax not in undecoded else [raw]:
        if source == raw:
            subprocess.run([tool("gdcmconv"), "--raw", file, raw], check=True, capture_output=True)
        command: list[str | Path] = [tool("dcmj2pnm"), "-q", "-O", "+F", str(frame), option, "1", "+opb", source, output]
        run = subprocess.run(command, capture_output=True)
        if run.returncode:  # a colour space or a VR that it does not read
            subprocess.run([tool("gdcmconv"), "--raw", source, raw], check=True, capture_output=True)
            subprocess.run([*command[:-2], raw, output], check=True, capture_output=True)
    return np.asarray(Image.open(output))


def readable_files() -> Iterator[tuple[Path, int, DicomImage]]:
    for file in sorted([*FILES.glob("*.dcm"), *MORE_FILES.glob("*.dcm")]):
        try:
            yield file, 1, decode(file.read_bytes())
        except ImageError as error:
            if error.code == "several_images":
                yield file, error.images, decode(file.read_bytes(), error.images)


def test_files_of_pydicom_are_displayed_as_by_dcmtk(tmp_path: Path, subtests: pytest.Subtests) -> None:
    compared = 0
    for file, frame, image in readable_files():
        if file.name not in LEFT_OUT:
            with subtests.test(file.name):
                np.testing.assert_allclose(image.pixels.astype(int), displayed(file, frame, tmp_path), atol=2)
                compared += 1
    assert compared >= 110


def lut(bits: int) -> Dataset:
    """Return a lookup table that begins at level 300 and is no straight line."""
    item = Dataset()
    item.LUTDescriptor = [3200, 300, bits]
    item.LUTData = [int((2**bits - 1) * (level / 3199) ** 2) for level in range(3200)]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


WINDOW: dict[str, Any] = {"WindowCenter": 1500, "WindowWidth": 1000}
SIGNED = (LEVELS.astype(np.int16) - 2000).astype(np.int16)
OVERLAY = LEVELS | (LEVELS % 16).astype(np.uint16) << 12
SHIFTED = LEVELS << 4 | LEVELS % 16
MADE = {
    "window": dicom(LEVELS, **WINDOW, **TWELVE_BITS),
    "two windows": dicom(LEVELS, WindowCenter=[900, 2000], WindowWidth=[700, 10]),
    "window of one level": dicom(LEVELS, WindowCenter=1500, WindowWidth=1),
    "sigmoid": dicom(LEVELS, VOILUTFunction="SIGMOID", **WINDOW, **TWELVE_BITS),
    "rescale and window": dicom(LEVELS, RescaleSlope=2, RescaleIntercept=-1024, **WINDOW, **TWELVE_BITS),
    "rescale with a fraction": dicom(LEVELS, RescaleSlope=0.5, RescaleIntercept=-3.5, WindowCenter=700, WindowWidth=800),
    "MONOCHROME1": dicom(LEVELS, PhotometricInterpretation="MONOCHROME1", **WINDOW, **TWELVE_BITS),
    "MONOCHROME1, no window": dicom(LEVELS, PhotometricInterpretation="MONOCHROME1", **TWELVE_BITS),
    "no window": dicom(LEVELS, **TWELVE_BITS),
    "no window, rescale": dicom(LEVELS, RescaleSlope=3, RescaleIntercept=-1024, **TWELVE_BITS),
    "no window, 8 bits": dicom((LEVELS >> 4).astype(np.uint8)),
    "16 bits": dicom(LEVELS * np.uint16(18), WindowCenter=30_000, WindowWidth=40_000),
    "signed": dicom(SIGNED, WindowCenter=-200, WindowWidth=900),
    "signed, no window": dicom(SIGNED),
    "signed, 12 bits": dicom(SIGNED & np.int16(0xFFF), WindowCenter=-200, WindowWidth=900, **TWELVE_BITS),
    "overlay in the upper bits": dicom(OVERLAY, **WINDOW, **TWELVE_BITS),
    "pixels in the upper bits": dicom(SHIFTED, BitsStored=12, HighBit=15, **WINDOW),
    "VOI LUT": dicom(LEVELS, VOILUTSequence=Sequence([lut(16)]), **TWELVE_BITS),
    "VOI LUT of 8 bits": dicom(LEVELS, VOILUTSequence=Sequence([lut(8)]), **TWELVE_BITS),
    "VOI LUT of 12 bits": dicom(LEVELS, VOILUTSequence=Sequence([lut(12)]), **TWELVE_BITS),
    "modality LUT": dicom(LEVELS, ModalityLUTSequence=Sequence([lut(16)]), WindowCenter=20_000, WindowWidth=30_000),
    "modality LUT of 12 bits": dicom(LEVELS, ModalityLUTSequence=Sequence([lut(12)]), **WINDOW),
    "RLE": dicom(LEVELS, RLELossless, **WINDOW, **TWELVE_BITS),
    **{syntax.name: dicom(LEVELS, syntax, **WINDOW, **TWELVE_BITS) for syntax in ENCODERS if "Baseline" not in syntax.name},
    "JPEG baseline": dicom((LEVELS >> 4).astype(np.uint8), next(each for each in ENCODERS if "Baseline" in each.name)),
}


@pytest.mark.parametrize("name", MADE)
def test_made_file_is_displayed_as_by_dcmtk(name: str, tmp_path: Path) -> None:
    file = tmp_path / "made.dcm"
    file.write_bytes(MADE[name])
    pixels = decode(MADE[name]).pixels
    assert len(np.unique(pixels)) > 1
    np.testing.assert_allclose(pixels.astype(int), displayed(file, 1, tmp_path), atol=2)


def rewritten(data: bytes, syntax: pydicom.uid.UID) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
    buffer = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        buffer, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, force_encoding=True
    )
    return buffer.getvalue()


def end_of_meta(data: bytes) -> int:
    """Return where the file meta information ends, by its group length."""
    return 144 + int.from_bytes(data[140:144], "little")


def test_encoding_of_the_file_makes_no_difference() -> None:
    plain = MADE["window"]
    expected = decode(plain).pixels
    variants = [rewritten(plain, ImplicitVRLittleEndian), rewritten(plain, ExplicitVRBigEndian)]
    variants += [rewritten(plain, DeflatedExplicitVRLittleEndian), plain[132:]]  # without preamble
    starts = (b"II*\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"%PDF")
    variants += [start.ljust(128, b"\0") + plain[128:] for start in starts]
    variants.append(plain[end_of_meta(plain) :])
    for variant in variants:
        np.testing.assert_array_equal(read_image(variant).pixels[..., 0], expected)


def test_window_of_the_caller_replaces_that_of_the_file() -> None:
    assert decode(MADE["window"]).window == Window(1500, 1000)
    other = decode(MADE["window"], window=Window(2000, 400))
    assert other.window == Window(2000, 400)
    np.testing.assert_array_equal(other.pixels, decode(dicom(LEVELS, WindowCenter=2000, WindowWidth=400)).pixels)
    assert decode(MADE["VOI LUT"]).window is None
    for width in (0, -5):
        assert set(np.unique(decode(MADE["window"], window=Window(2000, width)).pixels)) == {0, 255}


def test_levels_are_the_lowest_and_highest_after_rescaling() -> None:
    lowest, highest = int(LEVELS.min()), int(LEVELS.max())
    assert decode(MADE["window"]).levels == decode(MADE["VOI LUT"]).levels == (lowest, highest)
    assert decode(MADE["rescale and window"]).levels == (2 * lowest - 1024, 2 * highest - 1024)


@pytest.mark.parametrize("attributes", [{"WindowCenter": 5}, {"WindowCenter": 5, "WindowWidth": 0}, {"WindowWidth": 100}])
def test_window_of_no_meaning_is_as_none(attributes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decode(dicom(LEVELS, **attributes)).pixels, decode(dicom(LEVELS)).pixels)


def test_uniform_image_is_black() -> None:
    assert not decode(dicom(np.full((8, 8), 77, np.uint16))).pixels.any()


def test_few_bright_pixels_are_seen() -> None:
    levels = np.zeros((100, 100), np.uint16)
    levels[50, 50] = 900
    assert decode(dicom(levels)).pixels.max() == 255


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"PixelSpacing": [1, 1]}, (60, 40)),
        ({"PixelSpacing": [2, 1]}, (60, 80)),
        ({"PixelSpacing": [0.5, 1.25]}, (150, 40)),
        ({"PixelAspectRatio": [4, 3]}, (60, 53)),
        ({"ImagerPixelSpacing": [3, 1]}, (60, 120)),
        ({"PixelSpacing": [0, 1]}, (60, 40)),
        ({"PixelSpacing": [-1, 1]}, (60, 40)),
    ],
    ids=str,
)
def test_pixels_are_made_square(attributes: dict[str, Any], size: tuple[int, int]) -> None:
    image = decode(dicom(LEVELS, **attributes))
    assert image.pixels.shape[::-1] == size
    if size != (60, 40):
        resized = Image.fromarray(decode(dicom(LEVELS)).pixels).resize(size, Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image.pixels, np.asarray(resized))


def groups(**sequences: dict[str, Any]) -> Dataset:
    item = Dataset()
    for keyword, attributes in sequences.items():
        inner = Dataset()
        for name, value in attributes.items():
            setattr(inner, name, value)
        setattr(item, keyword, Sequence([inner]))
    return item


def test_frame_of_an_enhanced_file_is_read_as_a_file_of_one_frame() -> None:
    frames = np.stack([LEVELS, LEVELS[::-1], LEVELS // 2])
    shared = groups(
        PixelMeasuresSequence={"PixelSpacing": [2, 1]},
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        FrameAnatomySequence={"AnatomicRegionSequence": Sequence([Dataset()])},
    )
    per_frame = [
        groups(
            FrameVOILUTSequence={"WindowCenter": 1000 + 100 * number, "WindowWidth": 900},
            PixelValueTransformationSequence={"RescaleSlope": 1 + number, "RescaleIntercept": -number, "RescaleType": "US"},
            PlanePositionSequence={"ImagePositionPatient": [0, 0, 5.5 * number]},
        )
        for number in range(3)
    ]
    data = dicom(
        frames,
        RLELossless,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(per_frame),
    )
    for number, levels in enumerate(frames):
        single = decode(
            dicom(
                levels,
                WindowCenter=1000 + 100 * number,
                WindowWidth=900,
                RescaleSlope=1 + number,
                RescaleIntercept=-number,
                PixelSpacing=[2, 1],
            )
        )
        image = decode(data, number + 1)
        np.testing.assert_array_equal(image.pixels, single.pixels)
        assert (image.frames, image.window, image.position_mm) == (3, single.window, 5.5 * number)
    for frame, code in ((None, "several_images"), (0, "bad_request"), (4, "bad_request")):
        with pytest.raises(ImageError, match="3") as rejected:
            decode(data, frame)
        assert (rejected.value.code, rejected.value.images) == (code, 3)


@pytest.mark.parametrize(
    ("attributes", "warnings"),
    [
        ({}, ()),
        ({"BodyPartExamined": "BRAIN"}, ()),
        ({"BodyPartExamined": "KNEE"}, ("not_head",)),
        ({"Modality": "CT", "BodyPartExamined": "HEAD"}, ("not_mr",)),
        ({"Modality": None}, ("not_mr",)),
        ({"Modality": "US", "BodyPartExamined": "LSPINE"}, ("not_mr", "not_head")),
    ],
    ids=str,
)
def test_warnings_of_modality_and_body_part(attributes: dict[str, Any], warnings: tuple[str, ...]) -> None:
    assert decode(dicom(LEVELS, **attributes)).warnings == warnings


@pytest.mark.parametrize("part", ["", "HEAD", "Kopf", "HEADNECK", "WHOLEBODY", "HIPPOCAMPUS", "Brain stem", "ORBIT", "NOSE"])
def test_part_that_may_be_of_the_head(part: str) -> None:
    assert not is_plainly_not_head(part)


@pytest.mark.parametrize("part", ["KNEE", "LKNEE", "Left hip", "CSPINE", "ABDOMEN", "CHEST", "HAND", "Upper arm", "NECK"])
def test_part_that_is_plainly_not_of_the_head(part: str) -> None:
    assert is_plainly_not_head(part)


def test_position_is_along_the_normal() -> None:
    axes: dict[str, Any] = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "InstanceNumber": 7}  # sagittal: the normal is -x
    image = decode(dicom(LEVELS, ImagePositionPatient=[12.5, 3, 4], **axes))
    assert (image.position_mm, image.normal, image.instance_number) == (-12.5, (-1, 0, 0), 7)
    assert decode(dicom(LEVELS, InstanceNumber=2**40)).instance_number is None
    flat = decode(dicom(LEVELS, ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    assert (flat.position_mm, flat.normal) == (None, None)
    assert decode(dicom(LEVELS, InstanceNumber=None)).instance_number is None
    assert decode(dicom(LEVELS, **axes)).position_mm is None


def test_identity_is_equal_for_the_same_patient_study_or_series_alone() -> None:
    same: dict[str, Any] = {"PatientID": "7", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2"}
    first = decode(dicom(LEVELS, **same)).identity
    assert first == decode(dicom(LEVELS + np.uint16(1), **same)).identity
    assert len(set(first)) == 3
    for keyword in (*same, "IssuerOfPatientID"):
        assert len(set(first) & set(decode(dicom(LEVELS, **same | {keyword: "1.9"})).identity)) == 2
    assert decode(dicom(LEVELS, PatientID="", StudyInstanceUID=None, SeriesInstanceUID=None)).identity == ()


def test_no_identifying_value_is_returned() -> None:
    image = repr(decode(dicom(LEVELS, **PHI)))
    assert not [value for value in PHI.values() if value in image]


@pytest.mark.parametrize(
    ("attributes", "code", "message"),
    [
        (
            NO_IMAGE | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"},
            "unsupported_type",
            "Comprehensive SR",
        ),
        (NO_IMAGE | {"SOPClassUID": "1.2.3.4"}, "unsupported_type", "unknown kind"),
        ({"PixelData": None}, "corrupt", "corrupt or truncated"),
        ({"PixelData": b"ab"}, "corrupt", "corrupt or truncated"),
        ({"PhotometricInterpretation": "Zyxmann"}, "unsupported_type", "colour space are not accepted; send MONOCHROME1"),
        ({"PhotometricInterpretation": None}, "corrupt", "corrupt or truncated"),
        ({"Rows": 0}, "corrupt", "corrupt or truncated"),
        ({"HighBit": 20}, "corrupt", "corrupt or truncated"),
        ({"NumberOfFrames": MAX_FRAMES + 1}, "too_large", "got 513 frames, expected at most 512"),
        ({"Rows": 8000, "Columns": 8000}, "too_large", "got 8000 x 8000 pixels, expected at most 16,000,000"),
        ({"PixelSpacing": [1, 1e-6]}, "too_large", "expected sides of at most 65,535"),
    ],
    ids=str,
)
def test_file_that_is_not_read_is_named(attributes: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as rejected:
        decode(dicom(LEVELS, **attributes))
    assert rejected.value.code == code


def test_unread_compression_is_named() -> None:
    for syntax, name in ((b"1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"), (b"1.2.3", "an unknown transfer syntax")):
        data = dicom(LEVELS, JPEG2000Lossless).replace(b"1.2.840.10008.1.2.4.90", syntax.ljust(22, b"\0"), 1)
        with pytest.raises(ImageError, match=f"DICOM files with {name}.* are not accepted") as rejected:
            decode(data)
        assert rejected.value.code == "unsupported_type"


def test_pixel_limit_counts_one_frame() -> None:
    frames = np.stack([LEVELS] * 4)
    assert decode(dicom(frames), 3, max_pixels=LEVELS.size).frames == 4
    with pytest.raises(ImageError, match="at most 2,399"):
        decode(dicom(frames), 3, max_pixels=LEVELS.size - 1)


def test_deflated_bomb_is_bounded() -> None:
    plain = dicom(LEVELS)
    deflated = rewritten(plain, DeflatedExplicitVRLittleEndian)
    squeeze = zlib.compressobj(1, wbits=-15)
    bomb = [squeeze.compress(plain[end_of_meta(plain) :]), *(squeeze.compress(bytes(2**20)) for _ in range(150)), squeeze.flush()]
    with pytest.raises(ImageError, match="deflated DICOM file has more than 134,217,728 bytes") as rejected:
        read_dicom(deflated[: end_of_meta(deflated)] + b"".join(bomb), MAX_PIXELS)
    assert rejected.value.code == "too_large"


def test_frame_that_decodes_to_another_size_is_rejected() -> None:
    larger = np.zeros((6000, 6000), np.uint16)  # 72 MB
    for syntax in ENCODERS:
        if "Baseline" not in syntax.name:
            with pytest.raises(ImageError) as rejected:
                read_dicom(dicom(larger, syntax, Rows=40, Columns=60), MAX_PIXELS)
            assert rejected.value.code == "corrupt"
