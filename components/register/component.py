"""Declaration of the register step for Kubeflow Pipelines."""

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
    """Register the model: number the version, copy it to the model store and make it the champion.

    Args:
        model: The SavedModel that train exported.
        evaluation: The evaluation.json of evaluate.
        model_store: A folder or a URI (s3, gs). The version is stored below brain-tumor/.
        tracking_uri: URI of the MLflow registry; MLFLOW_TRACKING_URI if empty.
        registered: Name, version and URI of the registered model as JSON.
    """
    import dataclasses
    import json
    from pathlib import Path

    from components.errors import exit_on_error
    from components.register.register import register as put_into_store

    with exit_on_error("register", registered.path):
        version = put_into_store(Path(model.path), Path(evaluation.path), model_store=model_store, tracking_uri=tracking_uri)
        Path(registered.path).write_text(json.dumps(dataclasses.asdict(version)) + "\n")
    registered.metadata.update(dataclasses.asdict(version))
