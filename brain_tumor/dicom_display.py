"""Display the pixels of a DICOM file: rescale them, and apply its window, VOI LUT or palette (DICOM PS3.3 C.11)."""

import math
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from brain_tumor.dicom import Window

ROWS_PER_BLOCK = 64
PERCENTILES = (1, 99)


def display_grey(
    levels: np.ndarray, of_frame: Dataset, window: Window | None
) -> tuple[np.ndarray, Window | None, tuple[float, float] | None]:
    """Return grey levels as displayed, uint8 [h, w], 0-255, the window unless a VOI LUT displays them, and their extremes.

    The extremes are the lowest and the highest rescaled level; None if no level is finite.

    Args:
        levels: Pixels as stored, integer or float [h, w].
        of_frame: Attributes of the frame.
        window: Window; None for the first one of the file, else its VOI LUT, else a window between percentiles.
    """
    steps, counts, indices = _distinct(levels)
    values = _rescale(steps, of_frame).astype(np.float64)
    present = values[(counts > 0) & np.isfinite(values)]
    extremes = (float(present.min()), float(present.max())) if present.size else None
    function = str(of_frame.get("VOILUTFunction") or "LINEAR")
    window = window or _file_window(of_frame, function)
    if window is None and of_frame.get("VOILUTSequence"):
        lut = of_frame.VOILUTSequence[0]
        return _to_uint8(_look_up(values, lut, of_frame) / (2.0 ** lut.LUTDescriptor[2] - 1))[indices], None, extremes
    if window is None:
        step = abs(float(of_frame.get("RescaleSlope") or 1)) if levels.dtype.kind in "iu" else 0.0
        window, function = _percentile_window(values, counts, step), "LINEAR_EXACT"
    return _to_uint8(_shade(values, window, function))[indices], window, extremes


def _distinct(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the levels that pixels can have, [m], how many pixels have each, int [m], and the index of each pixel's, [h, w].

    What is computed for these levels alone takes little time and memory.
    """
    if levels.dtype.kind not in "iu" or levels.itemsize > 2:
        steps, indices, counts = np.unique(levels, return_inverse=True, return_counts=True)
        return steps, counts, indices.reshape(levels.shape)
    indices = np.ascontiguousarray(levels).view(f"u{levels.itemsize}")
    steps = np.arange(256**levels.itemsize, dtype=indices.dtype).view(levels.dtype)
    counts = np.zeros(len(steps), np.int64)
    for start in range(0, len(levels), ROWS_PER_BLOCK):
        counts += np.bincount(indices[start : start + ROWS_PER_BLOCK].ravel(), minlength=len(steps))
    return steps, counts, indices


def _rescale(levels: np.ndarray, of_frame: Dataset) -> np.ndarray:
    """Apply the modality LUT, or slope and intercept."""
    if of_frame.get("ModalityLUTSequence"):
        return _look_up(levels, of_frame.ModalityLUTSequence[0], of_frame)
    if "RescaleSlope" not in of_frame or "RescaleIntercept" not in of_frame:
        return levels
    return levels.astype(np.float64) * float(of_frame.RescaleSlope) + float(of_frame.RescaleIntercept)


def _look_up(levels: np.ndarray, lut: Dataset, of_frame: Dataset) -> np.ndarray:
    """Return the entries of levels in a table; those below and above it have its first and last entry."""
    # pydicom's functions fail on tables of 9 to 15 bits, and on those of 8 bits with more than 256 entries.
    count, first, _ = lut.LUTDescriptor
    table = lut.LUTData
    if isinstance(table, bytes):
        is_little_endian = of_frame.file_meta.TransferSyntaxUID.is_little_endian
        table = np.frombuffer(table, np.uint8 if len(table) == count else "<u2" if is_little_endian else ">u2")
    return np.asarray(table)[np.clip(levels.astype(np.int64) - first, 0, (count or 2**16) - 1)]


def _to_uint8(shades: np.ndarray) -> np.ndarray:
    """Convert shades of grey, 0-1, to uint8, 0-255."""
    return (np.nan_to_num(shades).clip(0, 1) * 255).round().astype(np.uint8)


def _file_window(of_frame: Dataset, function: str) -> Window | None:
    """Return the first window of the file; None if it has none, or one of no meaning."""
    center, width = (numbers(of_frame.get(keyword), 1) for keyword in ("WindowCenter", "WindowWidth"))
    if not center or not width or (width[0] < 1 and (function == "LINEAR" or width[0] <= 0)):
        return None
    return Window(center[0], width[0])


def _percentile_window(values: np.ndarray, counts: np.ndarray, step: float) -> Window:
    """Return the window between the percentiles, as DCMTK's `dcmj2pnm +Wh 1`; of all levels if these are too near.

    Args:
        values: The levels.
        counts: Number of pixels of each.
        step: Distance of neighbouring levels: the darkest level is the first one above the lower percentile.
    """
    present = np.flatnonzero((counts > 0) & np.isfinite(values))
    if not present.size:
        return Window(0.0, 0.0)
    present = present[np.argsort(values[present], kind="stable")]
    values, below = values[present], np.cumsum(counts[present])
    low, high = values[np.searchsorted(below, np.array(PERCENTILES) / 100 * below[-1])]
    low += step
    if low >= high:
        low, high = values[0], values[-1]
    return Window(float(low + high) / 2, float(high - low))


def _shade(values: np.ndarray, window: Window, function: str) -> np.ndarray:
    """Return the grey of levels, 0-1 for those in the window, by the functions of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    center, width = window
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (values > center).astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -500, 500)))
    return (values - center) / width + 0.5


def display_colours(levels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the colours of an image, uint8 [h, w, 3], 0-255.

    Args:
        levels: Pixels as stored, unsigned [h, w, 3] in RGB, or [h, w] in a palette.
        dataset: Attributes of the file.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        levels = apply_color_lut(levels, dataset)
        return levels if levels.dtype == np.uint8 else (levels >> 8).astype(np.uint8)
    if levels.dtype == np.uint8:
        return levels
    pixels = np.empty(levels.shape, np.uint8)
    for start in range(0, len(levels), ROWS_PER_BLOCK):
        pixels[start : start + ROWS_PER_BLOCK] = _to_uint8(
            levels[start : start + ROWS_PER_BLOCK] / (2.0 ** int(dataset.BitsStored) - 1)
        )
    return pixels


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return the first numbers of an element; None if they are missing or not finite."""
    try:
        numbers = tuple(float(each) for each in ([value] if isinstance(value, str | int | float) else value))[:count]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
