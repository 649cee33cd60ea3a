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
) -> None:
    """Score the exported SavedModel on the held-out images and judge it.

    Args:
        model: what train exported.
        images: ingest's images.
        splits: which of them are held out.
        min_auc: the ROC-AUC below which the model is refused.
        min_recall: the recall of a tumour below which the model is refused.
        tracking_uri: of MLflow, whose champion is scored on the same images; empty takes MLFLOW_TRACKING_URI.
        seed: of the bootstrap.
        evaluation: everything measured, and the verdict, as JSON.
        metrics: the scalars.
        curves: confusion matrix and ROC.
        report: a page that stands by itself.
    """
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.evaluate.evaluate import evaluate as score_and_report

    with exit_on_input_error("evaluate"):
        result = score_and_report(
            Path(model.path),
            Path(images.path),
            Path(splits.path),
            report_html=Path(report.path),
            evaluation_json=Path(evaluation.path),
            min_auc=min_auc,
            min_recall=min_recall,
            tracking_uri=tracking_uri,
            seed=seed,
        )
    for name, value in result["metrics"].items():
        if isinstance(value, float):
            metrics.log_metric(name, value)
    curves.log_confusion_matrix(result["classes"], result["confusion"])
    if result["threshold"] is not None and result["roc"]:
        curves.log_roc_curve(result["roc"]["fpr"], result["roc"]["tpr"], result["roc"]["thresholds"])
