"""The default model on real images: one training on `navoneel`, held-out slices, other sources, and images that are no MRI."""

from pathlib import Path

import numpy as np
import pytest

from brain_tumor.model_card import read_model_card
from components.architectures.evidence import EvidenceConfig
from components.dataset import HELD_OUT, ImagesZip, read_splits
from components.evaluate.pointing import peak_in_mask
from components.evaluate.predict import run_inference
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.saved_model import SavedModel
from pipelines.cross_validation.data import read_external
from tests.benchmarks.unlike_training import in_distribution, installed_images, made_images
from tests.conftest import DataSet, MadeOnce

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def navoneel(realdata: Path, made_once: MadeOnce) -> tuple[Path, DataSet]:
    """Return the folder of a model of the default architecture, trained on four fifths of `navoneel`, and the data set."""

    def fill(folder: Path) -> None:
        from components.train.train import train

        folder.mkdir()
        data = DataSet.of(folder)
        source = str(realdata / "navoneel")
        ingest(source, images_zip=data.images_zip, manifest_csv=data.manifest_csv, report_html=folder / "ingest.html")
        preprocess(data.images_zip, data.manifest_csv, shards=data.shards, splits_csv=data.splits_csv)
        train(data.shards, model_dir=folder / "model", config=EvidenceConfig(views=3))  # of 8, to take less time

    folder = made_once("navoneel", fill)
    return folder / "model", DataSet.of(folder)


def test_held_out_slices_are_classified_and_known(navoneel: tuple[Path, DataSet]) -> None:
    model_dir, data = navoneel
    held_out = [sample for sample in read_splits(data.splits_csv) if sample.split == HELD_OUT]
    with ImagesZip(data.images_zip) as images:
        results = run_inference(SavedModel(model_dir), images, held_out, read_model_card(model_dir))
        known = in_distribution(SavedModel(model_dir), [images.read_bytes(sample.sha256) for sample in held_out])
    assert results.predictions.is_correct.mean() >= 0.8  # 45 images: make cv has the estimate
    assert (known < 0.5).mean() <= 0.07


def test_images_that_are_no_mri_are_unlike_the_training_images(navoneel: tuple[Path, DataSet]) -> None:
    from sklearn.metrics import roc_auc_score

    model_dir, data = navoneel
    model = SavedModel(model_dir)
    others = in_distribution(model, [*installed_images(), *made_images()])
    assert len(others) >= 300
    assert (others < 0.5).mean() >= 0.95
    held_out = [sample for sample in read_splits(data.splits_csv) if sample.split == HELD_OUT]
    with ImagesZip(data.images_zip) as images:
        brains = in_distribution(model, [images.read_bytes(sample.sha256) for sample in held_out])
    truth = np.repeat([1, 0], [len(brains), len(others)])
    assert roc_auc_score(truth, np.concatenate([brains, others])) >= 0.99


def test_heatmap_points_at_tumours_of_another_source(navoneel: tuple[Path, DataSet], realdata: Path) -> None:
    model_dir, _ = navoneel
    images = read_external(str(realdata / "figshare64"), ["no_tumor", "tumor"])
    outputs = [SavedModel(model_dir).run_signature("explain", images.encoded[i : i + 16]) for i in range(0, len(images), 16)]
    heatmaps = np.concatenate([each["heatmap"] for each in outputs])
    hits = [mask is not None and peak_in_mask(heatmap, mask) for heatmap, mask in zip(heatmaps, images.masks, strict=True)]
    centred = np.mean([mask is not None and mask[mask.shape[0] // 2, mask.shape[1] // 2] for mask in images.masks])
    assert len(images) == 64
    assert np.mean(hits) > centred
