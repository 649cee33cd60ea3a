"""The table of architectures in docs/model.md: `python -m tests.benchmarks.architectures --source FOLDER [--seeds 1]`.

Accuracy and AUC come from a cross-validation of each architecture, which continues where an earlier one stopped; training time
and size from one training on the pipeline's split; the latencies from that model, for one 512 px phantom on one core.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from components.architectures import CONFIGS, read_config
from components.ingest.ingest import ingest
from components.preprocess.preprocess import preprocess
from components.saved_model import SavedModel, import_tensorflow_quietly
from components.train.train import train
from pipelines.cross_validation.__main__ import cross_validate
from tests.benchmarks.explain import BASELINE, EXPLAIN, PREDICT, measure, phantoms, run_on_one_core

LATENCIES = "--latencies"


def train_and_export(source: str, folder: Path, architecture: str) -> dict[str, Any]:
    """Train on the pipeline's split of a source; return seconds and megabytes."""
    images, manifest, shards = folder / "images.zip", folder / "manifest.csv", folder / "shards"
    if not shards.exists():
        ingest(source, images_zip=images, manifest_csv=manifest, report_html=folder / "ingest.html")
        preprocess(images, manifest, shards=shards, splits_csv=folder / "splits.csv")
    started = time.monotonic()
    train(shards, model_dir=folder / architecture, config=read_config({"architecture": architecture}))
    megabytes = sum(file.stat().st_size for file in (folder / architecture).rglob("*")) / 1e6
    return {"seconds": time.monotonic() - started, "megabytes": megabytes}


def latencies(folder: Path) -> dict[str, list[float]]:
    """Return the milliseconds of predict and explain of each architecture's model, measured in a process on one core."""
    command = [sys.executable, "-m", "tests.benchmarks.architectures", LATENCIES, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def print_latencies(folder: Path) -> None:
    """Print the milliseconds of predict and explain of the models in a folder as JSON."""
    run_on_one_core()
    import_tensorflow_quietly()
    medians = measure({name: SavedModel(folder / name) for name in CONFIGS}, phantoms(1))
    print(json.dumps({name: [medians[name, signature] * 1e3 for signature in (PREDICT, EXPLAIN)] for name in CONFIGS}))


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="synthetic://")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument(LATENCIES, type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.latencies:
        print_latencies(options.latencies)
        return
    import_tensorflow_quietly()
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in CONFIGS:
            settings = argparse.Namespace(folds=5, external="", set=[f"architecture={name}"], **vars(options))
            scores, _ = cross_validate(settings)
            rows[name] = next(iter(scores["rows"].values())) | train_and_export(options.source, Path(scratch), name)
        milliseconds = latencies(Path(scratch))
    print(f"| architecture | accuracy | ROC-AUC | size | training | predict | explain | predict / {BASELINE} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        accuracy, auc = (
            f"{row[key]['mean']:.3f} ({row[key]['interval'][0]:.3f} to {row[key]['interval'][1]:.3f})"
            for key in ("accuracy_at_half", "auc")
        )
        predict, explain = milliseconds[name]
        times = f"{row['seconds']:.0f} s | {predict:.0f} ms | {explain:.0f} ms | {predict / milliseconds[BASELINE][0]:.2f}"
        print(f"| `{name}` | {accuracy} | {auc} | {row['megabytes']:.0f} MB | {times} |")


if __name__ == "__main__":
    main()
