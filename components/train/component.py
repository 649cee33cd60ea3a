"""The train step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def train(
    shards: dsl.Input[dsl.Dataset],
    head: str,
    image_size_px: int,
    filters: int,
    dense_units: int,
    dropout: float,
    l2: float,
    batch_norm_momentum: float,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    early_stopping_patience: int,
    reduce_lr_patience: int,
    rotation_deg: float,
    zoom: float,
    shear_deg: float,
    horizontal_flip: bool,
    threshold: float,
    seed: int,
    checkpoint_dir: str,
    gpus: int,
    model: dsl.Output[dsl.Model],
    logs: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the network on the GPUs there are and export the SavedModel.

    Args:
        shards: what preprocess wrote.
        head: `pool` keeps the maximum of each feature map: 50 times fewer weights, and a heatmap that points; `flatten` is the
            published one.
        image_size_px: side of the square the network sees.
        filters: of the first convolution; each of the three doubles them.
        dense_units: of the hidden dense layer.
        dropout: share of the dense units switched off in training.
        l2: weight decay of the convolutions' kernels.
        batch_norm_momentum: of the moving statistics; 0.99 never settles in the few steps of a small data set.
        learning_rate: of Adam, at the start. With `flatten` and few images 1e-4 is steadier.
        batch_size: images a step, over all GPUs.
        epochs: at most; early stopping usually ends before.
        early_stopping_patience: epochs without a lower validation loss before training stops.
        reduce_lr_patience: the same, before the learning rate is halved.
        rotation_deg: augmentation: at most this rotation, either way.
        zoom: augmentation: at most this share larger or smaller.
        shear_deg: augmentation: at most this shear, either way.
        horizontal_flip: augmentation: mirror half of the images.
        threshold: probability of a tumour from which the label is `tumor`; two classes only.
        seed: of the weights, the order and the augmentation.
        checkpoint_dir: a folder that outlives the pod, where a killed training resumes; empty for none.
        gpus: how many the cluster was asked for; a training on fewer says so.
        model: the SavedModel with both signatures.
        logs: for TensorBoard.
        metrics: of the best epoch, on the validation part.
    """
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.hyperparameters import TrainConfig
    from components.train.train import train as fit_and_export

    with exit_on_input_error("train"):
        trained = fit_and_export(
            Path(shards.path),
            model_dir=Path(model.path),
            config=TrainConfig(
                head=head,
                image_size_px=image_size_px,
                filters=filters,
                dense_units=dense_units,
                dropout=dropout,
                l2=l2,
                batch_norm_momentum=batch_norm_momentum,
                learning_rate=learning_rate,
                batch_size=batch_size,
                epochs=epochs,
                early_stopping_patience=early_stopping_patience,
                reduce_lr_patience=reduce_lr_patience,
                rotation_deg=rotation_deg,
                zoom=zoom,
                shear_deg=shear_deg,
                horizontal_flip=horizontal_flip,
                threshold=threshold,
                seed=seed,
            ),
            logs_dir=Path(logs.path),
            checkpoint_dir=Path(checkpoint_dir) if checkpoint_dir else None,
            gpus=gpus,
        )
    metrics.log_metric("epochs", len(trained.history["val_loss"]))
    for name, values in trained.history.items():
        if name.startswith("val_"):
            metrics.log_metric(name, float(values[trained.best_epoch]))
