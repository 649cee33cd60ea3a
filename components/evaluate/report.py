"""Write the evaluation as an HTML report."""

from functools import partial
from typing import Any

import numpy as np

from components.dataset import ImagesZip
from components.evaluate import plots
from components.evaluate.explanation import explanation_method
from components.evaluate.gallery import Case, render_case, render_colour_bar, select_cases
from components.evaluate.predict import InferenceResults
from components.evaluate.promotion import min_class_groups
from components.report import render

FEW_IMAGES = 30
# Name and meaning of the heatmaps by `explanation` of model.json.
EXPLANATIONS = {
    "grad_cam": ("Grad-CAM", "the regions of the last convolution that support the predicted class"),
    "evidence": ("evidence map", "the map that the model sums into its score, where it supports the predicted class"),
}
GALLERY = {
    "misclassified": ("Misclassified, most confident first", "No held-out image is misclassified."),
    "borderline": ("Borderline, nearest to another class", "No further image."),
    "correct": ("Correct, most confident of each class", "No further image is correct."),
}


def render_report(
    evaluation: dict[str, Any],
    results: InferenceResults,
    archive: ImagesZip,
    *,
    card: dict[str, Any],
    splits: dict[str, dict[str, int]],
    min_auc: float,
    min_recall: float,
    min_class_images: int,
) -> str:
    """Return the report as one self-contained HTML page without file names.

    Args:
        evaluation: The content of evaluation.json.
        results: The model's results on the held-out test set.
        archive: The images, for the gallery.
        card: The content of model.json.
        splits: Number of images by split and label, from `count_splits`.
        min_auc: Minimum ROC-AUC for promotion, 0-1.
        min_recall: Minimum recall of any tumour for promotion, 0-1.
        min_class_images: Minimum number of held-out images of every class for promotion.
    """
    return render(
        "evaluate/report.html",
        evaluation=evaluation,
        metrics=evaluation["metrics"],
        card=card,
        data=archive.dataset,
        splits=splits,
        min_auc=min_auc,
        min_recall=min_recall,
        min_class_images=min_class_images,
        min_class_groups=min_class_groups(min_class_images),
        baseline=_majority_class_baseline(evaluation),
        caveats=list_caveats(evaluation),
        test_plots=_draw_test_plots(evaluation, results),
        training_plots=_draw_training_plots(card.get("history") or {}),
        explanation=EXPLANATIONS[explanation_method(card)],
        gallery=_render_gallery(results, archive, evaluation["threshold"]),
        colour_bar=render_colour_bar(),
    )


def list_caveats(evaluation: dict[str, Any]) -> list[str]:
    """Return a sentence for each reason to distrust the metrics."""
    images, groups, metrics = evaluation["images"], evaluation["groups"], evaluation["metrics"]
    if not images:
        return ["The held-out test set is empty: every metric is undefined."]
    caveats = []
    missing = [name for name, row in evaluation["per_class"].items() if not row["support"]]
    if missing:
        caveats.append(f"The held-out test set has no image of {', '.join(missing)}: metrics that compare classes are undefined.")
    if images < FEW_IMAGES:
        caveats.append(f"The held-out test set has only {images} images: every metric is a rough estimate.")
    if metrics["accuracy_interval"] is None:
        caveats.append("The accuracy has no interval: the bootstrap needs at least two groups of images.")
    elif metrics["accuracy"] == 1:
        caveats.append(
            f"None of {groups} groups is misclassified, so the bootstrap interval has no width. By the rule of three "
            f"(Hanley and Lippman-Hand 1983), up to {min(1, 3 / groups):.0%} of such groups may still be misclassified."
        )
    return caveats


def _majority_class_baseline(evaluation: dict[str, Any]) -> tuple[str, float] | None:
    """Return the most frequent class and the accuracy of always predicting it; None without images."""
    if not evaluation["images"]:
        return None
    name, row = max(evaluation["per_class"].items(), key=lambda item: item[1]["support"])
    return name, row["support"] / evaluation["images"]


def _render_gallery(
    results: InferenceResults, archive: ImagesZip, threshold: float | None
) -> list[tuple[str, str, int | None, list[Case]]]:
    """Return title, text without cases, total number and cases of each row."""
    is_correct = results.predictions.is_correct
    totals = {"misclassified": int((~is_correct).sum()), "correct": int(is_correct.sum())}
    return [
        (*GALLERY[row], totals.get(row), [render_case(i, results, archive) for i in indices])
        for row, indices in select_cases(results.predictions, threshold).items()
    ]


def _draw_test_plots(evaluation: dict[str, Any], results: InferenceResults) -> list[dict[str, str]]:
    """Draw ROC curve, calibration and histogram, as far as the test set has the images for them."""
    drawn = []
    curves = {evaluation["classes"][1]: evaluation["roc"]} if "fpr" in evaluation["roc"] else evaluation["roc"]
    curves = {name: curve for name, curve in curves.items() if curve["fpr"]}
    if curves:
        drawn.append(_draw_roc(evaluation, curves))
    if evaluation["images"]:
        drawn += [_draw_calibration(evaluation), _draw_histogram(evaluation, results)]
    return drawn


def _draw_roc(evaluation: dict[str, Any], curves: dict[str, Any]) -> dict[str, str]:
    metrics, binary = evaluation["metrics"], len(evaluation["classes"]) == 2
    at_threshold = (1 - metrics["specificity"], metrics["recall"]) if binary and metrics["specificity"] is not None else None
    area = "undefined" if metrics["roc_auc"] is None else f"{metrics['roc_auc']:.3f}"
    dot = " The dot marks recall and specificity at the model's threshold." if at_threshold else ""
    return {
        "title": "ROC curve" if binary else "ROC curves, one-vs-rest",
        "svg": plots.render_svg(partial(plots.plot_roc, curves, at_threshold)),
        "alt": f"ROC curve for {', '.join(curves)}; ROC-AUC {area}.",
        "caption": f"ROC-AUC {area}.{dot}",
    }


def _draw_calibration(evaluation: dict[str, Any]) -> dict[str, str]:
    bins, positive = evaluation["calibration"], evaluation["classes"][1].replace("_", " ")
    axis_labels = ("confidence", "fraction correct")
    if len(evaluation["classes"]) == 2:
        axis_labels = (f"probability of {positive}", f"fraction of {positive}")
    points = "; ".join(f"predicted {each['predicted']:.2f}, observed {each['observed']:.2f} ({each['count']})" for each in bins)
    return {
        "title": "Calibration",
        "svg": plots.render_svg(partial(plots.plot_calibration, bins, *axis_labels)),
        "alt": f"Reliability diagram, with the number of images: {points}.",
        "caption": "On the dotted line, probabilities equal observed frequencies; above it they are too low, below it too high. "
        "Each number counts the images of a point.",
    }


def _draw_histogram(evaluation: dict[str, Any], results: InferenceResults) -> dict[str, str]:
    predictions, classes = results.predictions, evaluation["classes"]
    values = predictions.probabilities[:, 1] if predictions.is_binary else predictions.confidences
    xlabel = f"probability of {classes[1].replace('_', ' ')}" if predictions.is_binary else "confidence"
    by_class = [values[predictions.labels == i] for i in range(len(classes))]
    means = "; ".join(f"{name}: mean {np.mean(part):.2f}" for name, part in zip(classes, by_class, strict=True) if len(part))
    return {
        "title": "Probabilities by true class",
        "svg": plots.render_svg(partial(plots.plot_histogram, by_class, classes, evaluation["threshold"], xlabel)),
        "alt": f"Histogram of the {xlabel} by true class. {means}.",
        "caption": "Stacked; the colour is the true class.",
    }


def _draw_training_plots(history: dict[str, list[float]]) -> list[dict[str, str]]:
    """Draw the metrics that the training logged, loss first."""
    return [
        {
            "title": title,
            "svg": plots.render_svg(partial(plots.plot_history, history, name), height_inch=2.8),
            "alt": f"{title} over {len(history[name])} epochs; training ends at {history[name][-1]:.3f}"
            + (f", validation at {history[f'val_{name}'][-1]:.3f}." if history.get(f"val_{name}") else "."),
            "caption": "",
        }
        for name, title in (("loss", "Loss"), ("accuracy", "Accuracy"), ("auc", "ROC-AUC"))
        if history.get(name)
    ]
