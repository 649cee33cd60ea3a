"""The phantoms that the web page offers."""

import numpy as np
from PIL import Image

from brain_tumor.phantoms import make_phantom
from tests.conftest import ROOT


def test_stored_phantoms_are_synthetic_images_and_no_patients() -> None:
    seeds = {"ring": 162, "bright": 258, "none": 299, "none-t2": 231}
    folder = ROOT / "ui" / "phantoms"
    assert {path.stem for path in folder.iterdir()} == seeds.keys()
    for name, index in seeds.items():
        image, _ = make_phantom(np.random.default_rng([7, index]), lesion=index % 2 == 0)
        with Image.open(folder / f"{name}.png") as stored:
            assert np.array_equal(np.asarray(stored), image)
