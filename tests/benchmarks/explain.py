"""The cost of an explanation compared with a prediction: `make bench`.

Both signatures of one SavedModel run on the same phantoms, in turn, so that a busy machine slows both alike.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np

from components.saved_model import SavedModel, import_tensorflow_quietly

CALLS = 60
BATCHES = (1, 8)
MAX_RATIO = 1.5


def measure(model: SavedModel, images: list[bytes]) -> dict[str, float]:
    """Return the median duration in seconds of `CALLS` calls of each signature, in turn."""
    seconds: dict[str, list[float]] = {"serving_default": [], "explain": []}
    for call in range(CALLS + 5):
        for signature, durations in seconds.items():
            started = time.perf_counter()
            model.run_signature(signature, images)
            if call >= 5:  # the first calls build the graph
                durations.append(time.perf_counter() - started)
    return {signature: statistics.median(durations) for signature, durations in seconds.items()}


def export_untrained(folder: Path, head: str) -> SavedModel:
    """Export an untrained network of the default size: its weights have no influence on its duration."""
    import tensorflow as tf

    from components.architectures.cnn import build_model
    from components.train.served_model import served_model

    config = read_config({"head": head})
    served = served_model(build_model(config, 2), ["no_tumor", "tumor"], config)
    signatures = {"serving_default": served.serving_default, "explain": served.explain}
    tf.saved_model.save(served, str(folder), signatures=signatures)
    return SavedModel(folder)


def main() -> None:
    """Print the median of both signatures and their ratio, for each head and batch size."""
    import_tensorflow_quietly()
    from brain_tumor.phantoms import phantom_pngs
    from components.architectures.cnn import Head

    images = phantom_pngs(max(BATCHES))
    print(f"median of {CALLS} interleaved calls, phantoms of {np.mean([len(p) for p in images]) / 1e3:.0f} kB")
    print("head     batch  serving_default   explain   ratio")
    with tempfile.TemporaryDirectory() as scratch:
        for head in get_args(Head):
            model = export_untrained(Path(scratch) / head, head)
            for batch in BATCHES:
                median = measure(model, images[:batch])
                ratio = median["explain"] / median["serving_default"]
                note = "" if ratio <= MAX_RATIO else f"  above the limit of {MAX_RATIO}"
                print(
                    f"{head:<8} {batch:>5}  {median['serving_default'] * 1e3:>12.1f} ms"
                    f"  {median['explain'] * 1e3:>5.1f} ms  {ratio:>6.2f}{note}"
                )


if __name__ == "__main__":
    main()
