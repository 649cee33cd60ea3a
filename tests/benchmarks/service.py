"""The service compared with the naive baseline and with the model in process: `make bench`.

All systems get the same requests with the same images in short rounds, in turn, so that a busy machine slows all alike.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

from brain_tumor.images import encode_png
from brain_tumor.phantoms import make_phantom
from components.architectures.cnn import CnnConfig
from tests.benchmarks.systems import (
    VERBS,
    InProcess,
    Server,
    System,
    model_folder,
    parser,
    progress,
    running_baseline,
    running_service,
    sample_images,
)
from tests.benchmarks.wrk import Measurement

ROUNDS = 3
ROUND_SECONDS = 4
WARM_UP_SECONDS = 2
CLIENTS = (1, 4)
SAME_PROBABILITY = 1e-3


class Target(NamedTuple):
    """A ratio of one metric of two systems, and its bound."""

    verb: str
    clients: int
    metric: str
    against: str
    at_least: float | None = None
    at_most: float | None = None

    def describe(self, ratio: float) -> str:
        if self.at_least is not None:
            return f"target: at least {self.at_least:g}{'' if ratio >= self.at_least else '  missed'}"
        return f"target: at most {self.at_most:g}{'' if ratio <= (self.at_most or 0) else '  missed'}"


TARGETS = (
    Target("explain", 4, "rate", "baseline", at_least=7),
    Target("predict", 4, "rate", "baseline", at_least=5),
    Target("explain", 1, "median_ms", "in process", at_most=1.6),
)
METRICS = {"rate": "requests a second", "median_ms": "median"}
Key = tuple[str, int, str]  # verb, clients, system


@contextmanager
def running_systems(model: Path, images: list[bytes]) -> Iterator[dict[str, System]]:
    """Start all systems and check that they give the same prediction for one image."""
    progress("starting the systems")
    with running_service(model) as service, running_baseline(model) as baseline:
        local = InProcess(model, images)
        check_same_predictions(service, baseline, local)
        yield {"service": Server(service, images), "baseline": Server(baseline, images), "in process": local}


def check_same_predictions(service: int, baseline: int, local: InProcess) -> None:
    """Exit if a system gives another probability, or an incomplete explanation."""
    # A PNG of the network's input size: Pillow and TensorFlow differ slightly in scaling and in JPEG decoding.
    side_px = CnnConfig().image_size_px
    phantom, _ = make_phantom(np.random.default_rng(0), lesion=True)
    image = encode_png(Image.fromarray(phantom).resize((side_px, side_px)))
    for verb, path in VERBS.items():
        predictions = {"in process": {"probability": local.predict(verb, image)}}
        for name, port in (("service", service), ("baseline", baseline)):
            response = httpx.post(f"http://localhost:{port}{path}", files={"file": image}, timeout=60)
            if response.status_code != 200:
                raise SystemExit(f"{name}: {verb} returned {response.status_code}: {response.text}")
            predictions[name] = response.json()
            missing = {"heatmap", "overlay_png"} - set(predictions[name]) if verb == "explain" else set()
            if missing:
                raise SystemExit(f"{name}: {verb} returned no {', '.join(sorted(missing))}")
        probabilities = {name: prediction["probability"] for name, prediction in predictions.items()}
        if max(probabilities.values()) - min(probabilities.values()) > SAME_PROBABILITY:
            raise SystemExit(f"{verb}: the systems differ by more than {SAME_PROBABILITY:g}: {probabilities}")


def measure(systems: dict[str, System]) -> dict[Key, list[Measurement]]:
    """Return the rounds of each system."""
    for name, system in systems.items():
        progress(f"warming up {name}")
        for verb in VERBS:
            system.closed(verb, clients=max(CLIENTS), seconds=WARM_UP_SECONDS)
    rounds: dict[Key, list[Measurement]] = {(v, c, name): [] for v in VERBS for c in CLIENTS for name in systems}
    for number in range(ROUNDS):
        for verb, clients, name in rounds:
            measurement = systems[name].closed(verb, clients=clients, seconds=ROUND_SECONDS)
            rounds[verb, clients, name].append(measurement)
            progress(f"round {number + 1} of {ROUNDS}: {verb:<8} {clients} clients  {name:<10} {measurement.rate:7.1f} a second")
    return rounds


def median_round(rounds: list[Measurement]) -> Measurement:
    return sorted(rounds, key=lambda measurement: measurement.rate)[len(rounds) // 2]


def print_table(rounds: dict[Key, list[Measurement]]) -> None:
    names = list(dict.fromkeys(name for _, _, name in rounds))
    print("verb     clients" + "".join(f" | {name:<12}  median ms  95 % ms" for name in names))
    for verb in VERBS:
        for clients in CLIENTS:
            shown = [median_round(rounds[verb, clients, name]) for name in names]
            print(
                f"{verb:<8} {clients:>7}" + "".join(f" | {f.rate:>10.1f}/s {f.median_ms:>10.1f} {f.p95_ms:>8.1f}" for f in shown)
            )


def print_ratios(rounds: dict[Key, list[Measurement]]) -> None:
    print(f"\nratio, median of {ROUNDS} rounds (lowest to highest)")
    for target in TARGETS:
        ours, theirs = (rounds[target.verb, target.clients, name] for name in ("service", target.against))
        pairs = zip(ours, theirs, strict=True)
        ratios = sorted(getattr(our, target.metric) / getattr(their, target.metric) for our, their in pairs)
        ratio = statistics.median(ratios)
        label = f"{target.verb}, {target.clients} clients, {METRICS[target.metric]}: service / {target.against}"
        print(f"{label:<62} {ratio:>5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  {target.describe(ratio)}")


def main() -> None:
    """Print requests a second, median and 95th percentile of each system, and the ratios with their targets."""
    arguments = parser(main.__doc__).parse_args()
    images, description = sample_images(arguments.images)
    with model_folder(arguments.model) as model, running_systems(model, images) as systems:
        rounds = measure(systems)
    kilobytes = np.mean([*map(len, images)]) / 1e3
    print(f"median of {ROUNDS} rounds of {ROUND_SECONDS:g} s; {len(images)} {description}, {kilobytes:.0f} kB")
    print_table(rounds)
    load_cores = max(each.load_cores for measured in rounds.values() for each in measured)
    print(f"\nwrk, which sends the requests, took at most {load_cores:.3f} of a core")
    print_ratios(rounds)


if __name__ == "__main__":
    main()
