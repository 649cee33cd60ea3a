"""Small real datasets and models that several test folders share."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.hyperparameters import TrainConfig
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess

ROOT = Path(__file__).parent.parent
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TINY = TrainConfig(image_size_px=48, filters=4, dense_units=8, epochs=3, batch_size=8, learning_rate=1e-3)


@dataclass(frozen=True)
class DataSet:
    """The outputs of ingest and preprocess."""

    images_zip: Path
    manifest_csv: Path
    shards: Path
    splits_csv: Path


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Return the folder of real images."""
    folder = Path(os.environ.get("REALDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}: set REALDATA")
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Return 48 synthetic phantoms, ingested and split."""
    folder = tmp_path_factory.mktemp("phantoms")
    data = DataSet(folder / "images.zip", folder / "manifest.csv", folder / "shards", folder / "splits.csv")
    ingest("synthetic://?n=48", images_zip=data.images_zip, manifest_csv=data.manifest_csv, report_html=folder / "ingest.html")
    preprocess(data.images_zip, data.manifest_csv, shards=data.shards, splits_csv=data.splits_csv)
    return data


@pytest.fixture(scope="session")
def tiny_model(phantoms: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model folder of a network trained for three short epochs. Tests may read it, not write it."""
    from components.train.train import train

    folder = tmp_path_factory.mktemp("model") / "model"
    train(phantoms.shards, model_dir=folder, config=TINY)
    return folder
