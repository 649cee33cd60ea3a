"""The register step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    model_store: str,
    tracking_uri: str,
    registered: dsl.Output[dsl.Artifact],
) -> None:
    """Give the model its version, put it into the store and make it the champion.

    Args:
        model: what train exported.
        evaluation: what evaluate measured.
        model_store: a folder or an address (s3, gs); the version is put below brain-tumor/.
        tracking_uri: of MLflow; empty takes MLFLOW_TRACKING_URI.
        registered: name, version and address, as JSON.
    """
    import dataclasses
    import json
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.register.register import register as put_into_store

    with exit_on_input_error("register"):
        version = put_into_store(Path(model.path), Path(evaluation.path), model_store=model_store, tracking_uri=tracking_uri)
    registered.metadata.update(dataclasses.asdict(version))
    Path(registered.path).write_text(json.dumps(dataclasses.asdict(version)) + "\n")
