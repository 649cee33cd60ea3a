"""HTML of one slice's result, the same on the web page and in the report."""

import base64
import itertools

import numpy as np
from markupsafe import Markup
from PIL import Image

from brain_tumor.dicom import Window
from brain_tumor.model_card import NOTICE
from brain_tumor.overlay import COLOUR_MAPS, MAX_OVERLAY_SIDE_PX, scale_image
from brain_tumor.png import encode_pixels
from ui.advice import ADVICE
from ui.client import Prediction
from ui.formatting import capitalize_first, class_display_name, explanation_display_name
from ui.html import render

MIN_SIDE_PX = 640
COLOUR_STOPS = 17
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def prediction_html(prediction: Prediction) -> Markup:
    """Write the label, the probability against the threshold, the confidence, the warnings and the notice."""
    warnings = itertools.zip_longest(prediction.warnings, prediction.warning_codes, fillvalue="")
    return render("prediction.html", prediction=prediction, warnings=list(warnings), advice=ADVICE, notice=NOTICE)


def scale_for_display(image: Image.Image) -> np.ndarray:
    """Scale an image for display, uint8 [h, w, 3], 0-255. A small image is enlarged so that the overlay's line is smooth."""
    if max(image.size) < MIN_SIDE_PX:
        factor = MIN_SIDE_PX / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(scale_image(image, MAX_OVERLAY_SIDE_PX))


def slice_figure(pixels: np.ndarray, window: Window | None = None) -> Markup:
    """Write the slice, uint8 [h, w, 3], 0-255, as a figure, which names the window that the user chose."""
    if window is None:
        return _figure(pixels, "The slice, upright, as the model received it", "Slice")
    chosen = f"window level {window.center:g}, width {window.width:g}"
    return _figure(pixels, f"The slice, upright, with {chosen}", f"Slice, with {chosen}: the view only")


def overlay_figure(overlay: np.ndarray, prediction: Prediction) -> Markup:
    """Write the overlay, uint8 [h, w, 3], 0-255, as a figure."""
    regions = "regions that" if prediction.heatmap.any() else "no region"
    method = explanation_display_name(prediction.explanation)
    caption = f"{capitalize_first(method)}: {regions} raised the score of “{class_display_name(prediction.label)}”"
    return _figure(overlay, f"The slice under its {method}. {describe_peak(prediction.heatmap)}", caption)


def colour_bar(colour_map: str, prediction: Prediction) -> Markup:
    """Write the colour scale of the heatmap with labelled ends, and what the heatmap shows."""
    table = COLOUR_MAPS[colour_map][np.linspace(0, 255, COLOUR_STOPS).round().astype(int)]
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in table.tolist())
    return render("colour_bar.html", colour_map=colour_map, prediction=prediction, stops=stops)


def describe_peak(heatmap: np.ndarray) -> str:
    """Describe in words where a heatmap, float [h, w], is strongest."""
    if not heatmap.any():
        return "Nothing in the slice raised the score: the map is empty."
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    down, across = ((index + 0.5) / size for index, size in zip((row, column), heatmap.shape, strict=True))
    return f"It is strongest in the {ROWS[int(down * 3)]} {COLUMNS[int(across * 3)]} of the image."


def png_uri(pixels: np.ndarray) -> str:
    """Encode uint8 [h, w, 3] as a PNG in a `data:` URI."""
    return "data:image/png;base64," + base64.b64encode(encode_pixels(pixels)).decode()


def _figure(pixels: np.ndarray, alternative: str, caption: str) -> Markup:
    return render("figure.html", uri=png_uri(pixels), alternative=alternative, caption=caption)
