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
        images: Images from ingest.
        manifest: Manifest from ingest.
        test_share: Fraction of each label's images for the held-out test set, 0-1.
        validation_share: Fraction of the remaining images for validation (early stopping), 0-1.
        seed: Seed of the split.
        shards: Folder of TFRecord shards.
        splits: CSV table with one row per image: sha256, group, label, split.
    """
    from pathlib import Path

    from components.errors import exit_on_error
    from components.preprocess.preprocess import preprocess as split_and_write

    with exit_on_error("preprocess", shards.path):
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
