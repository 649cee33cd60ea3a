"""Measure an exported model on the held-out test set and write the report."""

import json
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import ModelCard, read_model_card
from components.dataset import HELD_OUT, ImagesZip, count_splits, read_splits
from components.errors import room_for
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
    min_class_images: int = 10,
    allow_unreadable_champion: bool = False,
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
        min_class_images: Minimum number of held-out images of every class for promotion, in half as many groups.
        allow_unreadable_champion: Whether to promote a model over a champion that cannot be read.
        tracking_uri: URI of the registry with the champion; empty for MLFLOW_TRACKING_URI, None for no comparison.
        seed: Seed of the bootstrap, and of the random maps and weights that explanations are compared with.

    Returns:
        The content of evaluation.json.

    Raises:
        InputError: A file is missing or does not match the others, a minimum is out of bounds, or the registry does not respond.
    """
    minimums: dict[str, Any] = {"min_auc": min_auc, "min_recall": min_recall, "min_class_images": min_class_images}
    _check_minimums(**minimums)
    card, splits = read_model_card(model_dir), read_splits(splits_csv)
    with ImagesZip(images_zip) as archive:
        held_out = [sample for sample in splits if sample.split == HELD_OUT]
        results = run_inference(SavedModel(model_dir), archive, held_out, card)
        evaluation = _measure(results, archive, card, model_dir, tracking_uri=tracking_uri, seed=seed)
        decided_on = (evaluation["metrics"], evaluation["per_class"], evaluation.get("champion"))
        reasons = reasons_not_to_promote(*decided_on, **minimums, allow_unreadable_champion=allow_unreadable_champion)
        evaluation = {"verdict": {"passed": not reasons, "reasons": reasons}, **evaluation}
        report = render_report(evaluation, results, archive, card=card.document, splits=count_splits(splits), **minimums)
    text = json.dumps(evaluation, indent=1, allow_nan=False) + "\n"
    with (
        room_for(len(report) + len(text), report_html.parent),
        atomic_write(report_html) as partial_report,
        atomic_write(evaluation_json) as partial_evaluation,
    ):
        partial_report.write_text(report)
        partial_evaluation.write_text(text)
    return evaluation


def _check_minimums(*, min_auc: float, min_recall: float, min_class_images: int) -> None:
    for name, minimum in (("min_auc", min_auc), ("min_recall", min_recall)):
        if not 0 <= minimum <= 1:
            raise InputError(f"{name}: got {minimum}, expected 0 to 1")
    if min_class_images < 0:
        raise InputError(f"min_class_images: got {min_class_images}, expected 0 or more")


def _measure(
    results: InferenceResults, archive: ImagesZip, card: ModelCard, model_dir: Path, *, tracking_uri: str | None, seed: int
) -> dict[str, Any]:
    """Return evaluation.json without the promotion decision."""
    predictions = results.predictions
    evaluation: dict[str, Any] = {
        "classes": predictions.classes,
        "threshold": card.threshold,
        "images": len(results.samples),
        "groups": len({sample.group for sample in results.samples}),
        **compute_metrics(predictions, seed=seed),
        "doubt": round_floats(measure_doubt(results, card.document.get("calibration"), seed=seed)),
        "reference": round_floats(drift_reference(results.brightness, results.side_pixels, predictions.confidences)),
        "explanation": round_floats(score_explanation(results, archive, card, model_dir, seed=seed)),
    }
    for index, row in enumerate(evaluation["per_class"].values()):
        row["groups"] = len(set(predictions.groups[predictions.labels == index].tolist()))
    if tracking_uri is not None:
        evaluation["champion"] = round_floats(compare_with_champion(results, archive, tracking_uri=tracking_uri, seed=seed))
    return evaluation
