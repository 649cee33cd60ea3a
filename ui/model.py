"""The model: what its card says it is, how well it did, and what it is not for."""

from html import escape
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ui.client import ServiceClient
from ui.errors import RequestError
from ui.formatting import class_display_name, format_probability
from ui.plots import calibration_plot, history_plot, roc_plot

METRICS = {
    "accuracy": ("Accuracy", "share of slices called rightly"),
    "roc_auc": ("ROC-AUC", "how well the probabilities rank, whatever the threshold"),
    "pr_auc": ("PR-AUC", "the same, of precision and recall"),
    "recall": ("Recall", "of what is there, the share that was found"),
    "tumor_recall": ("Recall of any tumour", "of the slices with a tumour, the share called any"),
    "specificity": ("Specificity", "of what has no tumour, the share called so"),
    "precision": ("Precision", "of what was called, the share that is there"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "brier": ("Brier score", "squared error of the probabilities; lower is better"),
    "ece": ("Calibration error", "mean distance from the diagonal; lower is better"),
}
SPLITS = {"train": "training", "validation": "validation", "test": "held out"}
HISTORY = {"loss": "loss", "auc": "ROC-AUC"}
NONE = '<p class="soft">The card of this model holds none.</p>'
LIMITS = """<ul><li>It assists a reader and does not replace one. It is not a medical device and not for diagnosis.</li>
<li>It judges one slice alone: no volume, no series, no history of the patient.</li>
<li>It knows only its classes: any image gets one of them, also one that shows no brain.</li>
<li>The figures hold for images like its held-out ones. Another scanner, sequence or windowing may change them.</li>
<li>Grad-CAM shows what raised a score, not where a lesion ends; for “no tumour” there is no place to point at.</li></ul>"""


def show(service: ServiceClient) -> None:
    """Show the card of the model that the service serves."""
    try:
        card = service.model_card()
    except RequestError as problem:
        st.html(f'<p class="banner bad" role="alert">{problem}</p>')
        return
    facts, limits = st.columns(2, gap="large")
    facts.html(_facts(card))
    limits.html(f"<h2>Intended use and limits</h2>{_synthetic_banner(card)}{LIMITS}")
    figures, confusion = st.columns(2, gap="large")
    figures.html(_metrics(card.get("metrics") or {}, binary=card.get("threshold") is not None))
    confusion.html(_confusion(card))
    _plots(confusion, card)


def _facts(card: dict[str, Any]) -> str:
    threshold = card.get("threshold")
    rows = {
        "Version": card["version"],
        "Made": str(card.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Architecture": card.get("architecture"),
        "Classes": ", ".join(map(class_display_name, card["classes"])),
        "Threshold": f"{threshold:g}, of the probability of a tumour" if threshold else "none: the most probable is called",
        "Input": f"{card.get('image_size_px')} px a side, scaled by the model itself",
        "Data": card.get("dataset", {}).get("source"),
        "Fingerprint of the data": card.get("dataset", {}).get("fingerprint"),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in rows.items())
    counts = card.get("dataset", {}).get("counts", {})
    table = _table(
        ["Slices", *map(class_display_name, card["classes"])],
        [[SPLITS.get(split, split), *(str(of.get(label, 0)) for label in card["classes"])] for split, of in counts.items()],
    )
    return f"<h2>What it is</h2><dl>{listed}</dl>{table}"


def _synthetic_banner(card: dict[str, Any]) -> str:
    if not card.get("dataset", {}).get("synthetic"):
        return ""
    return '<p class="banner" role="note">Trained on drawn phantoms: what it says of a patient means nothing.</p>'


def _metrics(metrics: dict[str, Any], *, binary: bool) -> str:
    if not metrics:
        return f"<h2>How well it did</h2>{NONE}"
    rows = []
    for key, (name, meaning) in METRICS.items():
        if isinstance(metrics.get(key), int | float) and not (binary and key == "tumor_recall"):  # the recall
            rows.append([name, format_probability(float(metrics[key])), meaning])
    if rows and (interval := metrics.get("accuracy_interval")):
        rows[0][2] += f"; 95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    groups = f" in {metrics['groups']} groups" if metrics.get("groups") else ""
    mean = "" if binary else "; ROC-AUC, PR-AUC, recall, precision and F1 are means over the classes, one against the rest"
    note = f'<p class="soft">On {metrics.get("images", "?")} held-out slices{groups}{mean}.</p>'
    return f"<h2>How well it did</h2>{_table(['Metric', 'Value', 'Meaning'], rows)}{note}"


def _confusion(card: dict[str, Any]) -> str:
    matrix = card.get("confusion")
    if not matrix:
        return f"<h2>Confusion matrix</h2>{NONE}"
    names = list(map(class_display_name, card["classes"]))
    head = "".join(f'<th scope="col">called {escape(name)}</th>' for name in names)
    body = ""
    for row, name in enumerate(names):
        total = max(sum(matrix[row]), 1)
        cells = "".join(
            f'<td class="number {"right" if row == column else "wrong"}" style="--share: {count / total:.0%}">{count}</td>'
            for column, count in enumerate(matrix[row])
        )
        body += f'<tr><th scope="row">is {escape(name)}</th>{cells}</tr>'
    return (
        '<h2>Confusion matrix</h2><div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        '<p class="soft">Held-out slices; a fuller colour is a larger share of the row.</p>'
    )


def _plots(beside: DeltaGenerator, card: dict[str, Any]) -> None:
    metrics, history = card.get("metrics") or {}, card.get("history") or {}
    binary = card.get("threshold") is not None
    curves, bins = metrics.get("roc"), metrics.get("calibration")
    axes = ("mean probability of a tumour", "share of tumours") if binary else ("mean confidence", "share called rightly")
    _plot(beside, "ROC", curves and roc_plot({card["classes"][-1]: curves} if binary else curves))
    calibration, *trainings = st.columns(3, gap="large")
    _plot(calibration, "Calibration", bins and calibration_plot(bins, *axes))
    for column, (key, title) in zip(trainings, HISTORY.items(), strict=True):
        _plot(column, f"Training: {title}", key in history and history_plot(history, key, title))


def _plot(place: DeltaGenerator, heading: str, chart: Any) -> None:
    place.html(f"<h2>{heading}</h2>")
    if chart:
        place.altair_chart(chart, width="stretch")
    else:
        place.html(NONE)


def _table(head: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    cells = [(escape(first), "".join(f"<td>{escape(cell)}</td>" for cell in rest)) for first, *rest in rows]
    body = "".join(f'<tr><th scope="row">{first}</th>{rest}</tr>' for first, rest in cells)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
