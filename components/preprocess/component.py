"""The preprocess step, declared to Kubeflow Pipelines."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def preprocess(
    images: dsl.Input[dsl.Dataset],
    manifest: dsl.Input[dsl.Dataset],
    test_share: float,
    validation_share: float,
    seed: int,
    shards: dsl.Output[dsl.Dataset],
    splits: dsl.Output[dsl.Dataset],
) -> None:
    """Split by group, stratified by label, and write TFRecord shards.

    Args:
        images: ingest's images.
        manifest: ingest's manifest.
        test_share: held out, as a share of every label's images.
        validation_share: steers early stopping, as a share of what is not held out.
        seed: of the split.
        shards: the folder of shards.
        splits: a CSV row for every image: sha256, group, label, split.
    """
    from pathlib import Path

    from components.errors import exit_on_input_error
    from components.preprocess.preprocess import preprocess as split_and_write

    with exit_on_input_error("preprocess"):
        counts = split_and_write(
            Path(images.path),
            Path(manifest.path),
            shards=Path(shards.path),
            splits_csv=Path(splits.path),
            test_share=test_share,
            validation_share=validation_share,
            seed=seed,
        )
    splits.metadata.update({split: sum(of_label.values()) for split, of_label in counts.items()})
