"""How cost grows with images, hashes, classes and model size: `python -m tests.benchmarks.growth` writes docs/scale-*.png.

The seconds are processor seconds, of all processes together: a busy machine changes them less than the clock.
"""

import tempfile
from typing import TYPE_CHECKING

from brain_tumor.container import usable_cores
from tests.benchmarks.data import measure
from tests.serving.processes import ROOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = (1_000, 2_000, 5_000, 10_000, 20_000)
HASHES = (20_000, 50_000, 100_000, 200_000)
CLASSES = (2, 4, 8, 16)
FILTERS = (8, 16, 32, 64)
DEFAULT_FILTERS = 32
COLOURS = {"processor": "#0072b2", "peak": "#d55e00"}
Points = list[tuple[float, float]]


def ingest_growth() -> tuple[Points, Points]:
    """Return processor seconds and peak memory in MB by the number of images."""
    seconds: Points = []
    peaks: Points = []
    for count in IMAGES:
        with tempfile.TemporaryDirectory() as out:
            run = measure("ingest", count, usable_cores(), out)
        print(f"ingest   {count:>8,} images  {run['processor']:>7.1f} s  {run['peak']:>6.0f} MB  {run['near_pairs']} pairs")
        seconds.append((count, run["processor"]))
        peaks.append((count, run["peak"]))
    return seconds, peaks


def hash_growth() -> Points:
    """Return processor seconds by the number of hashes."""
    points: Points = []
    for count in HASHES:
        run = measure("hashes", count)
        print(f"hashes   {count:>8,}         {run['processor']:>7.1f} s  {run['peak']:>6.0f} MB")
        points.append((count, run["processor"]))
    return points


def training_growth() -> tuple[Points, Points]:
    """Return processor milliseconds of a training image by the number of classes, and by the millions of weights."""
    by_classes: Points = []
    by_weights: Points = []
    for classes in CLASSES:
        run = measure("training", classes, DEFAULT_FILTERS)
        print(f"training {classes:>8} classes {run['milliseconds']:>7.1f} ms an image  {run['weights'] / 1e6:.2f} M weights")
        by_classes.append((classes, run["milliseconds"]))
    for filters in FILTERS:
        run = measure("training", 2, filters)
        print(f"training {filters:>8} filters {run['milliseconds']:>7.1f} ms an image  {run['weights'] / 1e6:.2f} M weights")
        by_weights.append((run["weights"] / 1e6, run["milliseconds"]))
    return by_classes, by_weights


def plot(axes: "Axes", points: Points, colour: str, x_label: str, y_label: str, *, logarithmic: bool = True) -> None:
    """Plot points with a line through them, and each value beside its point; `logarithmic` is the vertical axis."""
    x, y = zip(*points, strict=True)
    axes.plot(x, y, marker="o", color=colour, linewidth=1.8)
    for point in points:
        axes.annotate(f"{point[1]:,.3g}", point, textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
    axes.set(xscale="log", yscale="log" if logarithmic else "linear")
    axes.set_xticks(x, [f"{value:,.3g}" if value < 1000 else f"{value / 1000:,.0f} k" for value in x])
    axes.minorticks_off()
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_ylim(top=max(y) * (1.6 if logarithmic else 1.25), bottom=None if logarithmic else 0)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Measure, print, and write the plots."""
    from matplotlib.figure import Figure

    seconds, peaks = ingest_growth()
    hashes = hash_growth()
    by_classes, by_weights = training_growth()
    for name, plots in (
        (
            "data",
            (
                (seconds, COLOURS["processor"], "images", "ingest, processor s", True),
                (peaks, COLOURS["peak"], "images", "ingest, peak memory, MB", False),
                (hashes, COLOURS["processor"], "hashes", "grouping, processor s", True),
            ),
        ),
        (
            "model",
            (
                (by_classes, COLOURS["processor"], "classes", "training, processor ms an image", False),
                (by_weights, COLOURS["processor"], "million weights", "training, processor ms an image", True),
            ),
        ),
    ):
        figure = Figure(figsize=(4.2 * len(plots), 3.4), layout="constrained")
        for axes, (points, colour, x_label, y_label, logarithmic) in zip(figure.subplots(1, len(plots)), plots, strict=True):
            plot(axes, points, colour, x_label, y_label, logarithmic=logarithmic)
        figure.savefig(ROOT / "docs" / f"scale-{name}.png", dpi=110)


if __name__ == "__main__":
    main()
