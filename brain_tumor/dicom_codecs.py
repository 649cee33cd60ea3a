"""Decode the compressed frames of DICOM files with imagecodecs, as a plugin of pydicom."""

import functools
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

# Not python-gdcm: its wheel holds code under the GNU GPL (socket++), as does pylibjpeg-libjpeg.
PLUGIN = "imagecodecs"
JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
JPEG_2000 = (JPEG2000Lossless, JPEG2000)
# Equal colour spaces convert no colours: the photometric interpretation says which ones they are.
_jpeg_colours = functools.partial(imagecodecs.jpeg8_decode, colorspace="RGB", outcolorspace="RGB")

# What pydicom asks of a plugin.
DECODER_DEPENDENCIES = dict.fromkeys((*JPEG, *JPEG_LS, *JPEG_2000), ("imagecodecs",))


def is_available(uid: UID) -> bool:
    """Check whether the plugin decodes a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(encoded: bytes, runner: DecodeRunner) -> bytes:
    """Return the pixels of a frame, row by row.

    Args:
        encoded: The frame.
        runner: What the file states of it; what the frame itself states replaces it.

    Raises:
        ValueError: The frame has another size.
    """
    pixels = _decoder(runner)(encoded)
    samples = runner.samples_per_pixel
    if pixels.shape != (runner.rows, runner.columns, samples)[: 2 + (samples > 1)]:
        raise ValueError("the size of the frame is not that of the file")
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    if samples > 1:
        runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    return pixels.tobytes()


def _decoder(runner: DecodeRunner) -> Callable[[bytes], np.ndarray]:
    if runner.transfer_syntax in JPEG_2000:
        return imagecodecs.jpeg2k_decode
    if runner.transfer_syntax in JPEG_LS:
        return imagecodecs.jpegls_decode
    return _jpeg_colours if runner.samples_per_pixel > 1 else imagecodecs.jpeg8_decode


for _syntax in DECODER_DEPENDENCIES:
    get_decoder(_syntax).add_plugin(PLUGIN, (__name__, decode_frame.__name__))
