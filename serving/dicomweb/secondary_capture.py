"""The secondary captures: the overlays of the highest slices as pictures, with slice, probability and notice burned in."""

import base64
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from serving.dicomweb.analysed_series import AnalysedSeries, Heatmap
from serving.dicomweb.instances import CAPTURE_SERIES_NUMBER, describe_series, new_image, source_image_sequence

BURNED_IN = "Not for diagnosis. Assists a reader."
LEAST_WIDTH_PX = 512  # below it, the text would not be legible
MAX_TEXT_FRACTION = 1 / 24  # of the width
MARGIN_FRACTION = 1 / 64


def build_captures(series: AnalysedSeries) -> list[Dataset]:
    """Return one Secondary Capture of each explained slice, that with the highest probability first."""
    return [_capture(series, heatmap, number) for number, heatmap in enumerate(series.highest, 1)]


def _capture(series: AnalysedSeries, heatmap: Heatmap, number: int) -> Dataset:
    overlay = Image.open(io.BytesIO(base64.b64decode(heatmap.overlay_png))).convert("RGB")
    pixels = burn_in(overlay, _lines(series, heatmap))
    pixel_bytes = pixels.tobytes()
    return new_image(
        series,
        SecondaryCaptureImageStorage,
        series.uids.captures[number - 1],
        SeriesInstanceUID=series.uids.capture_series,
        SeriesNumber=CAPTURE_SERIES_NUMBER,
        SeriesDescription=describe_series(series, "overlays"),
        InstanceNumber=number,
        ImageType=["DERIVED", "SECONDARY", "OTHER"],
        ConversionType="WSD",
        PatientOrientation="",
        BurnedInAnnotation="YES",
        DerivationDescription=f"Overlay of the heatmap of {heatmap.label} by {series.model} {series.version}. "
        f"{series.answer['notice']}",
        SourceImageSequence=source_image_sequence([heatmap.of_slice]),
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=pixels.shape[0],
        Columns=pixels.shape[1],
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=pixel_bytes + b"\0" * (len(pixel_bytes) % 2),
    )


def _lines(series: AnalysedSeries, heatmap: Heatmap) -> list[str]:
    """Return the lines of text to burn in."""
    each = heatmap.of_slice
    instance = each.prediction["instance_number"]
    frame = f", frame {each.frame}" if each.frame is not None else ""
    in_pacs = f" (instance {instance}{frame})" if instance is not None else ""
    by = f"{series.model} {series.version}"
    lines = [
        BURNED_IN,
        f"Slice {each.number} of {len(series.slices)}{in_pacs}",
        *(f"Probability of {label.replace('_', ' ')} by {by}: {_format(value)}" for label, value in each.probabilities.items()),
    ]
    if warnings := each.prediction["warning_codes"]:
        lines.append(f"Warnings: {', '.join(warnings)}".replace("_", " "))
    return lines


def _format(probability: float) -> str:
    """Format a probability with three decimals. One that is not exactly 0 or 1 never reads as 0 or 1."""
    if 0 < probability < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= probability < 1 else f"{probability:.3f}"


def burn_in(overlay: Image.Image, lines: list[str]) -> np.ndarray:
    """Return an image with lines of text in a band below it, uint8 [height, width, 3], 0-255.

    An image that is narrower than `LEAST_WIDTH_PX` and lower is enlarged; one that is only narrower gets black margins.

    Args:
        overlay: Image of mode `RGB`.
        lines: The text.
    """
    if max(overlay.size) < LEAST_WIDTH_PX:
        factor = -(-LEAST_WIDTH_PX // max(overlay.size))
        overlay = overlay.resize((overlay.width * factor, overlay.height * factor), Image.Resampling.BICUBIC)
    width = max(overlay.width, LEAST_WIDTH_PX)
    margin = round(width * MARGIN_FRACTION)
    font = _font(lines, width - 2 * margin, round(width * MAX_TEXT_FRACTION))
    line_height = round(font.size * 1.3)
    canvas = Image.new("RGB", (width, overlay.height + len(lines) * line_height + 2 * margin))
    canvas.paste(overlay, ((width - overlay.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((margin, overlay.height + margin + row * line_height), line, fill="white", font=font)
    return np.asarray(canvas)


def _font(lines: list[str], width_px: int, max_size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font in the largest size at which every line fits into a width."""
    font = ImageFont.load_default(max_size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    longest = max(font.getlength(line) for line in lines)
    return font if longest <= width_px else font.font_variant(size=int(max_size * width_px / longest))
