"""The result of a series in words, as a table, as CSV and as a report: slices of a series, never a finding about a patient."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from markupsafe import Markup

from brain_tumor.classes import NO_TUMOR
from brain_tumor.model_card import NOTICE
from brain_tumor.overlay import OPACITY, render_overlay
from ui.advice import ADVICE, OF_THE_IMAGE
from ui.client import Prediction
from ui.formatting import class_display_name, format_probability
from ui.html import render
from ui.report import STYLE
from ui.result import colour_bar, overlay_figure, slice_figure
from ui.series_answer import SeriesAnswer, SeriesSlice
from ui.table import Row

ORDERS = {
    "position": "The slices are in the order of their positions.",
    "instance_number": "The slices are in the order of their instance numbers, as the files state no positions.",
    "request": "The files state neither positions nor instance numbers: the slices are in the order of the files, and "
    "neighbouring slices may be apart in the head.",
}
PLOT = {"width": 720, "height": 190, "left": 34, "right": 706, "top": 10, "bottom": 166}


def headline(answer: SeriesAnswer) -> str:
    """State how many slices are predicted a tumour: `12 of 40 slices reach the threshold 0.5`."""
    count, total = answer.reaching_threshold, len(answer.slices)
    if answer.threshold is None:
        return f"{count} of {total} slices {'is' if count == 1 else 'are'} predicted as a tumour"
    return f"{count} of {total} slices {'reaches' if count == 1 else 'reach'} the threshold {answer.threshold:g}"


def sentences(answer: SeriesAnswer) -> list[str]:
    """Describe the longest run, the highest probability, and the order of the slices."""
    found = []
    if answer.longest_run_first is not None:
        first, last = answer.longest_run_first + 1, answer.longest_run_first + answer.longest_run
        slices = f"slice {first}" if first == last else f"slices {first} to {last}"
        found.append(f"The longest run of neighbouring slices that do is {answer.longest_run}: {slices}.")
    found.append(
        f"The highest probability of a tumour is {_probability(answer, answer.peak)}, in {slice_name(answer, answer.peak)}."
    )
    return found + ([ORDERS[answer.order]] if answer.order in ORDERS else [])


def slice_name(answer: SeriesAnswer, index: int) -> str:
    """Return the number of a slice, from 1, and its position: `slice 22, at 12.5 mm`."""
    position = position_text(answer.slices[index])
    return f"slice {index + 1}" + (f", at {position}" if position else "")


def position_text(each: SeriesSlice) -> str:
    """Return the position of a slice as displayed, `12.5 mm`; empty if it is unknown."""
    return "" if each.position_mm is None else f"{each.position_mm:.1f} mm"


def summary_html(answer: SeriesAnswer) -> Markup:
    """Write the headline, the sentences, the notice, and each warning with the number of its slices."""
    counts = Counter(code for each in answer.slices for code in each.warning_codes)
    warnings = [
        (sentence, code, counts[code] if code in OF_THE_IMAGE else 0)
        for sentence, code in zip(answer.warnings, answer.warning_codes, strict=False)
    ]
    return render(
        "series_summary.html",
        headline=headline(answer),
        sentences=sentences(answer),
        version=answer.version,
        warnings=warnings,
        total=len(answer.slices),
        advice=ADVICE,
        notice=NOTICE,
    )


def slice_html(answer: SeriesAnswer, index: int) -> Markup:
    """Write number, position, label, probability and warnings of one slice in a line."""
    chosen = answer.slices[index]
    return render(
        "series_slice.html",
        number=index + 1,
        total=len(answer.slices),
        position=position_text(chosen),
        label=chosen.label,
        is_tumor=chosen.label != NO_TUMOR,
        probability=_probability(answer, index),
        threshold=answer.threshold,
        remarks=_remarks(answer, index),
    )


def prediction_of(answer: SeriesAnswer, index: int, heatmap: np.ndarray) -> Prediction:
    """Return the prediction for one slice with its heatmap, float32 [h, w], 0-1."""
    chosen = answer.slices[index]
    return Prediction(
        label=chosen.label,
        probability=chosen.probability,
        threshold=answer.threshold,
        confidence=chosen.confidence,
        version=answer.version,
        warnings=(),
        heatmap=heatmap,
        explanation=answer.explanation,
    )


def rows(answer: SeriesAnswer, names: Sequence[str]) -> list[Row]:
    """Return one row per slice for the CSV, with unrounded numbers.

    Args:
        answer: The answer.
        names: Name of each slice's file.
    """
    words = dict(zip(answer.warning_codes, answer.warnings, strict=False))
    found: list[Row] = []
    for number, (each, name) in enumerate(zip(answer.slices, names, strict=True), 1):
        by_class = each.probability if isinstance(each.probability, dict) else {"": each.probability}
        found.append(
            {
                "slice": number,
                "file": name,
                "frame": each.frame,
                "position_mm": each.position_mm,
                "label": each.label,
                **{f"probability_{label}".rstrip("_"): value for label, value in by_class.items()},
                "threshold": answer.threshold,
                "confidence": each.confidence,
                "model_version": answer.version,
                "warnings": "; ".join(words.get(code, code) for code in each.warning_codes),
                "in_distribution": each.in_distribution,
                "uncertain": each.uncertain,
                "warning_codes": "; ".join(each.warning_codes),
            }
        )
    return found


def table_html(answer: SeriesAnswer) -> Markup:
    """Write the slices as a table, which is the line of probabilities for those who cannot see it."""
    cells = [
        [
            str(index + 1),
            position_text(each),
            class_display_name(each.label),
            _probability(answer, index),
            _remarks(answer, index),
        ]
        for index, each in enumerate(answer.slices)
    ]
    return render("series_table.html", headings=["slice", "position", "label", "probability", "remarks"], rows=cells)


def line_html(answer: SeriesAnswer) -> Markup:
    """Draw the probability along the series as a vector graphic."""
    left, top = PLOT["left"], PLOT["top"]
    step = (PLOT["right"] - left) / max(1, len(answer.slices) - 1)
    points = [
        (left + index * step, top + (1 - each.tumor_probability) * (PLOT["bottom"] - top))
        for index, each in enumerate(answer.slices)
    ]
    return render("series_line.html", plot=PLOT, points=points, answer=answer, description=description(answer))


def description(answer: SeriesAnswer) -> str:
    """Describe the line of probabilities for those who cannot see it."""
    return " ".join([f"Probability of a tumour along the series. {headline(answer)}.", *sentences(answer)])


def report_html(answer: SeriesAnswer, pixels: Mapping[int, np.ndarray], *, colour_map: str, created: datetime) -> str:
    """Write the report of a series: one HTML file without external references, and without names of files.

    Args:
        answer: The answer.
        pixels: Image, uint8 [h, w, 3], 0-255, of each slice that the answer has a heatmap of.
        colour_map: Colour map of the overlays.
        created: Time of the report in UTC.
    """
    highest = []
    for index, image in pixels.items():
        prediction = prediction_of(answer, index, answer.heatmaps[index])
        overlay = render_overlay(image, prediction.heatmap, colour_map=colour_map)
        highest.append((slice_html(answer, index), slice_figure(image), overlay_figure(overlay, prediction)))
    peak = prediction_of(answer, answer.peak, answer.heatmaps[answer.peak]) if answer.heatmaps else None
    return render(
        "series_report.html",
        style=Markup(STYLE.read_text(encoding="utf-8")),
        created=created.strftime("%Y-%m-%d %H:%M:%S UTC"),
        version=answer.version,
        slices=len(answer.slices),
        opacity=f"{OPACITY:.0%}",
        summary=summary_html(answer),
        line=line_html(answer),
        highest=highest,
        colour_bar=colour_bar(colour_map, peak) if peak else "",
    )


def _probability(answer: SeriesAnswer, index: int) -> str:
    return format_probability(answer.slices[index].tumor_probability, answer.threshold)


def _remarks(answer: SeriesAnswer, index: int) -> str:
    return ", ".join(ADVICE[code].name.lower() for code in answer.slices[index].warning_codes if code in OF_THE_IMAGE)
