"""The ingest step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def ingest(
    source: str,
    hyperparameters: dict,
    images: dsl.Output[dsl.Dataset],
    manifest: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Bring a data set in: told by content, cleaned of copies, grouped by likeness, every file accounted for.

    Args:
        source: a folder, an archive, or an address (s3, gs, https, kaggle, synthetic).
        hyperparameters: Overrides of the training's hyper-parameters by name; bad ones are rejected before anything is fetched.
        images: images.zip, the kept images.
        manifest: a CSV row for every file found.
        report: counts and a contact sheet.
    """
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.hyperparameters import TrainConfig
    from components.ingest.ingest import ingest as bring_in

    with exit_on_input_error("ingest"):
        TrainConfig.from_overrides(hyperparameters)  # here and not only in train, which starts hours later
        summary = bring_in(source, images_zip=Path(images.path), manifest_csv=Path(manifest.path), report_html=Path(report.path))
    images.metadata.update({"files": summary.files, "kept": summary.kept, "groups": summary.groups})
