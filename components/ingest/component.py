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
    ignore_folders: str = "",
    patient_pattern: str = "",
) -> None:
    """Ingest a dataset. Detect file types by content, drop exact copies, group near copies and list every file in the manifest.

    Args:
        source: Folder, archive or URI (s3, gs, https, kaggle, synthetic).
        hyperparameters: Overrides of the training's hyper-parameters by name. Invalid ones are rejected first.
        images: images.zip with the kept images.
        manifest: CSV table with one row per file.
        report: HTML report with counts and a contact sheet.
        ignore_folders: Names of folders of the source to leave out, separated by commas.
        patient_pattern: Regular expression with a group (?P<patient>...) that finds the patient in each file name, for a split
            by patient; DICOM files state theirs.
    """
    from pathlib import Path

    from components.architectures import read_config
    from components.errors import exit_on_error
    from components.ingest.ingest import ingest as run_ingest

    with exit_on_error("ingest", images.path):
        read_config(hyperparameters)  # here and not only in train, which starts hours later
        paths = {"images_zip": Path(images.path), "manifest_csv": Path(manifest.path), "report_html": Path(report.path)}
        summary = run_ingest(source, ignore_folders=ignore_folders, patient_pattern=patient_pattern, **paths)
    images.metadata.update({"files": summary.files, "kept": summary.kept, "groups": summary.groups})
