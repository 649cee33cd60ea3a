"""Write a dataset of synthetic phantoms as class folders."""

from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.phantoms import make_phantom
from components.ingest.masks import MASKS_FOLDER
from components.progress import with_progress


def write_phantoms(folder: Path, *, n: int, seed: int) -> None:
    """Write `n` phantoms as `tumor/*.png` and `no_tumor/*.png`, and lesion masks as `masks/<same name>.png`.

    The same seed gives the same bytes, and a larger `n` only adds images.
    """
    for name in ("tumor", "no_tumor", MASKS_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in with_progress(range(n), "ingest: generated phantoms", total=n):
        lesion = index % 2 == 0
        image, mask = make_phantom(np.random.default_rng([seed, index]), lesion=lesion)
        name = f"phantom-{index:05d}.png"
        Image.fromarray(image).save(folder / ("tumor" if lesion else "no_tumor") / name, compress_level=1)
        if lesion:
            Image.fromarray(mask).save(folder / MASKS_FOLDER / name)
