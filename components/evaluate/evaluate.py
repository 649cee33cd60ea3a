"""Measure an exported model on the held-out images and write the report."""

import json
from pathlib import Path
from typing import Any

from brain_tumor.errors import InputError
from brain_tumor.model_card import read_model_card
from components.dataset import HELD_OUT, ImagesZip, count_splits, read_splits
from components.evaluate.champion import compare_with_champion
from components.evaluate.drift_reference import drift_reference
from components.evaluate.metrics import compute_metrics, round_floats
from components.evaluate.pointing import pointing_game
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
    """Score a model on the held-out images, judge it, and write evaluation.json and the report, both whole or not at all.

    Args:
        model_dir: the SavedModel.
        images_zip: the images.
        splits_csv: which of them are held out.
        report_html: where the report goes.
        evaluation_json: where the figures go.
        min_auc: the gate's least ROC-AUC, 0-1.
        min_recall: the gate's least recall of any tumour, 0-1.
        tracking_uri: of the registry whose champion is compared; empty takes MLFLOW_TRACKING_URI, None compares with none.
        seed: of the bootstrap.

    Returns:
        What evaluation.json holds.

    Raises:
        InputError: a file is missing or does not belong to the others, a minimum is outside 0-1, or the registry does not
            answer.
    """
    for name, minimum in (("min_auc", min_auc), ("min_recall", min_recall)):
        if not 0 <= minimum <= 1:
            raise InputError(f"{name} is {minimum}, wanted 0 to 1")
    card, splits = read_model_card(model_dir), read_splits(splits_csv)
    held_out = [sample for sample in splits if sample.split == HELD_OUT]
    with ImagesZip(images_zip) as archive:
        findings = run_inference(SavedModel(model_dir), archive, held_out, card)
        evaluation = {"classes": list(card.classes), "threshold": card.threshold, **_figures(findings, archive, seed)}
        if tracking_uri is not None:
            champion = compare_with_champion(findings, archive, tracking_uri=tracking_uri, seed=seed)
            evaluation["champion"] = round_floats(champion)
        reasons = reasons_not_to_promote(
            evaluation["metrics"], evaluation.get("champion"), min_auc=min_auc, min_recall=min_recall
        )
        evaluation = {"verdict": {"passed": not reasons, "reasons": reasons}, **evaluation}
        wanted = {"ROC-AUC": min_auc, "recall of any tumour": min_recall}
        page = render_report(evaluation, findings, archive, card=card.document, splits=count_splits(splits), wanted=wanted)
    with atomic_write(report_html) as page_file, atomic_write(evaluation_json) as figures_file:
        page_file.write_text(page)
        figures_file.write_text(json.dumps(evaluation, indent=1, allow_nan=False) + "\n")
    return evaluation


def _figures(findings: InferenceResults, archive: ImagesZip, seed: int) -> dict[str, Any]:
    predictions = findings.predictions
    return {
        "images": len(findings.samples),
        "groups": len({sample.group for sample in findings.samples}),
        **compute_metrics(predictions, seed=seed),
        "reference": round_floats(drift_reference(findings.brightness, findings.side_pixels, predictions.confidences)),
        "grad_cam": round_floats(_pointing(findings, archive)),
    }


def _pointing(findings: InferenceResults, archive: ImagesZip) -> dict[str, float] | None:
    """Play the pointing game on the lesions that were called a tumour."""
    called_tumor = findings.predictions.is_tumor(findings.predictions.predicted)
    answers = zip(findings.samples, findings.heatmaps, called_tumor, strict=True)
    pairs = ((heatmap, archive.read_mask(sample.sha256)) for sample, heatmap, predicted in answers if predicted)
    return pointing_game((heatmap, mask) for heatmap, mask in pairs if mask is not None)
