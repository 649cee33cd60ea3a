"""Count the near copies in sets of images: `python -m tests.benchmarks.near_copies [--sheets FOLDER] SOURCE...`.

A source is a folder, an archive or a URI, with or without class folders. With `--sheets`, the pairs that only the second
look finds are written to one PNG per source, lowest correlation first: check by eye that they are copies.
A second table shows which fraction of edited copies, in a random orientation, is joined with their original.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from components.ingest.alignment import aligned_correlation, brain_thumbnail
from components.ingest.hashes import low_frequencies, pixel_hash
from components.ingest.masks import MASKS_FOLDER
from components.ingest.near_copies import find_near_copies, near_pairs
from components.ingest.sources import fetch
from tests.components.ingest.edits import EDITS, reorient

COPIED_IMAGES = 100
SHEET_COLUMNS = 8
SHEET_PX = 120


def features(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies and the thumbnail of an image, uint8 [h, w, 3]."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return low_frequencies(grey), brain_thumbnail(grey)


def read_set(folder: Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Return the frequencies, thumbnails and files of the distinct images below a folder, without its masks."""
    found: dict[str, tuple[np.ndarray, np.ndarray, Path]] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and MASKS_FOLDER not in file.parts):
        try:
            pixels = read_image(file.read_bytes()).pixels
        except ImageError:
            continue
        found.setdefault(pixel_hash(pixels), (*features(pixels), file))
    frequencies, thumbnails, files = zip(*found.values(), strict=True)
    return np.array(frequencies), np.array(thumbnails), list(files)


def joined_copies(files: list[Path], edit: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return the fraction of edited copies that the hash joins with their original, and the fraction that either look joins."""
    rng = np.random.default_rng(0)
    by_hash, by_either = 0, 0
    chosen = rng.permutation(len(files))[:COPIED_IMAGES]
    for index in chosen:
        pixels = read_image(files[index].read_bytes()).pixels
        copy = reorient(edit(pixels), int(rng.integers(4)), bool(rng.integers(2)))
        frequencies, thumbnails = zip(features(pixels), features(copy), strict=True)
        near = find_near_copies(np.array(frequencies), np.array(thumbnails), ["", ""])
        by_hash += near.pairs - near.correlated_pairs
        by_either += near.pairs
    return by_hash / len(chosen), by_either / len(chosen)


def write_sheet(path: Path, files: list[Path], pairs: np.ndarray) -> None:
    """Write each pair side by side, `SHEET_COLUMNS` pairs in a row."""
    step = 2 * SHEET_PX + 10
    sheet = Image.new("L", (SHEET_COLUMNS * step, -(-len(pairs) // SHEET_COLUMNS) * (SHEET_PX + 10)), 60)
    for place, pair in enumerate(pairs):
        for side, index in enumerate(pair):
            image = read_image(files[index].read_bytes()).image.convert("L").resize((SHEET_PX, SHEET_PX))
            row, column = divmod(place, SHEET_COLUMNS)
            sheet.paste(image, (column * step + side * SHEET_PX, row * (SHEET_PX + 10)))
    sheet.save(path)


def main() -> None:
    """Print the pairs from the hash, the pairs from the second look, and the largest group of each source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    lines, copies = [], []
    for source in arguments.sources:
        with tempfile.TemporaryDirectory() as scratch:
            frequencies, thumbnails, files = read_set(fetch(source, Path(scratch)).folder)
            started = time.perf_counter()
            near = find_near_copies(frequencies, thumbnails, [""] * len(files))
            seconds = time.perf_counter() - started
            pairs = np.concatenate([correlated for _, correlated in near_pairs(frequencies, thumbnails)])
            correlation = aligned_correlation(thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]])
            if arguments.sheets and len(pairs):
                write_sheet(arguments.sheets / f"{Path(source).name}.png", files, pairs[correlation.argsort()])
            joined = [
                f"{edit.__name__} {before:.0%} {after:.0%}" for edit in EDITS for before, after in [joined_copies(files, edit)]
            ]
            copies.append(f"{source[-32:]:<32} {', '.join(joined)}")
        largest = int(np.bincount(near.groups).max())
        hashed, groups = near.pairs - near.correlated_pairs, len(set(near.groups.tolist()))
        lines.append(
            f"{source[-32:]:<32} {len(files):>6} {hashed:>5} {near.correlated_pairs:>12} {correlation.min(initial=1):>7.3f}"
            f" {groups:>7} {f'{largest} ({largest / len(files):.1%})':>11} {seconds:>8.1f}"
        )
    print(f"{'source':<32} images  hash  second look  lowest  groups     largest  seconds")
    print("\n".join(lines))
    print(f"\nedited copies of {COPIED_IMAGES} images joined with their original: by the hash alone, with the second look")
    print("\n".join(copies))


if __name__ == "__main__":
    main()
