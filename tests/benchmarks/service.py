"""The service beside the plain way to write it, and beside the model without any service: `make bench`.

All answer the same requests about the same images in short rounds, in turn, so that a busy machine slows all alike.
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
from components.hyperparameters import TrainConfig
from tests.benchmarks.load import Load
from tests.benchmarks.systems import (
    VERBS,
    Contender,
    InProcess,
    Server,
    Taken,
    model_folder,
    parser,
    running_plain,
    running_service,
    sample_images,
    say,
)

ROUNDS = 3
ROUND_SECONDS = 4.0
WARM_UP_SECONDS = 2.0
CLIENTS = (1, 4)
SAME_PROBABILITY = 1e-3


class Figures(NamedTuple):
    """What a round says."""

    rate: float
    median_ms: float
    p95_ms: float

    @classmethod
    def of(cls, taken: Taken) -> "Figures":
        median, p95 = np.percentile(taken.requests, (50, 95)) * 1e3
        return cls(len(taken.requests) / taken.seconds, median, p95)


class Wanted(NamedTuple):
    """A ratio of two contenders' figures, and its bound."""

    verb: str
    clients: int
    figure: str
    against: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, ratio: float) -> str:
        if self.at_least is not None:
            return f"wanted at least {self.at_least:g}{'' if ratio >= self.at_least else '  below the wanted'}"
        return f"wanted at most {self.at_most:g}{'' if ratio <= (self.at_most or 0) else '  above the wanted'}"


WANTED = (
    Wanted("explain", 4, "rate", "plain", at_least=7),
    Wanted("predict", 4, "rate", "plain", at_least=5),
    Wanted("explain", 1, "median_ms", "in process", at_most=1.6),
)
FIGURES = {"rate": "requests a second", "median_ms": "median"}
Key = tuple[str, int, str]  # verb, clients, contender


@contextmanager
def running_contenders(model: Path, images: list[bytes]) -> Iterator[dict[str, Contender]]:
    """Start all contenders and check that they say the same of one image."""
    say("starting the contenders")
    with running_service(model) as service, running_plain(model) as plain, Load(service) as first, Load(plain) as second:
        local = InProcess(model, images)
        check_same_answers(service, plain, local)
        yield {"service": Server(first, images), "plain": Server(second, images), "in process": local}


def check_same_answers(service: int, plain: int, local: InProcess) -> None:
    """Exit where one gives another probability, or leaves out what an explanation holds."""
    # A PNG of the network's own size: Pillow and TensorFlow scale, and decode a JPEG, to slightly different pixels.
    side_px = TrainConfig().image_size_px
    phantom, _ = make_phantom(np.random.default_rng(0), lesion=True)
    image = encode_png(Image.fromarray(phantom).resize((side_px, side_px)))
    for verb, path in VERBS.items():
        answers = {"in process": {"probability": local.answer(verb, image)}}
        for name, port in (("service", service), ("plain", plain)):
            response = httpx.post(f"http://localhost:{port}{path}", files={"file": image}, timeout=60)
            if response.status_code != 200:
                raise SystemExit(f"{name} answers {verb} with {response.status_code}: {response.text}")
            answers[name] = response.json()
            missing = {"heatmap", "overlay_png"} - set(answers[name]) if verb == "explain" else set()
            if missing:
                raise SystemExit(f"{name} answers {verb} without {', '.join(sorted(missing))}")
        probabilities = {name: answer["probability"] for name, answer in answers.items()}
        if max(probabilities.values()) - min(probabilities.values()) > SAME_PROBABILITY:
            raise SystemExit(f"{verb}: the contenders differ by more than {SAME_PROBABILITY:g}: {probabilities}")


def measure(contenders: dict[str, Contender]) -> dict[Key, list[Figures]]:
    """Return each contender's rounds."""
    for name, contender in contenders.items():
        say(f"warming up {name}")
        for verb in VERBS:
            contender.closed(verb, clients=max(CLIENTS), seconds=WARM_UP_SECONDS)
    rounds: dict[Key, list[Figures]] = {(v, c, name): [] for v in VERBS for c in CLIENTS for name in contenders}
    for number in range(ROUNDS):
        for verb, clients, name in rounds:
            figures = Figures.of(contenders[name].closed(verb, clients=clients, seconds=ROUND_SECONDS))
            rounds[verb, clients, name].append(figures)
            say(f"round {number + 1} of {ROUNDS}: {verb:<8} {clients} clients  {name:<10} {figures.rate:7.1f} a second")
    return rounds


def median_round(rounds: list[Figures]) -> Figures:
    return sorted(rounds, key=lambda figures: figures.rate)[len(rounds) // 2]


def print_table(rounds: dict[Key, list[Figures]]) -> None:
    names = list(dict.fromkeys(name for _, _, name in rounds))
    print("verb     clients" + "".join(f" | {name:<12}  median ms  95 % ms" for name in names))
    for verb in VERBS:
        for clients in CLIENTS:
            shown = [median_round(rounds[verb, clients, name]) for name in names]
            print(
                f"{verb:<8} {clients:>7}" + "".join(f" | {f.rate:>10.1f}/s {f.median_ms:>10.1f} {f.p95_ms:>8.1f}" for f in shown)
            )


def print_ratios(rounds: dict[Key, list[Figures]]) -> None:
    print(f"\nratio, median of {ROUNDS} rounds (lowest to highest)")
    for wanted in WANTED:
        ours, theirs = (rounds[wanted.verb, wanted.clients, name] for name in ("service", wanted.against))
        pairs = zip(ours, theirs, strict=True)
        ratios = sorted(getattr(our, wanted.figure) / getattr(their, wanted.figure) for our, their in pairs)
        ratio = statistics.median(ratios)
        what = f"{wanted.verb}, {wanted.clients} clients, {FIGURES[wanted.figure]}: service / {wanted.against}"
        print(f"{what:<62} {ratio:>5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  {wanted.verdict(ratio)}")


def main() -> None:
    """Print requests a second, median and 95th percentile of each contender, and the ratios that are wanted."""
    arguments = parser(main.__doc__).parse_args()
    images, what = sample_images(arguments.images)
    with model_folder(arguments.model) as model, running_contenders(model, images) as contenders:
        rounds = measure(contenders)
    print(f"median of {ROUNDS} rounds of {ROUND_SECONDS:g} s; {len(images)} {what}, {np.mean([*map(len, images)]) / 1e3:.0f} kB")
    print_table(rounds)
    print_ratios(rounds)


if __name__ == "__main__":
    main()
