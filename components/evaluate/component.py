"""The evaluate step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def evaluate(
    model: dsl.Input[dsl.Model],
    images: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    min_auc: float,
    min_recall: float,
    tracking_uri: str,
    seed: int,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    min_class_images: int = 10,
    allow_unreadable_champion: bool = False,
) -> None:
    """Evaluate the exported SavedModel on the held-out test set and decide whether it is promoted.

    Args:
        model: The exported model.
        images: The ingested images.
        splits: The split of each image.
        min_auc: Minimum ROC-AUC for promotion.
        min_recall: Minimum recall of any tumour for promotion.
        tracking_uri: URI of the MLflow server with the champion, which is scored on the same images; empty for
            MLFLOW_TRACKING_URI.
        seed: Seed of the bootstrap.
        evaluation: All metrics and the promotion decision, as JSON.
        metrics: The scalar metrics.
        curves: Confusion matrix and ROC curve.
        report: Self-contained HTML report.
        min_class_images: Minimum number of held-out images of every class for promotion, in half as many groups.
        allow_unreadable_champion: Whether to promote a model over a champion that cannot be read.
    """
    from pathlib import Path
    from typing import Any

    from components.errors import exit_on_error
    from components.evaluate.evaluate import evaluate as measure_and_report

    paths: dict[str, Any] = {"report_html": Path(report.path), "evaluation_json": Path(evaluation.path)}
    options: dict[str, Any] = {"min_auc": min_auc, "min_recall": min_recall, "min_class_images": min_class_images}
    options |= {"allow_unreadable_champion": allow_unreadable_champion, "tracking_uri": tracking_uri, "seed": seed}
    with exit_on_error("evaluate", report.path):
        result = measure_and_report(Path(model.path), Path(images.path), Path(splits.path), **paths, **options)
    for name, value in result["metrics"].items():
        if isinstance(value, float):
            metrics.log_metric(name, value)
    curves.log_confusion_matrix(result["classes"], result["confusion"])
    if result["threshold"] is not None and result["roc"]:
        curves.log_roc_curve(result["roc"]["fpr"], result["roc"]["tpr"], result["roc"]["thresholds"])
