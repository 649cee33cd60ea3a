"""Write the evaluation as one page for a person."""

from functools import partial
from typing import Any

import numpy as np

from components.dataset import ImagesZip
from components.evaluate import plots
from components.evaluate.gallery import Case, colour_bar, render_case, select_cases
from components.evaluate.predict import InferenceResults
from components.report import render

FEW_IMAGES = 30
GALLERY = {
    "wrong": ("Called wrong, the most confident first", "No held-out image was called wrong."),
    "close": ("Nearest to the threshold", "No further image."),
    "right": ("Called right, the most confident of each class", "No further image was called right."),
}


def render_report(
    evaluation: dict[str, Any],
    findings: InferenceResults,
    archive: ImagesZip,
    *,
    card: dict[str, Any],
    splits: dict[str, dict[str, int]],
    wanted: dict[str, float],
) -> str:
    """Return the report as one self-contained HTML page that names no file.

    Args:
        evaluation: what evaluation.json holds.
        findings: the model's answers.
        archive: the images, of which the gallery shows some.
        card: the model's model.json.
        splits: images by split and label, as `count_splits` returns them.
        wanted: the gate's minima by the name of the figure.
    """
    return render(
        "evaluate/report.html",
        evaluation=evaluation,
        metrics=evaluation["metrics"],
        card=card,
        data=archive.dataset,
        splits=splits,
        wanted=wanted,
        baseline=_majority_class_baseline(evaluation),
        remarks=list_caveats(evaluation),
        plots=_draw_plots(evaluation, findings),
        training=_draw_training(card.get("history") or {}),
        gallery=_show_gallery(findings, archive, evaluation["threshold"]),
        colour_bar=colour_bar(),
    )


def list_caveats(evaluation: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that makes the figures less than they seem."""
    images, groups, metrics = evaluation["images"], evaluation["groups"], evaluation["metrics"]
    if not images:
        return ["No image is held out, so nothing could be measured."]
    remarks = []
    missing = [name for name, row in evaluation["per_class"].items() if not row["support"]]
    if missing:
        remarks.append(f"The held-out part holds no image of {', '.join(missing)}: what compares the classes is undefined.")
    if images < FEW_IMAGES:
        remarks.append(f"Only {images} images are held out: every figure here is a rough one.")
    if metrics["accuracy_interval"] is None:
        remarks.append("With fewer than two groups of images there is no interval.")
    elif metrics["accuracy"] == 1:
        remarks.append(
            f"Not one of {groups} groups was called wrong, so the bootstrap's interval has no width. By the rule of three "
            f"(Hanley and Lippman-Hand 1983) up to {min(1, 3 / groups):.0%} of such groups may still be."
        )
    return remarks


def _majority_class_baseline(evaluation: dict[str, Any]) -> tuple[str, float] | None:
    """Return the most frequent class and the accuracy of who always says it; None without images."""
    if not evaluation["images"]:
        return None
    name, row = max(evaluation["per_class"].items(), key=lambda item: item[1]["support"])
    return name, row["support"] / evaluation["images"]


def _show_gallery(
    findings: InferenceResults, archive: ImagesZip, threshold: float | None
) -> list[tuple[str, str, int | None, list[Case]]]:
    rights = findings.predictions.is_correct
    totals = {"wrong": int((~rights).sum()), "right": int(rights.sum())}
    chosen = select_cases(findings.predictions, threshold)
    return [
        (*GALLERY[name], totals.get(name), [render_case(i, findings, archive) for i in indices])
        for name, indices in chosen.items()
    ]


def _draw_plots(evaluation: dict[str, Any], findings: InferenceResults) -> list[dict[str, str]]:
    """Draw ROC, calibration and histogram, those for which there are enough images."""
    drawn = []
    curves = {evaluation["classes"][1]: evaluation["roc"]} if "fpr" in evaluation["roc"] else evaluation["roc"]
    curves = {name: curve for name, curve in curves.items() if curve["fpr"]}
    if curves:
        drawn.append(_draw_roc(evaluation, curves))
    if evaluation["images"]:
        drawn += [_draw_calibration(evaluation), _draw_histogram(evaluation, findings)]
    return drawn


def _draw_roc(evaluation: dict[str, Any], curves: dict[str, Any]) -> dict[str, str]:
    metrics, binary = evaluation["metrics"], len(evaluation["classes"]) == 2
    at_threshold = (1 - metrics["specificity"], metrics["recall"]) if binary and metrics["specificity"] is not None else None
    area = "undefined" if metrics["roc_auc"] is None else f"{metrics['roc_auc']:.3f}"
    dot = " The dot is where the model works: recall and specificity at its threshold." if at_threshold else ""
    return {
        "title": "ROC curve" if binary else "ROC curves, each class against the rest",
        "svg": plots.render_svg(partial(plots.plot_roc, curves, at_threshold)),
        "alt": f"ROC curve for {', '.join(curves)}; area under it {area}.",
        "caption": f"Area {area}.{dot}",
    }


def _draw_calibration(evaluation: dict[str, Any]) -> dict[str, str]:
    bins, positive = evaluation["calibration"], evaluation["classes"][1].replace("_", " ")
    axes_names = ("confidence", "share called right")
    if len(evaluation["classes"]) == 2:
        axes_names = (f"probability of {positive}", f"share that is {positive}")
    points = "; ".join(f"{point['predicted']:.2f} said, {point['observed']:.2f} seen in {point['count']}" for point in bins)
    return {
        "title": "Calibration",
        "svg": plots.render_svg(partial(plots.plot_calibration, bins, *axes_names)),
        "alt": f"Reliability diagram: {points}.",
        "caption": "On the dotted line a probability means what it says; above, it comes true more often, below less often. "
        "The numbers are images.",
    }


def _draw_histogram(evaluation: dict[str, Any], findings: InferenceResults) -> dict[str, str]:
    predictions, classes = findings.predictions, evaluation["classes"]
    values = predictions.probabilities[:, 1] if predictions.is_binary else predictions.confidences
    xlabel = f"probability of {classes[1].replace('_', ' ')}" if predictions.is_binary else "confidence in the called class"
    by_class = [values[predictions.labels == i] for i in range(len(classes))]
    means = "; ".join(f"{name}: mean {np.mean(part):.2f}" for name, part in zip(classes, by_class, strict=True) if len(part))
    return {
        "title": "Probabilities by true class",
        "svg": plots.render_svg(partial(plots.plot_histogram, by_class, classes, evaluation["threshold"], xlabel)),
        "alt": f"Histogram of the {xlabel} by true class. {means}.",
        "caption": "Stacked, coloured by the true class.",
    }


def _draw_training(history: dict[str, list[float]]) -> list[dict[str, str]]:
    """Draw the logs that the training kept, loss first."""
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
