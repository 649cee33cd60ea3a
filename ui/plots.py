"""Plots of the model tab. Each has a text description for screen readers."""

import importlib
from typing import Any

import altair as alt

from ui.formatting import class_display_name

UNIT = alt.Scale(domain=[0, 1])
HEIGHT_PX = 280


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
