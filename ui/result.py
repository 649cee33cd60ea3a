"""One slice's result as HTML, the same in the page and in the report."""

import base64
from html import escape

import numpy as np
from PIL import Image

from brain_tumor.model_card import NOTICE
from brain_tumor.overlay import COLOUR_MAPS, MAX_OVERLAY_SIDE_PX, encode_rgb_png, scale_image
from ui.client import Prediction
from ui.formatting import class_display_name, format_probability

LEAST_SIDE_PX = 640
COLOUR_STOPS = 17
ROWS, COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def prediction_html(answer: Prediction) -> str:
    """Write the label, the probability against the threshold, the confidence, the warnings and the notice."""
    warnings = "".join(f'<p class="banner" role="note">{escape(_sentence(text))}</p>' for text in answer.warnings)
    return (
        '<section class="verdict" aria-label="Result">'
        f'<div><p class="label"><span>The model calls this slice</span> <b>{escape(class_display_name(answer.label))}</b></p>'
        f'<p class="soft">Confidence {escape(format_probability(answer.confidence))}, model version {escape(answer.version)}</p>'
        f'<p class="notice">{NOTICE}</p></div>'
        f"<div>{_bars(answer)}</div>{warnings}</section>"
    )


def scale_for_display(image: Image.Image) -> np.ndarray:
    """Bring an image to the size it is looked at, uint8 [h, w, 3]; a small one is enlarged, for a smooth line of the overlay."""
    if max(image.size) < LEAST_SIDE_PX:
        factor = LEAST_SIDE_PX / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return scale_image(image, MAX_OVERLAY_SIDE_PX)


def slice_figure(pixels: np.ndarray) -> str:
    """Write the image, uint8 [h, w, 3], 0-255."""
    return _figure(pixels, "The slice, upright, as the model was given it", "Slice")


def overlay_figure(overlay: np.ndarray, answer: Prediction) -> str:
    """Write the overlay, uint8 [h, w, 3], 0-255."""
    what = "what" if answer.heatmap.any() else "nothing"
    caption = f"Grad-CAM: {what} raised the score of “{escape(class_display_name(answer.label))}”"
    return _figure(overlay, f"The slice under the Grad-CAM heatmap. {describe_peak(answer.heatmap)}", caption)


def colour_bar(colour_map: str, label: str) -> str:
    """Write the heatmap's colour scale with its ends named."""
    table = COLOUR_MAPS[colour_map][np.linspace(0, 255, COLOUR_STOPS).round().astype(int)]
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in table.tolist())
    name = escape(class_display_name(label))
    return (
        f'<div class="scale"><p>Contribution to “{name}”, within this slice ({escape(colour_map)})</p>'
        f'<div class="gradient" style="background: linear-gradient(to right, {stops})"></div>'
        "<p><span>0: none</span><span>0.5</span><span>1: strongest</span></p></div>"
        '<p class="soft">The white line surrounds what lies above half of the peak. Grad-CAM shows what raised the score, '
        "not where a lesion ends.</p>"
    )


def describe_peak(heatmap: np.ndarray) -> str:
    """Say where a heatmap, float [h, w], is strongest."""
    if not heatmap.any():
        return "Nothing in the slice raised the score: the map is empty."
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    down, across = ((place + 0.5) / size for place, size in zip((row, column), heatmap.shape, strict=True))
    return f"It is strongest in the {ROWS[int(down * 3)]} {COLUMNS[int(across * 3)]} of the image."


def png_uri(pixels: np.ndarray) -> str:
    """Encode uint8 [h, w, 3] as a `data:` address of a PNG."""
    return "data:image/png;base64," + base64.b64encode(encode_rgb_png(pixels)).decode()


def _figure(pixels: np.ndarray, alternative: str, caption: str) -> str:
    return f'<figure class="image"><img src="{png_uri(pixels)}" alt="{alternative}"><figcaption>{caption}</figcaption></figure>'


def _bars(answer: Prediction) -> str:
    if isinstance(answer.probability, dict):
        return "".join(
            _bar(f"Probability of {class_display_name(label)}", value, None, chosen=label == answer.label)
            for label, value in answer.probability.items()
        )
    return _bar(
        "Probability of a tumour", answer.probability, answer.threshold, chosen=True, called=class_display_name(answer.label)
    )


def _bar(name: str, value: float, threshold: float | None, *, chosen: bool, called: str = "") -> str:
    number = escape(format_probability(value, threshold))
    mark = note = ""
    text = f"{name} {number} of 1"
    if threshold is not None:
        side = "at or above" if value >= threshold else "below"
        mark = f'<i style="left: {threshold:.4%}"></i>'
        named = f'<span style="left: {threshold:.4%}">threshold {threshold:g}</span>'
        note = f'<p class="ends"><span>0</span>{named}<span>1</span></p>'
        note += f"<p>{side.capitalize()} the threshold: <b>{escape(called)}</b></p>"
        text += f", {side} the threshold {threshold:g}"
    return (
        f'<div class="bar{" chosen" if chosen else ""}"><p><span>{escape(name)}</span> <b>{number}</b></p>'
        f'<div class="track" role="img" aria-label="{escape(text)}">'
        f'<div style="width: {value:.4%}"></div>{mark}</div>{note}</div>'
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
