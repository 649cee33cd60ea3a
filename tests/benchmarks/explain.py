"""The cost of an explanation compared with a prediction, and of `evidence` compared with `cnn`, on one core: `make bench`.

Both signatures of all networks run on the same phantoms, in turn, so that a busy machine slows all alike. The networks are
exported untrained: their weights have no influence on their speed.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.classes import NO_TUMOR, TUMOR
from brain_tumor.images import encode_png
from brain_tumor.phantoms import make_phantom
from components.architectures.cnn import CnnConfig, CnnNetwork, build_model
from components.architectures.evidence import EvidenceConfig, EvidenceNetwork
from components.decision import Decision
from components.efficientnet_lite0 import CHANNELS, build_backbone
from components.evidence_head import Heads
from components.hyperparameters import TrainConfig
from components.in_distribution import InDistribution
from components.saved_model import SavedModel, import_tensorflow_quietly
from components.train.served_model import served_model
from components.trained import Network

CALLS, WARM_UP_CALLS = 40, 5
BATCHES = (1, 8)
IMAGE_SIDE_PX = 512
SIGNATURES = PREDICT, EXPLAIN = ("serving_default", "explain")
BASELINE = "cnn"  # with its default head
CONFIGS: dict[str, TrainConfig] = {
    BASELINE: CnnConfig(),
    "cnn, head=flatten": CnnConfig(head="flatten"),
    "evidence": EvidenceConfig(),
    "evidence, mirror=true": EvidenceConfig(mirror=True),
}
MAX_EXPLAIN_RATIO = {"cnn": 1.5, "evidence": 1.15}
MAX_PREDICT_RATIO = {"evidence": 3.0, "evidence, mirror=true": 5.0}
Medians = Mapping[tuple[str, str], float]  # network, signature


def untrained_network(config: TrainConfig) -> Network:
    """Build the network of a configuration for two classes, with random weights where it has no pretrained ones."""
    if isinstance(config, CnnConfig):
        return CnnNetwork(build_model(config, 2))
    assert isinstance(config, EvidenceConfig)
    kernel = np.random.default_rng(0).normal(0, 0.01, (CHANNELS, 1, 1)).astype(np.float32)
    return EvidenceNetwork(build_backbone(config.image_size_px), Heads(kernel, np.zeros((1, 1), np.float32)), config)


def export_untrained(folder: Path, config: TrainConfig) -> SavedModel:
    """Export an untrained network with both signatures, and load it."""
    import tensorflow as tf

    network = untrained_network(config)
    features = network.score(tf.zeros([1, config.image_size_px, config.image_size_px, 3]))[1].shape[-1]
    decision = Decision((NO_TUMOR, TUMOR), temperature=1.0, threshold=0.5, min_probability=np.zeros(2, np.float32))
    distance = InDistribution(np.zeros(features, np.float32), np.eye(features, dtype=np.float32), limit=1.0, description="")
    served = served_model(network, decision, distance)
    tf.saved_model.save(served, str(folder), signatures={name: getattr(served, name) for name in SIGNATURES})
    return SavedModel(folder)


def measure(models: Mapping[str, SavedModel], images: list[bytes], calls: int = CALLS) -> Medians:
    """Return the median duration in seconds of a number of calls of each signature of each model, in turn."""
    seconds: dict[tuple[str, str], list[float]] = {(name, signature): [] for name in models for signature in SIGNATURES}
    for call in range(WARM_UP_CALLS + calls):
        for (name, signature), durations in seconds.items():
            started = time.perf_counter()
            models[name].run_signature(signature, images)
            if call >= WARM_UP_CALLS:
                durations.append(time.perf_counter() - started)
    return {key: statistics.median(durations) for key, durations in seconds.items()}


def table(batch: int, medians: Medians) -> list[str]:
    """Return a line for each network: both medians, their ratio, and the ratio of the prediction to that of the baseline."""
    lines = []
    for name in dict.fromkeys(name for name, _ in medians):
        predict, explain = medians[name, PREDICT], medians[name, EXPLAIN]
        ratio, against = explain / predict, predict / medians[BASELINE, PREDICT]
        notes = [_note("explain / predict", ratio, MAX_EXPLAIN_RATIO[name.split(",")[0]])]
        if batch == 1 and name in MAX_PREDICT_RATIO:
            notes.append(_note(f"predict / {BASELINE}", against, MAX_PREDICT_RATIO[name]))
        lines.append(
            f"{name:<23} {batch:>5}  {predict * 1e3:>7.1f} ms  {explain * 1e3:>7.1f} ms  {ratio:>17.2f}  {against:>13.2f}"
            + "".join(notes)
        )
    return lines


def _note(what: str, ratio: float, limit: float) -> str:
    return "" if ratio <= limit else f"  {what} is above its limit of {limit:g}"


def phantoms(count: int) -> list[bytes]:
    """Return PNG-encoded phantoms with a side of `IMAGE_SIDE_PX`."""
    rng = np.random.default_rng(0)
    sides = (IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    return [encode_png(Image.fromarray(make_phantom(rng, lesion=index % 2 == 1)[0]).resize(sides)) for index in range(count)]


def run_on_one_core() -> None:
    """Confine this process to one core; to be called before TensorFlow starts its threads."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main() -> None:
    """Print the medians of both signatures and their ratios, for each network and batch size."""
    run_on_one_core()
    import_tensorflow_quietly()
    images = phantoms(max(BATCHES))
    kilobytes = np.mean([len(image) for image in images]) / 1e3
    print(f"one core, median of {CALLS} interleaved calls, phantoms of {IMAGE_SIDE_PX} px, {kilobytes:.0f} kB", flush=True)
    print(f"network                 batch     predict     explain  explain / predict  predict / {BASELINE}")
    with tempfile.TemporaryDirectory() as scratch:
        models = {name: export_untrained(Path(scratch) / name, config) for name, config in CONFIGS.items()}
        for batch in BATCHES:
            print("\n".join(table(batch, measure(models, images[:batch]))), flush=True)


if __name__ == "__main__":
    main()
