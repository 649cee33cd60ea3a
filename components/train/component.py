"""The train step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def train(
    shards: dsl.Input[dsl.Dataset],
    hyperparameters: dict,
    seed: int,
    checkpoint_dir: str,
    gpus: int,
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the network on all GPUs of the node and export the SavedModel.

    Args:
        shards: Preprocess output: TFRecord shards.
        hyperparameters: Overrides by name; the defaults are those of components/architectures/.
        seed: Random seed of the weights, the image order and the augmentation.
        checkpoint_dir: Folder that outlives the pod, from which a killed training resumes; empty for none.
        gpus: Number of GPUs requested from the cluster; a training on fewer prints it.
        model: The SavedModel with both signatures.
        logs: TensorBoard logs.
        metrics: Validation metrics of the best epoch.
    """
    from pathlib import Path

    from components.architectures import read_config
    from components.errors import exit_on_error
    from components.train.train import train as fit_and_export

    with exit_on_error("train", model.path, checkpoint_dir):
        result = fit_and_export(
            Path(shards.path),
            model_dir=Path(model.path),
            config=read_config(hyperparameters, seed=seed),
            logs_dir=Path(logs.path),
            checkpoint_dir=Path(checkpoint_dir) if checkpoint_dir else None,
            gpus=gpus,
        )
    metrics.log_metric("epochs", len(result.history["val_loss"]))
    for name, values in result.history.items():
        if name.startswith("val_"):
            metrics.log_metric(name, float(values[result.best_epoch]))
