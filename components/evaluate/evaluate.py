"""Measure an exported model on the held-out test set and write the report."""

import json
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import ModelCard, read_model_card
from components.dataset import HELD_OUT, ImagesZip, count_splits, read_splits
from components.evaluate.champion import compare_with_champion
from components.evaluate.doubt import measure_doubt
from components.evaluate.drift_reference import drift_reference
from components.evaluate.explanation import score_explanation
from components.evaluate.metrics import compute_metrics, round_floats
from components.evaluate.predict import InferenceResults, run_inference
from components.evaluate.promotion import reasons_not_to_promote
from components.evaluate.report import render_report
from components.files import atomic_write
from components.saved_model import SavedModel


def evaluate(
    model_dir: Path,
    images_zip: Path,
    splits_csv: Path,
    *,
    report_html: Path,
    evaluation_json: Path,
    min_auc: float = 0.70,
    min_recall: float = 0.70,
    tracking_uri: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a model, decide whether it is promoted, and write evaluation.json and the report, both whole or not at all.

    Args:
        model_dir: Folder of the SavedModel.
        images_zip: The images.
        splits_csv: The split of each image.
        report_html: The report to write.
        evaluation_json: The JSON file to write.
        min_auc: Minimum ROC-AUC for promotion, 0-1.
        min_recall: Minimum recall of any tumour for promotion, 0-1.
        tracking_uri: URI of the registry with the champion; empty for MLFLOW_TRACKING_URI, None for no comparison.
        seed: Seed of the bootstrap, and of the random maps and weights that explanations are compared with.

    Returns:
        The content of evaluation.json.

    Raises:
        InputError: A file is missing or does not match the others, a minimum is outside 0-1, or the registry does not respond.
    """
    for name, minimum in (("min_auc", min_auc), ("min_recall", min_recall)):
        if not 0 <= minimum <= 1:
            raise InputError(f"{name}: got {minimum}, expected 0 to 1")
    card, splits = read_model_card(model_dir), read_splits(splits_csv)
    with ImagesZip(images_zip) as archive:
        held_out = [sample for sample in splits if sample.split == HELD_OUT]
        results = run_inference(SavedModel(model_dir), archive, held_out, card)
        evaluation = _measure(results, archive, card, model_dir, tracking_uri=tracking_uri, seed=seed)
        minimums = {"min_auc": min_auc, "min_recall": min_recall}
        reasons = reasons_not_to_promote(evaluation["metrics"], evaluation.get("champion"), **minimums)
        evaluation = {"verdict": {"passed": not reasons, "reasons": reasons}, **evaluation}
        report = render_report(evaluation, results, archive, card=card.document, splits=count_splits(splits), **minimums)
    with atomic_write(report_html) as partial_report, atomic_write(evaluation_json) as partial_evaluation:
        partial_report.write_text(report)
        partial_evaluation.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")
    return evaluation


def _measure(
    results: InferenceResults, archive: ImagesZip, card: ModelCard, model_dir: Path, *, tracking_uri: str | None, seed: int
) -> dict[str, Any]:
    """Return evaluation.json without the promotion decision."""
    predictions = results.predictions
    evaluation = {
        "classes": predictions.classes,
        "threshold": card.threshold,
        "images": len(results.samples),
        "groups": len({sample.group for sample in results.samples}),
        **compute_metrics(predictions, seed=seed),
        "doubt": round_floats(measure_doubt(results, card.document.get("calibration"), seed=seed)),
        "reference": round_floats(drift_reference(results.brightness, results.side_pixels, predictions.confidences)),
        "explanation": round_floats(score_explanation(results, archive, card, model_dir, seed=seed)),
    }
    if tracking_uri is not None:
        evaluation["champion"] = round_floats(compare_with_champion(results, archive, tracking_uri=tracking_uri, seed=seed))
    return evaluation
