"""The results of a cross-validation as text and as an HTML page."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate import plots
from components.evaluate.calibration import calibration_bins
from components.evaluate.metrics import roc_points
from components.report import render
from pipelines.cross_validation.training import Outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipelines.cross_validation.cross_validation import CrossValidation

TITLES = {
    "accuracy_at_half": "accuracy, threshold 0.5",
    "accuracy": "accuracy, chosen threshold",
    "auc": "ROC-AUC",
    "sensitivity_at_half": "sensitivity, threshold 0.5",
    "specificity_at_half": "specificity, threshold 0.5",
    "sensitivity": "sensitivity, chosen threshold",
    "specificity": "specificity, chosen threshold",
    "brier": "Brier score",
    "brier_before_temperature": "Brier score before the temperature",
    "calibration_slope": "calibration slope",
    "uncertain": "share uncertain",
    "accuracy_if_certain": "accuracy if not uncertain",
    "unlike_training": "share unlike the training images",
}
COLUMNS = ("accuracy_at_half", "accuracy", "auc", "sensitivity", "specificity", "brier")

HEATMAP_SCORES = {
    "peak_in_lesion": "peak of the heatmap in the lesion",
    "peak_within_cell": "peak at most one cell away",
    "heat_inside": "share of the heat in the lesion",
    "iou": "IoU at the best threshold on this set",
}


def text_table(results: dict[str, Any]) -> str:
    """Return the scores as lines of text: each row's main scores, all scores of the first row, and the external sets."""
    lines = [
        f"{results['images']} images in {results['groups']} groups, {results['folds']} folds, mean of {results['seeds']} seeds",
        "",
    ]
    for place, (row, scores) in enumerate(results["rows"].items()):
        lines.append(f"  {row}")
        shown = scores.items() if place == 0 else [(name, scores[name]) for name in COLUMNS if name in scores]
        lines += [f"    {title(name):<40} {_cell(score)}" for name, score in shown]
    for name, external in results["external"].items():
        for part, found in (("", external), (", without copies of training images", external.get("without_copies"))):
            if found:
                lines.append(f"  external {name}{part}: {found['images']} images")
                lines += [f"    {title(score):<40} {_cell(value)}" for score, value in found["scores"].items()]
                if found["pointing"]:
                    model, blob = (found["pointing"]["rows"][row] for row in ("model", "centred_blob"))
                    lines += [
                        f"    {words:<40} {model[key]:.3f}, a blob in the centre {blob[key]:.3f}"
                        for key, words in HEATMAP_SCORES.items()
                    ]
    return "\n".join(lines)


def title(name: str) -> str:
    """Return a score's name in words."""
    return TITLES.get(name) or name.replace("coverage_", "conformal coverage of ").replace("_", " ")


def render_page(results: dict[str, Any], validation: "CrossValidation") -> str:
    """Return the results as one self-contained HTML page.

    Args:
        results: The content of cv.json.
        validation: The cross-validation, for its predictions.
    """
    return render(
        "cv.html",
        folder=Path(__file__).parent,
        results=results,
        columns=COLUMNS,
        title=title,
        heatmap_scores=HEATMAP_SCORES,
        figures=[
            _figure(
                "ROC-AUC of each row",
                "Points are means over seeds, lines 95 % intervals of a bootstrap over groups.",
                partial(_plot_rows, results["rows"]),
            ),
            *_figures_of(validation.by_group()[0], validation.images.labels, validation.images.classes),
        ],
    )


def _figures_of(outputs: Outputs, labels: np.ndarray, classes: list[str]) -> list[dict[str, str]]:
    """Return ROC curves and calibration of one seed's pooled predictions."""
    shown = [1] if len(classes) == 2 else range(len(classes))
    curves = {classes[i]: roc_points(labels == i, outputs.probability[:, i]) for i in shown}
    predicted, observed = outputs.probability.max(axis=1), outputs.probability.argmax(axis=1) == labels
    words = ("confidence", "fraction correct")
    if len(classes) == 2:
        predicted, observed = outputs.probability[:, 1], labels == 1
        words = (f"probability of {classes[1]}", f"fraction of {classes[1]}")
    bins = calibration_bins(predicted, observed)
    return [
        _figure("ROC curve", "Pooled over the folds of the first seed.", partial(plots.plot_roc, curves, None)),
        _figure(
            "Calibration",
            "Pooled over the folds of the first seed; numbers count images.",
            partial(plots.plot_calibration, bins, *words),
        ),
    ]


def _figure(name: str, caption: str, plot: Any) -> dict[str, str]:
    return {"title": name, "caption": caption, "svg": plots.render_svg(plot)}


def _plot_rows(rows: dict[str, Any], axes: "Axes") -> None:
    """Plot the ROC-AUC of each row with its interval."""
    for place, (name, scores) in enumerate(reversed(rows.items())):
        score = scores["auc"]
        axes.plot(score["interval"], [place, place], color=plots.SERIES[0])
        axes.plot(score["mean"], place, "o", color=plots.SERIES[0], markersize=7)
        axes.annotate(name, (0.4, place), xytext=(0, 9), textcoords="offset points", fontsize=8)
    axes.set(xlabel="ROC-AUC", xlim=(0.4, 1), ylim=(-0.5, len(rows) - 0.2), yticks=[])


def _cell(score: dict[str, Any]) -> str:
    return f"{score['mean']:.3f}  ({score['interval'][0]:.3f} to {score['interval'][1]:.3f})"
