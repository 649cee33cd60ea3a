"""Which cropped copies among 20,000 phantoms the second look finds: `python -m tests.benchmarks.second_look`."""

from unittest.mock import patch

import numpy as np
from PIL import Image

from brain_tumor.images import read_image
from components.ingest import second_look
from components.ingest.alignment import MIN_CORRELATION, aligned_correlation, brain_thumbnail
from components.ingest.hashes import low_frequencies, perceptual_hashes
from components.ingest.near_copies import MAX_DISTANCE
from components.ingest.search import is_near
from tests.benchmarks.data import LARGE, phantoms
from tests.components.ingest.edits import all_three, crop, reorient

COPIES = 300
CANDIDATES = (1, 2, 4, 8, 16)


def main() -> None:
    """Print the number of copies found by the number of candidates of an image."""
    rng = np.random.default_rng(1)
    images = [read_image(file.read_bytes()).image.convert("L") for file in sorted(phantoms(LARGE).glob("*/*"))]
    originals = rng.permutation(LARGE)[:COPIES]
    copies = LARGE + np.arange(COPIES)
    for number, original in enumerate(originals):
        edit = crop if number % 2 else all_three
        pixels = reorient(edit(np.asarray(images[original].convert("RGB"))), int(rng.integers(4)), bool(rng.integers(2)))
        images.append(Image.fromarray(pixels).convert("L"))
    thumbnails = np.array([brain_thumbnail(np.asarray(image)) for image in images])
    hashes = perceptual_hashes(np.array([low_frequencies(np.asarray(image)) for image in images]))
    none_blank = np.zeros(len(images), bool)
    by_hash = is_near(hashes, none_blank, originals, copies, MAX_DISTANCE) | is_near(
        hashes, none_blank, copies, originals, MAX_DISTANCE
    )
    missed = (aligned_correlation(thumbnails[originals], thumbnails[copies]) > MIN_CORRELATION) & ~by_hash
    print(
        f"of {COPIES} cropped copies among {LARGE:,} phantoms the hash finds {by_hash.sum()}, and of the others {missed.sum()}"
        " correlate after alignment"
    )
    crops = second_look.BrainCrops(second_look.crop_frequencies(thumbnails))
    queries, none = np.unique([originals[missed], copies[missed]]), np.empty((0, 2), np.int64)
    for candidates in CANDIDATES:
        mark = "  the constant" if candidates == second_look.max_candidates(LARGE) else ""
        with patch.object(second_look, "max_candidates", return_value=candidates):
            pairs = set(map(tuple, np.sort(crops.most_alike(queries, none), axis=1).tolist()))
        found = sum(pair in pairs for pair in zip(originals[missed].tolist(), copies[missed].tolist(), strict=True))
        print(f"with {candidates:>2} candidates an image {found}{mark}")


if __name__ == "__main__":
    main()
