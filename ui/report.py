"""The report of one slice: a single HTML file without external references, on one A4 page."""

from datetime import datetime
from pathlib import Path

import numpy as np
from markupsafe import Markup

from brain_tumor.dicom import Window
from ui.client import Prediction
from ui.html import render
from ui.result import colour_bar, overlay_figure, prediction_html, slice_figure

STYLE = Path(__file__).with_name("style.css")


def report_html(
    name: str,
    prediction: Prediction,
    pixels: np.ndarray,
    overlay: np.ndarray,
    *,
    colour_map: str,
    opacity: float,
    created: datetime,
    window: Window | None = None,
) -> str:
    """Write the report.

    Args:
        name: File name of the slice.
        prediction: Prediction for the slice.
        pixels: Slice, uint8 [h, w, 3], 0-255.
        overlay: Overlay as shown on the web page, uint8 [h, w, 3], 0-255.
        colour_map: Colour map of the overlay.
        opacity: Opacity of the overlay, 0-1.
        created: Time of the report in UTC.
        window: Window of the view that the user chose; None for the file's own.
    """
    return render(
        "report.html",
        style=Markup(STYLE.read_text(encoding="utf-8")),
        name=name,
        created=created.strftime("%Y-%m-%d %H:%M:%S UTC"),
        version=prediction.version,
        opacity=f"{opacity:.0%}",
        prediction=prediction_html(prediction),
        slice=slice_figure(pixels, window),
        overlay=overlay_figure(overlay, prediction),
        colour_bar=colour_bar(colour_map, prediction),
    )
