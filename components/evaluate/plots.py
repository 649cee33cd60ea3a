"""The report's plots, as inline SVG in the light or dark colours of the page."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.report import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Drawn in the light colours of report.html; `render_svg` replaces each by the page's CSS variable.
INK, SOFT, LINE = "#1c2530", "#5a6675", "#d9dfe6"
SERIES = ("#0b6e99", "#b8560f", "#4d7d2a", "#8a4fa8")
VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line"}
VARIABLES |= dict(zip(SERIES, ("--one", "--two", "--three", "--four"), strict=True))
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}
HISTOGRAM_BINS = 20


def render_svg(plot: Callable[["Axes"], None], *, height_inch: float = 3.2) -> str:
    """Return the axes that `plot` draws on as inline SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, height_inch))
        axes = figure.subplots()
        axes.set_axisbelow(True)
        plot(axes)
        text = svg(figure)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # figure_1, axes_1, ...: an id must be unique in a page


def plot_history(history: dict[str, list[float]], name: str, axes: "Axes") -> None:
    """Plot a metric of Keras' history by epoch, for training and validation."""
    for key, label, colour, dashes in ((name, "training", SERIES[0], "-"), (f"val_{name}", "validation", SERIES[1], "--")):
        values = history.get(key, [])
        axes.plot(range(1, len(values) + 1), values, dashes, color=colour, label=label, marker="." if len(values) < 3 else None)
    if losses := history.get("val_loss"):
        axes.axvline(losses.index(min(losses)) + 1, color=SOFT, linestyle=":", linewidth=1.2, label="lowest validation loss")
    axes.set(xlabel="epoch", ylabel={"auc": "ROC-AUC"}.get(name, name))
    axes.locator_params(axis="x", integer=True)
    _add_legend(axes)


def plot_roc(curves: dict[str, dict[str, list[float]]], operating_point: tuple[float, float] | None, axes: "Axes") -> None:
    """Plot one ROC curve for each class, and the model's operating point: false-positive rate, true-positive rate."""
    axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1.2, label="chance")
    for (name, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        axes.plot(curve["fpr"], curve["tpr"], color=colour, label=_display_name(name), drawstyle="steps-post", clip_on=False)
    if operating_point:
        axes.plot(*operating_point, "o", color=SERIES[1], markersize=8, label="at the threshold", clip_on=False, zorder=3)
    axes.set(xlabel="false-positive rate (1 - specificity)", ylabel="true-positive rate (recall)", xlim=(0, 1), ylim=(0, 1))
    _add_legend(axes)


def plot_calibration(bins: list[dict[str, Any]], xlabel: str, ylabel: str, axes: "Axes") -> None:
    """Plot a reliability diagram; each point shows its number of images."""
    axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1.2, label="perfect")
    predicted, observed, counts = (np.array([point[key] for point in bins]) for key in ("predicted", "observed", "count"))
    axes.vlines(predicted, predicted, observed, color=SERIES[0], linewidth=1.2, alpha=0.6)
    axes.scatter(predicted, observed, s=20 + 130 * counts / counts.max(), color=SERIES[0], label="model", clip_on=False, zorder=3)
    for x, y, count in zip(predicted, observed, counts, strict=True):
        offset = -10 if y < x else 10  # away from the line between the point and the diagonal
        axes.annotate(str(count), (x, y), xytext=(0, offset), textcoords="offset points", ha="center", va="center", fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.1, 1.1), yticks=np.linspace(0, 1, 6))
    _add_legend(axes, markerscale=0.6)


def plot_histogram(
    values: Sequence[np.ndarray], names: Sequence[str], threshold: float | None, xlabel: str, axes: "Axes"
) -> None:
    """Plot a stacked histogram of probabilities, 0-1, with an array float [n] for each true class."""
    labels = [_display_name(name) for name in names]
    axes.hist(values, bins=HISTOGRAM_BINS, range=(0, 1), stacked=True, color=_colours(len(names)), label=labels)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.2, label=f"threshold {threshold:g}")
    axes.set(xlabel=xlabel, ylabel="images", xlim=(0, 1))
    axes.locator_params(axis="y", integer=True)
    _add_legend(axes)


def _add_legend(axes: "Axes", **options: Any) -> None:
    """Put the legend above the axes, where it hides no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, columnspacing=1.2, handlelength=1.6, **options)


def _colours(count: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(count)]


def _display_name(name: str) -> str:
    return name.replace("_", " ")
