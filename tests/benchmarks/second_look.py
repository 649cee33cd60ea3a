"""Which cropped copies among 20,000 phantoms the second look finds by few candidates: `python -m tests.benchmarks.second_look`.

The rank of a copy that the hash misses is the number of images that resemble its original more; the original's among those that
resemble the copy, if it is lower.
"""

import numpy as np
from PIL import Image

from brain_tumor.images import read_image
from components.ingest.alignment import MIN_CORRELATION, aligned_correlation, brain_thumbnail
from components.ingest.hashes import low_frequencies, perceptual_hashes
from components.ingest.near_copies import MAX_DISTANCE
from components.ingest.search import HashIndex, is_near
from components.ingest.second_look import (
    MAX_CROP_DISTANCE,
    TRIMS,
    crop_frequencies,
    crop_spaces,
    max_candidates,
    resemblance,
    spread,
    whole_crops,
)
from tests.benchmarks.data import LARGE, phantoms
from tests.components.ingest.edits import all_three, crop, reorient

COPIES = 300
CANDIDATES = (4, 8, 16, 32, 64)


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
    frequencies = crop_frequencies(thumbnails)
    crop_hashes = np.concatenate([perceptual_hashes(frequencies[:, trim]) for trim in range(len(TRIMS))], axis=1)
    index, statistics = HashIndex(crop_hashes, np.isnan(frequencies[:, 0, 0, 0])), spread(frequencies[:, 0])
    wholes = whole_crops(frequencies[:, 0], *statistics)
    spaces = crop_spaces(frequencies, *statistics)

    def rank(image: int, other: int) -> float:
        near = index.near(np.array([image]), MAX_CROP_DISTANCE)[:, 1]
        if other not in near:
            return np.inf
        scores = resemblance(spaces[image], wholes[near])
        return float((scores > scores[near == other][0]).sum())

    ranks = np.array(
        [min(rank(first, second), rank(second, first)) for first, second in zip(originals.tolist(), copies.tolist(), strict=True)]
    )
    correlated = aligned_correlation(thumbnails[originals], thumbnails[copies]) > MIN_CORRELATION
    found = ranks[correlated & ~by_hash & np.isfinite(ranks)]
    print(f"of {COPIES} cropped copies among {LARGE:,} phantoms the hash finds {by_hash.sum()}, all second looks {len(found)}")
    for candidates in CANDIDATES:
        mark = "  the constant" if candidates == max_candidates(LARGE) else ""
        print(f"with {candidates:>2} candidates an image {(found < candidates).sum()}{mark}")


if __name__ == "__main__":
    main()
