"""The ingest step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def ingest(
    source: str,
    images: dsl.Output[dsl.Dataset],
    manifest: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Ingest a dataset. Detect file types by content, drop exact copies, group near copies and list every file in the manifest.

    Args:
        source: Folder, archive or URI (s3, gs, https, kaggle, synthetic).
        images: images.zip with the kept images.
        manifest: CSV table with one row per file.
        report: HTML report with counts and a contact sheet.
    """
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.ingest.ingest import ingest as bring_in

    with exit_on_input_error("ingest"):
        summary = bring_in(source, images_zip=Path(images.path), manifest_csv=Path(manifest.path), report_html=Path(report.path))
    images.metadata.update({"files": summary.files, "kept": summary.kept, "groups": summary.groups})
