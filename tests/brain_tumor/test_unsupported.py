"""Files that are not read are named for what they are, with the way out."""

import gzip
import struct

import numpy as np
import pytest

from brain_tumor.dicom import is_dicom
from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from tests.brain_tumor.test_formats import segment
from tests.brain_tumor.test_images import GREY, encode


def tiff(levels: np.ndarray, sample_format: int) -> bytes:
    """Build an uncompressed grey TIFF."""
    height, width = levels.shape
    tags = [(256, width), (257, height), (258, levels.itemsize * 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, levels.nbytes), (339, sample_format)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + levels.nbytes) + levels.tobytes() + struct.pack("<H", len(tags)) + directory + bytes(4)
    )


def jpeg(frame: int, bits: int) -> bytes:
    """Build the beginning of a JPEG with another process than baseline and progressive."""
    header = segment(frame, struct.pack(">BHHB", bits, 40, 56, 1) + b"\1\x11\0")
    return b"\xff\xd8" + segment(0xFE, b"a comment") + header + segment(0xDA, b"\1\1\0\0\0\0") + bytes(900) + b"\xff\xd9"


def nifti(*, big_endian: bool = False, magic: bytes = b"n+1\0") -> bytes:
    return struct.pack(">i" if big_endian else "<i", 348) + bytes(340) + magic + bytes(40_000)


def nifti_2(magic: bytes = b"n+2\0\r\n\x1a\n") -> bytes:
    return struct.pack("<i", 540) + magic + bytes(40_000)


def explicit(*elements: tuple[int, int, bytes, bytes], order: str = "<") -> bytes:
    """Encode data elements in explicit VR: group, element, VR, value."""
    long = (b"OB", b"UN")
    return b"".join(
        struct.pack(f"{order}HH2s", group, element, vr)
        + (struct.pack(f"{order}HI", 0, len(value)) if vr in long else struct.pack(f"{order}H", len(value)))
        + value
        for group, element, vr, value in elements
    )


def implicit(*elements: tuple[int, int, bytes]) -> bytes:
    return b"".join(struct.pack("<HHI", group, element, len(value)) + value for group, element, value in elements)


META = ((2, 0, b"UL", b"\x0e\0\0\0"), (2, 1, b"OB", b"\0\1"), (2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0"))
IDENTIFYING = (
    (8, 5, b"CS", b"ISO_IR 100"),
    (8, 8, b"CS", b"ORIGINAL\\PRIMARY"),
    (8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
)
DICOMS = {
    "with preamble": bytes(128) + b"DICM" + explicit(*META, *IDENTIFYING),
    "preamble of a TIFF": b"II*\0" + bytes(124) + b"DICM" + explicit(*META),
    "without preamble, with meta information": explicit(*META, *IDENTIFYING) + bytes(500),
    "without meta information": explicit(*IDENTIFYING) + bytes(500),
    "implicit": implicit(*((group, element, value) for group, element, _, value in IDENTIFYING)) + bytes(500),
    "implicit, with group length (ACR-NEMA)": implicit((8, 0, bytes(4)), (8, 1, bytes(4)), (8, 0x10, b"ACR-NEMA 1.0"))
    + bytes(500),
    "big-endian": explicit(*IDENTIFYING, order=">") + bytes(500),
}
NAMED = {
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(900), "HEIC .HEIF. images are not accepted; export the image as JPEG"),
    "HEIF": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(900), "HEIC .HEIF. images"),
    "HEIF sequence": (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc" + bytes(900), "HEIC .HEIF. images"),
    "TIFF, 16-bit float": (tiff(GREY.astype(np.float16), 3), "TIFF .* 16-bit floating-point samples .* export the image as PNG"),
    "TIFF, 64-bit float": (tiff(GREY.astype(np.float64), 3), "TIFF .* 64-bit floating-point samples"),
    "TIFF, 64-bit integer": (tiff(GREY.astype(np.uint64), 1), "TIFF .* 64-bit unsigned integer samples"),
    "JPEG-LS": (jpeg(0xF7, 8), "JPEG-LS images are not accepted; export the image as baseline JPEG or as PNG"),
    "JPEG-LS, 16 bits": (jpeg(0xF7, 16), "JPEG-LS images"),
    "lossless JPEG": (jpeg(0xC3, 16), "lossless JPEG images are not accepted; export the image as baseline JPEG or as PNG"),
    "lossless JPEG, 8 bits, arithmetic": (jpeg(0xCB, 8), "lossless JPEG images"),
    "hierarchical JPEG": (jpeg(0xC5, 8), "hierarchical JPEG images"),
    "12-bit JPEG": (jpeg(0xC1, 12), "JPEG images with 12-bit samples"),
    "NIfTI": (nifti(), "NIfTI volumes are not accepted; export the slice as PNG"),
    "NIfTI, header of a pair": (nifti(magic=b"ni1\0"), "NIfTI volumes"),
    "NIfTI, big-endian": (nifti(big_endian=True), "NIfTI volumes"),
    "NIfTI-2": (nifti_2(), "NIfTI volumes"),
    "NIfTI, compressed": (gzip.compress(nifti(), mtime=0), "gzip-compressed NIfTI volumes .*; export the slice as PNG"),
    "NIfTI-2, compressed": (gzip.compress(nifti_2(), mtime=0), "gzip-compressed NIfTI volumes"),
    "compressed image": (
        gzip.compress(encode(GREY, "PNG"), mtime=0),
        "gzip-compressed files are not accepted; decompress the file",
    ),
    "ICO": (encode(GREY, "ICO"), "ICO images are not accepted; send JPEG, PNG"),
    **{
        f"DICOM {name}": (data, "the DICOM file holds no image, it is of the kind: MR Image Storage; send a slice")
        for name, data in DICOMS.items()
        if IDENTIFYING[2][3] in data
    },
}


@pytest.mark.parametrize("name", NAMED)
def test_file_that_is_not_read_is_named_with_the_way_out(name: str) -> None:
    data, sentence = NAMED[name]
    with pytest.raises(ImageError, match=sentence) as rejected:
        read_image(data)
    assert rejected.value.code == "unsupported_type"


@pytest.mark.parametrize("name", [name for name, data in DICOMS.items() if IDENTIFYING[2][3] not in data])
def test_dicom_that_does_not_say_what_it_is_is_corrupt(name: str) -> None:
    assert is_dicom(DICOMS[name])
    with pytest.raises(ImageError, match="the DICOM file is corrupt or truncated") as rejected:
        read_image(DICOMS[name])
    assert rejected.value.code == "corrupt"


@pytest.mark.parametrize(
    "data", [b"\x08\0\x05\0" + bytes(600), b"\x02\0\0\0" * 200, b"\0\x08" * 300, b"\x08\0\x05\0CS\x02\0ab" * 2]
)
def test_bytes_without_ascending_elements_are_no_dicom(data: bytes) -> None:
    assert not is_dicom(data)
    with pytest.raises(ImageError, match="not an image") as rejected:
        read_image(data)
    assert rejected.value.code == "not_an_image"


@pytest.mark.parametrize(
    "data", [b"\x1f\x8b" + b"x" * 90, gzip.compress(bytes(50 * 2**20), mtime=0), b"\x1f\x8b"], ids=["invalid", "bomb", "start"]
)
def test_compressed_bytes_are_named_whatever_is_in_them(data: bytes) -> None:
    with pytest.raises(ImageError, match="gzip-compressed files are not accepted"):
        read_image(data)


def test_no_message_ends_in_a_class_of_python() -> None:
    whole = [encode(GREY, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000")]
    for data in whole:
        for end in (30, len(data) // 3, len(data) // 2, len(data) - 30):
            with pytest.raises(ImageError) as rejected:
                read_image(data[:end])
            assert "Error" not in str(rejected.value)
