"""The tab "The model": properties of the model, its performance, intended use and limits."""

from typing import Any

import streamlit as st
from markupsafe import Markup
from streamlit.delta_generator import DeltaGenerator

from brain_tumor.model_card import ModelCard
from ui.advice import ADVICE
from ui.client import ServiceClient
from ui.errors import RequestError
from ui.formatting import capitalize_first, class_display_name, explanation_display_name, format_probability
from ui.html import render
from ui.plots import calibration_plot, history_plot, roc_plot

METRICS = {
    "accuracy": ("Accuracy", "fraction of slices predicted correctly"),
    "roc_auc": ("ROC-AUC", "how well the probabilities rank the slices, at any threshold"),
    "pr_auc": ("PR-AUC", "area under the curve of precision against recall"),
    "recall": ("Recall", "fraction of a class's slices predicted as this class"),
    "tumor_recall": ("Recall of any tumour", "fraction of slices with a tumour predicted as any tumour"),
    "specificity": ("Specificity", "fraction of slices without a tumour predicted as such"),
    "precision": ("Precision", "fraction of a class's predictions that are correct"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "brier": ("Brier score", "squared error of the probabilities; lower is better"),
    "ece": ("Calibration error", "mean distance from the diagonal; lower is better"),
}
SPLITS = {"train": "training", "validation": "validation", "test": "held-out test"}
HISTORY = {"loss": "loss", "auc": "ROC-AUC"}


def show(service: ServiceClient) -> None:
    """Show the model card of the served model."""
    try:
        card = service.model_card()
    except RequestError as error:
        st.html(render("error.html", error=error))
        return
    properties, limits = st.columns(2, gap="large")
    properties.html(properties_html(card))
    limits.html(limits_html(card) + calibration_html(card))
    performance, confusion = st.columns(2, gap="large")
    performance.html(performance_html(card.get("metrics") or {}, binary=card.get("threshold") is not None))
    confusion.html(render("confusion.html", matrix=card.get("confusion"), names=_class_names(card)))
    _show_plots(confusion, card)


def properties_html(card: dict[str, Any]) -> Markup:
    threshold, dataset = card.get("threshold"), card.get("dataset", {})
    properties = {
        "Version": card["version"],
        "Created": str(card.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Architecture": card.get("architecture"),
        "Classes": ", ".join(_class_names(card)),
        "Threshold": f"{threshold:g} on the probability of a tumour" if threshold else "none: the most probable class",
        "Explanation": capitalize_first(explanation_display_name(_explanation(card))),
        "Input": f"{card.get('image_size_px')} px per side, resized by the model",
        "Dataset": dataset.get("source"),
        "Dataset fingerprint": dataset.get("fingerprint"),
    }
    if weights := card.get("weights"):
        source = "{package} {version}, licence {license}, trained on {trained_on}"
        properties["Pretrained weights"] = source.format_map(weights)
    counts = [
        [SPLITS.get(split, split), *(by_class.get(label, 0) for label in card["classes"])]
        for split, by_class in dataset.get("counts", {}).items()
    ]
    return render("model.html", properties=properties, headings=["Slices", *_class_names(card)], rows=counts)


def limits_html(card: dict[str, Any]) -> Markup:
    synthetic, warns = card.get("dataset", {}).get("synthetic"), bool(card.get("calibration"))
    return render("limits.html", synthetic=synthetic, warns=warns, explanation=_explanation(card))


def calibration_html(card: dict[str, Any]) -> Markup:
    """Write how the model's outputs were calibrated; nothing if the model card does not state it."""
    calibration = card.get("calibration")
    return render("calibration.html", calibration=calibration, splits=SPLITS, advice=ADVICE) if calibration else Markup()


def performance_html(metrics: dict[str, Any], *, binary: bool) -> Markup:
    rows = []
    for key, (name, meaning) in METRICS.items():
        if isinstance(metrics.get(key), int | float) and not (binary and key == "tumor_recall"):  # equal to recall
            rows.append([name, format_probability(float(metrics[key])), meaning])
    if rows and (interval := metrics.get("accuracy_interval")):
        rows[0][2] += f"; 95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    groups = f" in {metrics['groups']} groups" if metrics.get("groups") else ""
    mean = "" if binary else "; ROC-AUC, PR-AUC, recall, precision and F1 are means over the classes, one against the rest"
    note = f"On {metrics.get('images', '?')} held-out slices{groups}{mean}."
    return render("performance.html", headings=["Metric", "Value", "Meaning"], rows=rows, note=note)


def _explanation(card: dict[str, Any]) -> str:
    return str(card.get("explanation", ModelCard.explanation))


def _class_names(card: dict[str, Any]) -> list[str]:
    return [class_display_name(label) for label in card["classes"]]


def _show_plots(next_to: DeltaGenerator, card: dict[str, Any]) -> None:
    metrics, history = card.get("metrics") or {}, card.get("history") or {}
    binary = card.get("threshold") is not None
    curves, bins = metrics.get("roc"), metrics.get("calibration")
    axes = ("mean probability of a tumour", "fraction of tumours") if binary else ("mean confidence", "fraction correct")
    _show_plot(next_to, "ROC", curves and roc_plot({card["classes"][-1]: curves} if binary else curves))
    calibration, *trainings = st.columns(3, gap="large")
    _show_plot(calibration, "Calibration", bins and calibration_plot(bins, *axes))
    for column, (key, title) in zip(trainings, HISTORY.items(), strict=True):
        _show_plot(column, f"Training: {title}", key in history and history_plot(history, key, title))


def _show_plot(place: DeltaGenerator, heading: str, chart: Any) -> None:
    place.html(render("heading.html", text=heading))
    if chart:
        place.altair_chart(chart, width="stretch")
    else:
        place.html(render("not_in_card.html"))
