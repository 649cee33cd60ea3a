"""Declaration of the exit handler for Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def summary(source: str, status: dsl.PipelineTaskFinalStatus, text: dsl.Output[dsl.Markdown]) -> None:
    """Summarise the run, successful or failed.

    Args:
        source: The source of the dataset.
        status: The final status from Kubeflow Pipelines.
        text: The summary as Markdown.
    """
    from pathlib import Path

    from components.errors import exit_on_error
    from components.summary.summary import summarize

    lines = summarize(source, state=status.state, run=status.pipeline_job_resource_name, error=status.error_message)
    with exit_on_error("summary", text.path):
        Path(text.path).write_text(lines)
    print(f"summary: run {status.state.lower()}", flush=True)
