"""Find near copies (near-duplicates) in all eight orientations, and group them.

Images with near perceptual hashes are near copies. Cropping and sharpening move the hash, so there is a second look:
images whose brain crops are most alike are near copies if the aligned crops correlate.
"""

import functools
import heapq
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.ingest.alignment import MIN_CORRELATION, aligned_correlation
from components.ingest.hashes import HASH_SIDE, perceptual_hashes
from components.ingest.search import HashIndex, is_near, unique_pairs
from components.ingest.second_look import TRIMS, BrainCrops, crop_frequencies
from components.progress import with_progress
from components.workers import Failure, Workers

MAX_DISTANCE = 4
BLOCK = 256
PAIRS_AT_ONCE = 256
# So many pairs are merged into the groups at a time.
PAIRS_TO_JOIN = 1_000_000
MAX_CROSS_LABEL_EXAMPLES = 12
SECONDS_PER_BLOCK = 3600.0


@dataclass(frozen=True)
class NearCopies:
    """The near copies among n images.

    Attributes:
        groups: Group of each image, int [n], numbered from 0 in the order of first members.
        pairs: Number of pairs of near copies.
        correlated_pairs: Number of these pairs that only the second look finds.
        cross_label_pairs: Number of these pairs with two labels.
        cross_label_examples: First of the cross-label pairs, as pairs of indices.
    """

    groups: np.ndarray
    pairs: int
    correlated_pairs: int
    cross_label_pairs: int
    cross_label_examples: list[tuple[int, int]]


def find_near_copies(
    frequencies: np.ndarray, thumbnails: np.ndarray, labels: list[str], workers: Workers | None = None
) -> NearCopies:
    """Group the near copies; a chain of near copies is one group.

    Args:
        frequencies: Frequencies from `low_frequencies`, float64 [n, 8, 8].
        thumbnails: Brain crops from `brain_thumbnail`, uint8 [n, 48, 48].
        labels: Class names of the n images.
        workers: Processes to compute in; none for this one.
    """
    label_codes = np.unique(labels, return_inverse=True)[1]
    groups = np.arange(len(frequencies))
    to_join: list[np.ndarray] = []
    pairs, correlated_pairs, cross_label_pairs = 0, 0, 0
    examples: list[tuple[int, int, int, int]] = []
    for found in near_pairs(frequencies, thumbnails, workers):
        for is_correlated, (first, second) in enumerate(each.T for each in found):
            across = label_codes[first] != label_codes[second]
            pairs += len(first)
            correlated_pairs += is_correlated * len(first)
            cross_label_pairs += int(across.sum())
            blocks = (first[across] // BLOCK).tolist()
            ordered = zip(blocks, itertools.repeat(is_correlated), first[across].tolist(), second[across].tolist(), strict=False)
            examples = heapq.nsmallest(MAX_CROSS_LABEL_EXAMPLES, itertools.chain(examples, ordered))
            to_join.append(np.stack([first, second], axis=1))
        if sum(map(len, to_join)) > PAIRS_TO_JOIN:
            groups, to_join = join_groups(groups, to_join), []
    groups = join_groups(groups, to_join)
    return NearCopies(groups, pairs, correlated_pairs, cross_label_pairs, [(first, second) for _, _, first, second in examples])


def near_pairs(
    frequencies: np.ndarray, thumbnails: np.ndarray, workers: Workers | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of near copies, some at a time.

    Two images are near copies if their hashes differ in at most 4 of 64 bits in any orientation, or if their brain crops are
    among those most alike and correlate above 0.965 after alignment.

    Yields:
        The pairs that the hash finds and the pairs that only the second look finds, as indices first < second, int [m, 2].
    """
    none, count = np.empty((0, 2), np.int64), len(frequencies)
    candidates = [none]
    with tempfile.TemporaryDirectory(prefix="near-copies-") as scratch:
        folder = Path(scratch)
        blocks = range(0, count, BLOCK)
        _write_index(folder, frequencies, thumbnails, blocks)
        search = _call(functools.partial(_search, folder, BLOCK), blocks, workers)
        for hashed, crops in with_progress(search, "ingest: searched blocks of images", total=len(blocks)):
            candidates.append(crops)
            yield hashed, none
        pairs = unique_pairs(np.concatenate(candidates), count)
        starts = range(0, len(pairs), PAIRS_AT_ONCE)
        aligned = _call(
            functools.partial(_correlate, folder), (pairs[start : start + PAIRS_AT_ONCE] for start in starts), workers
        )
        aligned = with_progress(aligned, "ingest: aligned blocks of pairs", total=len(starts))
        for start, correlated in zip(starts, aligned, strict=True):
            yield none, pairs[start : start + PAIRS_AT_ONCE][correlated]
    _open_index.cache_clear()


def _call(function: Callable, items: Iterable, workers: Workers | None) -> Iterator:
    """Call a function on items, in the workers if there are any."""
    if workers is None:
        yield from map(function, items)
        return
    for result in workers.map(function, items, chunk_items=1, seconds_per_chunk=SECONDS_PER_BLOCK):
        if isinstance(result, Failure):
            raise RuntimeError(f"search for near copies: {result.reason}")
        yield result


@dataclass(frozen=True)
class _Index:
    """What the processes search, in files that all of them map into their memory."""

    hashes: np.ndarray
    blank: np.ndarray
    thumbnails: np.ndarray
    crops: np.ndarray

    @functools.cached_property
    def by_hash(self) -> HashIndex:
        return HashIndex(self.hashes, self.blank)

    @functools.cached_property
    def by_crop(self) -> BrainCrops:
        return BrainCrops(self.crops)


def _write_index(folder: Path, frequencies: np.ndarray, thumbnails: np.ndarray, blocks: range) -> None:
    np.save(folder / "hashes.npy", perceptual_hashes(frequencies))
    np.save(folder / "blank.npy", np.isnan(frequencies[:, 0, 0]))
    np.save(folder / "thumbnails.npy", thumbnails)
    shape = (len(thumbnails), len(TRIMS), HASH_SIDE, HASH_SIDE)
    crops = np.lib.format.open_memmap(folder / "crops.npy", "w+", np.float32, shape)
    for start in blocks:
        crops[start : start + BLOCK] = crop_frequencies(thumbnails[start : start + BLOCK])
    crops.flush()


@functools.lru_cache(maxsize=1)
def _open_index(folder: Path) -> _Index:
    return _Index(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hashes", "blank", "thumbnails", "crops")})


def _search(folder: Path, block: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of a block's images that the hash finds, and those that get a second look, int [m, 2] each."""
    index = _open_index(folder)
    images = np.arange(start, min(start + block, len(index.hashes)))
    near = index.by_hash.near(images, MAX_DISTANCE)
    first, second = near.T
    # The block of the other image has found the pair if one of the other's hashes is near this one's, too.
    is_new = (first < second) | ~is_near(index.hashes, index.blank, second, first, MAX_DISTANCE)
    candidates = index.by_crop.most_alike(images, near)
    first, second = candidates.T
    is_new_too = ~is_near(index.hashes, index.blank, second, first, MAX_DISTANCE)
    return np.sort(near[is_new], axis=1), np.sort(candidates[is_new_too], axis=1)


def _correlate(folder: Path, pairs: np.ndarray) -> np.ndarray:
    """Return whether the aligned thumbnails of each pair correlate above the minimum, bool [m]."""
    first, second = (_open_index(folder).thumbnails[images] for images in pairs.T)
    return aligned_correlation(first, second) > MIN_CORRELATION


def join_groups(groups: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Merge the two groups of every pair; return the groups numbered in the order of first members."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.concatenate([np.empty((0, 2), np.int64), *pairs]).T
    members = np.arange(len(groups))
    rows, columns = np.concatenate([members, first]), np.concatenate([_first_member(groups), second])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(groups), len(groups)))
    return connected_components(graph, directed=False)[1]


def _first_member(groups: np.ndarray) -> np.ndarray:
    _, index, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return index[inverse]
