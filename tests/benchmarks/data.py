"""From image files to training batches, at 20,000 images: `make bench-data`, five minutes after phantoms were made once.

Every measurement runs in a process of its own, whose peak memory counts. Beside seconds by the clock stand processor seconds, of
all its processes together, which a busy machine changes less.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from brain_tumor.container import usable_cores
from brain_tumor.phantoms import make_phantom
from components.ingest.alignment import THUMBNAIL_SIDE_PX
from components.ingest.hashes import HASH_SIDE, perceptual_hashes
from components.ingest.ingest import ingest
from components.ingest.near_copies import MAX_DISTANCE, find_near_copies
from components.preprocess.preprocess import preprocess
from components.workers import Failure, Workers
from tests.serving.processes import ROOT

SIDE_PX = 256
SMALL, LARGE = 2_000, 20_000
HASHES, COMPARED_HASHES = 200_000, 20_000
PLANTED = 1_000
MIN_RATE, MAX_MEMORY_RATIO, MAX_HASH_SECONDS, MIN_FEED_RATIO = 950, 1.15, 120, 3
# A sample of the memory takes the kernel tens of milliseconds.
SAMPLE_SECONDS = 2.0
TRAINING_SECONDS = 10.0
TRAINING_STEPS = 20
# What the index holds for each image: frequencies and thumbnail.
INDEX_BYTES = HASH_SIDE**2 * 8 + THUMBNAIL_SIDE_PX**2
Figures = dict[str, Any]


def phantoms(count: int) -> Path:
    """Return a folder of the first phantoms as JPEG of 256 px, in class folders; it is kept for the next run."""
    made = ROOT / "runs" / "benchmarks" / f"phantoms-{count}"
    whole = made.with_suffix(".whole")
    if whole.exists():
        return made
    for name in ("tumor", "no_tumor"):
        (made / name).mkdir(parents=True, exist_ok=True)
    if count < LARGE:
        for file in sorted(phantoms(LARGE).glob("*/*"), key=lambda file: file.name)[:count]:
            (made / file.parent.name / file.name).hardlink_to(file)
    else:
        print(f"making {count:,} phantoms, once", file=sys.stderr, flush=True)
        with Workers() as workers:
            for result in workers.map(_make_phantom, [(made, index) for index in range(count)]):
                assert not isinstance(result, Failure)
    whole.touch()
    return made


def _make_phantom(folder_and_index: tuple[Path, int]) -> None:
    folder, index = folder_and_index
    lesion = index % 2 == 0
    image = Image.fromarray(make_phantom(np.random.default_rng([0, index]), lesion=lesion)[0]).resize((SIDE_PX, SIDE_PX))
    image.save(folder / ("tumor" if lesion else "no_tumor") / f"phantom-{index:05d}.jpg", quality=90)


def measure_ingest(count: int, cores: int, out: Path) -> Figures:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    images_zip, manifest_csv, report_html = outputs = _ingest_outputs(out)
    summary = ingest(str(phantoms(count)), images_zip=images_zip, manifest_csv=manifest_csv, report_html=report_html)
    digests = []
    for path in outputs:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return {"kept": summary.kept, "near_pairs": summary.near_pairs, "digest": " ".join(digests)}


def _ingest_outputs(out: Path) -> tuple[Path, Path, Path]:
    return out / "images.zip", out / "manifest.csv", out / "report.html"


def measure_preprocess(out: Path) -> Figures:
    images_zip, manifest_csv, _ = _ingest_outputs(out)
    preprocess(images_zip, manifest_csv, shards=out / "shards", splits_csv=out / "splits.csv")
    return {}


def made_up(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frequencies with planted near copies in random orientations, blank thumbnails, and the planted pairs, int [m, 2]."""
    rng = np.random.default_rng(0)
    frequencies = rng.standard_normal((count, HASH_SIDE, HASH_SIDE))
    pairs = rng.permutation(count)[: 2 * PLANTED].reshape(-1, 2)
    for original, copy in pairs:
        changed = frequencies[original] + 0.05 * rng.standard_normal((HASH_SIDE, HASH_SIDE))
        flips = np.where(np.arange(HASH_SIDE) % 2 & rng.integers(0, 2, (2, 1)), -1, 1)
        changed = changed * flips[0][:, None] * flips[1]
        frequencies[copy] = changed.T if rng.integers(2) else changed
    return frequencies, np.zeros((count, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), np.uint8), pairs


def measure_hashes(count: int) -> Figures:
    frequencies, thumbnails, planted = made_up(count)
    with Workers() as workers:
        near = find_near_copies(frequencies, thumbnails, ["a"] * count, workers)
    near_by = np.array([_distance(*perceptual_hashes(frequencies[pair])) <= MAX_DISTANCE for pair in planted])
    joined = near.groups[planted[:, 0]] == near.groups[planted[:, 1]]
    return {"pairs": near.pairs, "planted": int(near_by.sum()), "found": int((joined & near_by).sum())}


def _distance(first: np.ndarray, second: np.ndarray) -> int:
    return int(min(np.bitwise_count(first ^ second[0]).min(), np.bitwise_count(second ^ first[0]).min()))


def measure_every_pair(count: int) -> Figures:
    """Compare every pair with every other in NumPy, the baseline: the number of pairs within the distance."""
    hashes, pairs = perceptual_hashes(made_up(count)[0]), 0
    for start in range(0, count, 256):
        block, later = hashes[start : start + 256], hashes[start:]
        near = np.zeros((len(block), len(later)), bool)
        for column in range(8):
            near |= np.bitwise_count(block[:, :1] ^ later[:, column]) <= MAX_DISTANCE
            near |= np.bitwise_count(block[:, column : column + 1] ^ later[:, 0]) <= MAX_DISTANCE
        pairs += int(np.triu(near, k=1).sum())
    return {"pairs": pairs}


def measure_feeding(out: Path) -> Figures:
    """Measure the batches of `cnn` alone, in the first epoch and in later ones, and its training steps alone, images a second."""
    from components.architectures.cnn import CnnConfig, build_model, compile_model
    from components.saved_model import import_tensorflow_quietly
    from components.shards import open_shards, steps_per_epoch, training_batches

    import_tensorflow_quietly()
    shards, config = open_shards(out / "shards"), CnnConfig()
    batches = iter(training_batches(shards, config))
    rates = []
    for _ in range(2):
        started, images = time.perf_counter(), 0
        for _ in range(steps_per_epoch(shards, config)):
            batch = next(batches)
            images += len(batch[0])
        rates.append(images / (time.perf_counter() - started))
    model = build_model(config, 2)
    compile_model(model, config, 2)
    model.train_on_batch(*batch)
    started, images = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < TRAINING_SECONDS:
        model.train_on_batch(*batch)
        images += len(batch[0])
    return {"first_epoch": rates[0], "later_epochs": rates[1], "training": images / seconds}


def measure_training(classes: int, filters: int) -> Figures:
    """Measure the training steps of a `cnn` on random images: processor milliseconds an image, and the number of weights."""
    from components.architectures.cnn import CnnConfig, build_model, compile_model
    from components.saved_model import import_tensorflow_quietly

    import_tensorflow_quietly()
    config, rng = CnnConfig(filters=filters), np.random.default_rng(0)
    model = build_model(config, classes)
    compile_model(model, config, classes)
    pixels = rng.random((config.batch_size, config.image_size_px, config.image_size_px, 3), np.float32)
    labels = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, config.batch_size)]
    labels = labels[:, 1:] if classes == 2 else labels
    model.train_on_batch(pixels, labels)
    before = _processor_seconds()
    for _ in range(TRAINING_STEPS):
        model.train_on_batch(pixels, labels)
    milliseconds = 1e3 * (_processor_seconds() - before) / (TRAINING_STEPS * config.batch_size)
    return {"milliseconds": milliseconds, "weights": model.count_params()}


MEASUREMENTS: dict[str, Callable[..., Figures]] = {
    "ingest": lambda count, cores, out: measure_ingest(int(count), int(cores), Path(out)),
    "preprocess": lambda out: measure_preprocess(Path(out)),
    "hashes": lambda count: measure_hashes(int(count)),
    "every pair": lambda count: measure_every_pair(int(count)),
    "feeding": lambda out: measure_feeding(Path(out)),
    "training": lambda classes, filters: measure_training(int(classes), int(filters)),
}


def run_measurement(name: str, arguments: list[str]) -> Figures:
    """Run a measurement in this process; add seconds, processor seconds and peak memory in MB."""
    peaks = _PeakMemory()
    with peaks, contextlib.redirect_stdout(io.StringIO()):
        started, before = time.perf_counter(), _processor_seconds()
        figures = MEASUREMENTS[name](*arguments)
        figures["seconds"], figures["processor"] = time.perf_counter() - started, _processor_seconds() - before
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures | {"peak": largest, "peak_all": max(peaks.megabytes, largest)}


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


class _PeakMemory(threading.Thread):
    """The largest memory of this process and its children together, by their proportional set sizes, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0
        self._stopped = threading.Event()

    def __enter__(self) -> "_PeakMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        me = psutil.Process()
        while not self._stopped.wait(SAMPLE_SECONDS):
            with contextlib.suppress(psutil.Error):
                sizes = [each.memory_full_info().pss for each in (me, *me.children(recursive=True))]
                self.megabytes = max(self.megabytes, sum(sizes) / 2**20)


def measure(name: str, *arguments: object) -> Figures:
    """Run a measurement in a process of its own."""
    print(
        f"measuring {name} {' '.join(str(each) for each in arguments if not isinstance(each, Path))}", file=sys.stderr, flush=True
    )
    command = [sys.executable, "-m", __spec__.name, "--measure", name, *map(str, arguments)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    return json.loads(done.stdout)


def verdict(value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    bound, met = (at_least, value >= at_least) if at_least is not None else (at_most, value <= (at_most or 0))
    return f"target: at {'least' if at_least is not None else 'most'} {bound:g}{'' if met else '  missed'}"


def report(out: Path) -> Iterator[str]:
    """Yield the lines of the tables."""
    cores = usable_cores()
    yield f"{cores} cores, phantoms as JPEG of {SIDE_PX} px"
    yield "step         images     cores  seconds  processor s  images/s   peak MB  all MB"
    runs = {
        (count, n): measure("ingest", count, n, out / f"{count}-{n}") for count, n in ((SMALL, 1), (SMALL, cores), (LARGE, cores))
    }
    split = measure("preprocess", out / f"{LARGE}-{cores}")
    for step, count, processes, run in (*(("ingest", *key, run) for key, run in runs.items()), ("preprocess", LARGE, 1, split)):
        yield (
            f"{step:<10} {count:>8,} {processes:>9} {run['seconds']:>8.1f} {run['processor']:>12.1f}"
            f" {count / run['seconds']:>9.0f} {run['peak']:>9.0f} {run['peak_all']:>7.0f}"
        )
    small, large = runs[SMALL, cores], runs[LARGE, cores]
    yield f"the same outputs on 1 and {cores} cores: {runs[SMALL, 1]['digest'] == small['digest']}"
    rate = LARGE / (large["seconds"] + split["seconds"])
    ideal = LARGE * cores / (large["processor"] + split["processor"])
    yield f"ingest and preprocess: {rate:.0f} images a second  {verdict(rate, at_least=MIN_RATE)}"
    yield f"by their processor seconds, with all cores busy all the time: {ideal:.0f} images a second"
    index = (LARGE - SMALL) * INDEX_BYTES / 2**20
    ratio = (large["peak"] - index) / small["peak"]
    yield (
        f"peak memory of ingest at {LARGE:,} images, without {index:.0f} MB of index ({INDEX_BYTES:,} bytes an image),"
        f" to that at {SMALL:,}: {ratio:.2f}  {verdict(ratio, at_most=MAX_MEMORY_RATIO)}"
    )
    yield from report_hashes()
    feeding = measure("feeding", out / f"{LARGE}-{cores}")
    yield "input pipeline of cnn alone, images a second: " + ", ".join(
        f"{name.replace('_', ' ')} {feeding[name]:.0f}" for name in ("first_epoch", "later_epochs", "training")
    )
    for name in ("first_epoch", "later_epochs"):
        fed = feeding[name] / feeding["training"]
        yield f"{name.replace('_', ' ')} / training step: {fed:.1f}  {verdict(fed, at_least=MIN_FEED_RATIO)}"


def report_hashes() -> Iterator[str]:
    yield "hashes       hashes           seconds  processor s     pairs  planted, found"
    ours, theirs, many = measure("hashes", COMPARED_HASHES), measure("every pair", COMPARED_HASHES), measure("hashes", HASHES)
    for name, count, run in (
        ("in bands", COMPARED_HASHES, ours),
        ("every pair", COMPARED_HASHES, theirs),
        ("in bands", HASHES, many),
    ):
        planted = f"{run['planted']}, {run['found']}" if "planted" in run else ""
        yield f"{name:<10} {count:>8,} {run['seconds']:>17.1f} {run['processor']:>12.1f} {run['pairs']:>9} {planted:>15}"
    yield f"as many pairs as by comparing every pair: {ours['pairs'] == theirs['pairs']}"
    yield f"{HASHES:,} hashes grouped in {many['seconds']:.0f} s  {verdict(many['seconds'], at_most=MAX_HASH_SECONDS)}"


def main() -> None:
    """Print rates, peak memory and ratios with their targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(run_measurement(arguments.measure[0], arguments.measure[1:])))
        return
    for count in (SMALL, LARGE):
        phantoms(count)
    with tempfile.TemporaryDirectory(prefix="bench-data-") as out:
        for line in report(Path(out)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
