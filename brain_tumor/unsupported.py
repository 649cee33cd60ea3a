"""Name the kinds of files that are not read, each with what to do instead."""

import zlib

from brain_tumor.formats import Structure
from brain_tumor.tiff import BITS_PER_SAMPLE, SAMPLE_FORMAT, TIFF_STARTS, directories

NIFTI = "NIfTI volumes are not accepted; export the slice as PNG, with the window that a reader uses"
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
GZIP_START, GZIP_PEEK_BYTES = b"\x1f\x8b", 4096
JPEG_LS_FRAME, JPEG_LOSSLESS_FRAMES, JPEG_HIERARCHICAL_FRAMES = 0xF7, (0xC3, 0xC7, 0xCB, 0xCF), (0xC5, 0xC6, 0xCD, 0xCE)
JPEG_8_BITS = 8
SAMPLE_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "floating-point", 5: "complex integer", 6: "complex"}


def unsupported_kind(data: bytes, structure: Structure) -> str | None:
    """Return the sentence about a file of a known kind that Pillow does not recognise; None for any other file.

    Args:
        data: The file.
        structure: Its structure.
    """
    if data.startswith(GZIP_START):
        return _gzip_kind(data)
    if _is_nifti(data):
        return NIFTI
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "HEIC (HEIF) images are not accepted; export the image as JPEG or PNG"
    if data.startswith(TIFF_STARTS):
        return _tiff_kind(data)
    return jpeg_kind(*structure.frame)


def _gzip_kind(data: bytes) -> str:
    try:
        start = zlib.decompressobj(wbits=31).decompress(data, GZIP_PEEK_BYTES)
    except zlib.error:
        start = b""
    return f"gzip-compressed {NIFTI}" if _is_nifti(start) else "gzip-compressed files are not accepted; decompress the file"


def _is_nifti(data: bytes) -> bool:
    """Check for the header of NIfTI-1 or NIfTI-2, in one file or of a pair."""
    return data[344:348] in (b"n+1\0", b"ni1\0") or data[4:12] in (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")


def _tiff_kind(data: bytes) -> str | None:
    directory = next(directories(data), {})
    if BITS_PER_SAMPLE not in directory:
        return None
    samples = f"{directory[BITS_PER_SAMPLE]}-bit {SAMPLE_KINDS.get(directory.get(SAMPLE_FORMAT, 1), 'other')} samples"
    return f"TIFF images of this layout with {samples} are not accepted; export the image as PNG, or with 32-bit float samples"


def jpeg_kind(frame: int, bits: int) -> str | None:
    """Return the sentence about a JPEG that no decoder here reads; None for any other file.

    Args:
        frame: Marker of its frame header.
        bits: Bits of its samples.
    """
    way_out = "are not accepted; export the image as baseline JPEG or as PNG"
    if frame == JPEG_LS_FRAME:
        return f"JPEG-LS images {way_out}"
    if frame in JPEG_LOSSLESS_FRAMES:
        return f"lossless JPEG images {way_out}"
    if frame in JPEG_HIERARCHICAL_FRAMES:
        return f"hierarchical JPEG images {way_out}"
    return f"JPEG images with {bits}-bit samples {way_out}" if frame and bits != JPEG_8_BITS else None
