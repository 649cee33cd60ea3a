"""One slice's result as a page of A4 to print or to keep: one HTML file without outside references."""

from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from ui.client import Prediction
from ui.result import colour_bar, overlay_figure, prediction_html, slice_figure

FOLDER = Path(__file__).parent


def report_html(
    name: str, answer: Prediction, pixels: np.ndarray, overlay: np.ndarray, *, colour_map: str, opacity: float, made: datetime
) -> str:
    """Write the report.

    Args:
        name: the file's.
        answer: the slice's.
        pixels: the image, uint8 [h, w, 3], 0-255.
        overlay: as the reader saw it, uint8 [h, w, 3], 0-255.
        colour_map: the overlay's.
        opacity: the overlay's, 0-1.
        made: in UTC.
    """
    return Template((FOLDER / "report.html").read_text(encoding="utf-8")).substitute(
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        name=escape(name),
        made=made.strftime("%Y-%m-%d %H:%M:%S UTC"),
        version=escape(answer.version),
        opacity=f"{opacity:.0%}",
        prediction_html=prediction_html(answer),
        slice=slice_figure(pixels),
        overlay=overlay_figure(overlay, answer),
        colour_bar=colour_bar(colour_map, answer.label),
    )
