"""The figure of a search: the result of each trial, and the best values of each hyper-parameter."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from brain_tumor.model_card import NOTICE
from components.evaluate.plots import INK, SERIES, SOFT, STYLE
from components.files import atomic_write
from pipelines.tuning.search import SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Not optuna.visualization.matplotlib: its plots are experimental, omit pruned trials and each opens a figure of its own.
COLUMNS = 4


def draw_search(trials: Sequence[FrozenTrial], space: SearchSpace, path: Path, *, title: str) -> None:
    """Write a PNG: the trials in their order above, the ROC-AUC over the values of each hyper-parameter below."""
    import matplotlib
    from matplotlib.figure import Figure

    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    rows = -(-len(space) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2 + 2.4 * rows), layout="constrained")
        grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[1.7, *[1] * rows])
        _plot_history(figure.add_subplot(grid[0, :]), trials, title)
        for index, name in enumerate(space):
            axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
            _plot_values(axes, complete, name, space[name])
            if index % COLUMNS == 0:
                axes.set_ylabel("ROC-AUC (darker: later)")
        figure.supxlabel(NOTICE, fontsize=9, color=SOFT)
        with atomic_write(path) as partial:
            figure.savefig(partial, dpi=110, format="png")


def _plot_history(axes: "Axes", trials: Sequence[FrozenTrial], title: str) -> None:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    numbers, values = [trial.number for trial in complete], _values(complete)
    bests = list(accumulate(values, max))
    axes.step(numbers, bests, where="post", color=SERIES[0], label="best so far")
    axes.scatter(numbers, values, s=36, color=SERIES[0], label="completed", zorder=3)
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    if pruned:
        axes.scatter([trial.number for trial in pruned], last, s=36, marker="x", color=SERIES[1], label="pruned", zorder=3)
    best = values.index(max(values))
    ring = axes.scatter(numbers[best], values[best], s=150, facecolors="none", edgecolors=INK, label="best", zorder=4)
    ring.set_linewidth(1.4)
    axes.set(xlabel="trial (0 has the default hyper-parameters)", ylabel="ROC-AUC by cross-validation")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=28)
    axes.locator_params(axis="x", integer=True)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=4)


def _plot_values(axes: "Axes", complete: Sequence[FrozenTrial], name: str, space: BaseDistribution) -> None:
    values = [trial.params[name] for trial in complete]
    if isinstance(space, CategoricalDistribution):
        axes.set_xticks(range(len(space.choices)), [str(choice) for choice in space.choices])
        axes.set_xlim(-0.5, len(space.choices) - 0.5)
        values = [space.choices.index(value) for value in values]
    elif isinstance(space, FloatDistribution):
        axes.set_xscale("log" if space.log else "linear")
        axes.set_xlim(space.low, space.high)
        axes.xaxis.set_minor_formatter("")
    colours = [trial.number for trial in complete]
    axes.scatter(values, _values(complete), s=26, c=colours, cmap="Blues", vmin=-8, clip_on=False, zorder=3)
    axes.set_title(name, loc="left", fontsize=10, color=INK)


def _values(complete: Sequence[FrozenTrial]) -> list[float]:
    return [float(trial.value or 0.0) for trial in complete]
