"""The summary of a run: one table."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from brain_tumor.model_card import NOTICE
from components.dataset import SPLITS, read_splits

REGISTERED = "registered.json"
METRICS = {"recall": "tumor_recall", "specificity": "specificity", "F1": "f1"}


def run_summary(folder: Path, shown: Path) -> str:
    """Return a run's summary: promotion decision and model, data, split, metrics with intervals, and paths to report and run.

    Args:
        folder: The run's artifacts.
        shown: Where they will be.
    """
    result = json.loads((folder / "metrics.json").read_text())
    metrics = result["metrics"]
    rows = [
        *_decision(folder, shown, result["verdict"]["reasons"]),
        ("data", _data(folder)),
        ("split", _split(folder)),
        ("test set", f"{result['images']} images in {result['groups']} groups"),
        ("accuracy", _with_interval(metrics, "accuracy")),
        ("ROC-AUC", _with_interval(metrics, "roc_auc")),
        *((name, _format_metric(metrics[key])) for name, key in METRICS.items()),
        ("champion", _champion(result.get("champion"))),
        ("report", str(shown / "report.html")),
        ("run", str(shown)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([*(f"  {name:<{width}}  {text}" for name, text in rows), "", f"  {NOTICE}"])


def _data(folder: Path) -> str:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    statuses = Counter(row["verdict"].split(":")[0] for row in rows)
    groups = {row["group"] for row in rows if row["group"]}
    counts = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in statuses.most_common())
    return f"{len(rows)} files: {counts}; {len(groups)} groups of near copies"


def _split(folder: Path) -> str:
    samples = read_splits(folder / "splits.csv")
    counts = Counter((sample.split, sample.label) for sample in samples)
    labels = sorted({sample.label for sample in samples})
    return "; ".join(f"{split} " + ", ".join(f"{counts[split, label]} {label}" for label in labels) for split in SPLITS)


def _format_metric(value: float | None) -> str:
    return "undefined on these images" if value is None else f"{value:.3f}"


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    interval = " to ".join(map(_format_metric, metrics[f"{name}_interval"] or [None]))
    return f"{_format_metric(metrics[name])}, 95 % interval {interval}"


def _champion(champion: dict[str, Any] | None) -> str:
    if not champion:
        return "none to compare with"
    if champion["reason"]:
        return f"version {champion['version']} not compared: {champion['reason']}"
    new, old = _format_metric(champion["accuracy"]), _format_metric(champion["champion_accuracy"])
    return f"accuracy {new} compared with {old} of version {champion['version']}, on {champion['images']} images new to both"


def _decision(folder: Path, shown: Path, reasons: list[str]) -> list[tuple[str, str]]:
    registered = folder / REGISTERED
    if not registered.exists():
        return [("decision", "not promoted"), *(("", reason) for reason in reasons), ("model", str(shown / "refused-model"))]
    version = json.loads(registered.read_text())
    return [("decision", f"promoted: {version['name']} version {version['version']} is the champion"), ("model", version["uri"])]
