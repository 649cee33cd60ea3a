"""Plots of the model, each with a text description for screen readers, and of a series."""

import importlib
from collections.abc import Collection
from typing import Any

import altair as alt

from ui.formatting import class_display_name

UNIT = alt.Scale(domain=[0, 1])
HEIGHT_PX, SERIES_HEIGHT_PX = 280, 260
MARKS = HIGHEST, CHOSEN = "highest", "chosen"
CLICKED = "clicked"


def roc_plot(curves: dict[str, dict[str, list[float]]]) -> alt.LayerChart:
    """Plot one ROC curve per class.

    Args:
        curves: Class to {fpr, tpr}, lists of equal length, 0-1.
    """
    points = [
        {"class": class_display_name(label), "order": order, "fpr": fpr, "tpr": tpr}
        for label, curve in curves.items()
        for order, (fpr, tpr) in enumerate(zip(curve["fpr"], curve["tpr"], strict=True))
    ]
    lines = (
        alt.Chart(_data(points))
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("fpr:Q", title="false-positive rate (1 - specificity)", scale=UNIT),
            y=alt.Y("tpr:Q", title="true-positive rate (recall)", scale=UNIT),
            order="order:O",
            color=_series("class", len(curves)),
        )
    )
    return _described(_diagonal("fpr", "tpr") + lines, "ROC curve on the held-out slices, with the diagonal of chance")


def calibration_plot(bins: list[dict[str, Any]], predicted: str, observed: str) -> alt.LayerChart:
    """Plot a reliability diagram.

    Args:
        bins: Bins with `predicted` and `observed` (0-1) and `count`.
        predicted: Title of the x axis.
        observed: Title of the y axis.
    """
    points = (
        alt.Chart(_data(bins))
        .mark_line(point=True)
        .encode(
            x=alt.X("predicted:Q", title=predicted, scale=UNIT),
            y=alt.Y("observed:Q", title=observed, scale=UNIT),
            tooltip=["predicted:Q", "observed:Q", "count:Q"],
        )
    )
    return _described(
        _diagonal("predicted", "observed") + points,
        "Calibration on the held-out slices, with the diagonal",
    )


def history_plot(history: dict[str, list[float]], name: str, title: str) -> alt.Chart:
    """Plot one training log by epoch, for training and validation.

    Args:
        history: Log name to one value per epoch; a validation log has the prefix `val_`.
        name: Name of the log.
        title: Title of the y axis.
    """
    points = [
        {"epoch": epoch, "part": part, "value": value}
        for key, part in ((name, "training"), (f"val_{name}", "validation"))
        for epoch, value in enumerate(history.get(key, []), start=1)
    ]
    lines = (
        alt.Chart(_data(points))
        .mark_line()
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            color=_series("part", 2),
            strokeDash=alt.StrokeDash("part:N", legend=None),
        )
    )
    return _described(lines, f"{title} of training and validation by epoch")


def series_plot(
    points: list[dict[str, Any]], *, threshold: float | None, chosen: int, highest: Collection[int]
) -> alt.LayerChart:
    """Plot the probability of a tumour along a series. A click selects the nearest slice, by the name `CLICKED`.

    Args:
        points: Slices with `slice` (from 1), `probability` (0-1) and `position` (text).
        threshold: Threshold on the probability, if there is one.
        chosen: Number of the chosen slice.
        highest: Numbers of the slices with the highest probabilities.
    """
    marked = [point | {"mark": HIGHEST} for point in points if point["slice"] in highest]
    marked += [point | {"mark": CHOSEN} for point in points if point["slice"] == chosen]
    x = alt.X(
        "slice:Q", title="slice", scale=alt.Scale(domain=[1, max(2, len(points))], nice=False), axis=alt.Axis(tickMinStep=1)
    )
    y = alt.Y("probability:Q", title="probability", scale=UNIT)
    click = alt.selection_point(name=CLICKED, fields=["slice"], nearest=True, on="click", empty=False)
    values = alt.Chart(_data(points)).encode(x=x, y=y, tooltip=["slice:Q", "probability:Q", "position:N"])
    marks = (
        alt.Chart(_data(marked))
        .mark_point(filled=False, strokeWidth=2.5, size=150)
        .encode(
            x=x,
            y=y,
            color=alt.Color("mark:N", title=None, scale=alt.Scale(domain=MARKS), legend=alt.Legend(orient="top")),
            shape=alt.Shape("mark:N", title=None, scale=alt.Scale(domain=MARKS, range=["diamond", "circle"])),
        )
    )
    layers: list[alt.Chart] = [values.mark_line(), values.mark_point(filled=True, size=24, opacity=1).add_params(click), marks]
    if threshold is not None:
        rule = alt.Chart(_data([{"threshold": threshold}])).mark_rule(strokeDash=[4, 4], color="gray")
        layers.insert(0, rule.encode(y=alt.Y("threshold:Q", scale=UNIT)))
    return alt.LayerChart(layer=layers).properties(height=SERIES_HEIGHT_PX)


def _diagonal(x: str, y: str) -> alt.Chart:
    ends = _data([{x: 0, y: 0}, {x: 1, y: 1}])
    return alt.Chart(ends).mark_line(strokeDash=[3, 3], color="gray").encode(x=f"{x}:Q", y=f"{y}:Q")


def _series(field: str, count: int) -> alt.Color:
    return alt.Color(f"{field}:N", title=None, legend=alt.Legend(orient="top") if count > 1 else None)


def _data(points: list[dict[str, Any]]) -> alt.InlineData:
    # Streamlit imports pandas lazily, and altair fails while another session's thread is still importing it: wait for the import.
    importlib.import_module("pandas")
    return alt.InlineData(values=points)


def _described(chart: Any, description: str) -> Any:
    return chart.properties(height=HEIGHT_PX, description=description)
