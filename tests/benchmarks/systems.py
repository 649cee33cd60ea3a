"""What the benchmarks run: the service and what it is measured against, on one model and the same images."""

import argparse
import base64
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple, Protocol

from brain_tumor.images import read_image
from brain_tumor.overlay import overlay_png
from tests.benchmarks.load import Answer, Load, multipart
from tests.serving.processes import ROOT, Service, free_ports, running

VERBS = {"predict": "/predict", "explain": "/predict?explain=true"}
REAL_IMAGES = ROOT.parent / "shared" / "data" / "navoneel"
IMAGES = 24  # the slowest contender asks for each of them in every round, so all are measured on the same mix


class Ports(NamedTuple):
    """Where the two processes of the service listen."""

    http: int
    grpc: int
    predictor_http: int
    predictor_grpc: int


def predictor(model: Path, ports: Ports, *, wait: bool = True) -> AbstractContextManager[Service]:
    """Run the predictor, and wait until it has loaded the model."""
    env = {"MODEL_DIR": model, "PREDICTOR_HTTP_PORT": ports.predictor_http, "PREDICTOR_GRPC_PORT": ports.predictor_grpc}
    ready_url = f"http://localhost:{ports.predictor_http}/v1/models/brain-tumor/metadata"
    return running("serving.predictor", env, ready_url if wait else None)


def transformer(model: Path, ports: Ports, *, path: str = "/readyz") -> AbstractContextManager[Service]:
    """Run the transformer, and wait until it answers on `path`."""
    env = {
        "MODEL_DIR": model,
        "HTTP_PORT": ports.http,
        "GRPC_PORT": ports.grpc,
        "PREDICTOR_HOST": f"localhost:{ports.predictor_http}",
    }
    return running("serving", env, f"http://localhost:{ports.http}{path}")


@contextmanager
def running_service(model: Path) -> Iterator[int]:
    """Run transformer and predictor; give the port of the transformer."""
    ports = Ports(*free_ports(4))
    with predictor(model, ports), transformer(model, ports):
        yield ports.http


@contextmanager
def running_plain(model: Path) -> Iterator[int]:
    """Run the plain server; give its port."""
    (port,) = free_ports(1)
    with running("tests.benchmarks.baseline", {"MODEL_DIR": model, "HTTP_PORT": port}, f"http://localhost:{port}/docs"):
        yield port


class Taken(NamedTuple):
    """What a round took: the seconds of each request, and of the whole round until the last answer."""

    requests: list[float]
    seconds: float


class Contender(Protocol):
    """Something that can be asked for predictions."""

    def closed(self, verb: str, *, clients: int, seconds: float) -> Taken:
        """Let each client ask for one image after another for so many seconds."""


class Server:
    """A server, asked over HTTP."""

    def __init__(self, load: Load, images: list[bytes]):
        self._load = load
        self._requests = {verb: [multipart(path, image) for image in images] for verb, path in VERBS.items()}

    def closed(self, verb: str, *, clients: int, seconds: float) -> Taken:
        answers = self._load.closed(self._requests[verb], clients=clients, seconds=seconds).result()
        refused = [answer for answer in answers if answer.status != 200]
        if refused:
            raise SystemExit(f"{verb}: {len(refused)} of {len(answers)} answers are not 200, the first: {refused[0]}")
        return Taken([answer.seconds for answer in answers], span_seconds(answers))


def span_seconds(answers: list[Answer]) -> float:
    """Return the time from the first request to the last answer."""
    return max(answer.due + answer.seconds for answer in answers) - min(answer.due for answer in answers)


class InProcess:
    """The SavedModel in this process: what an answer costs without any service around it."""

    def __init__(self, model: Path, images: list[bytes]):
        from components.saved_model import SavedModel

        self._model = SavedModel(model)
        self._images = images

    def answer(self, verb: str, data: bytes) -> float:
        """Do what the service does for one image; return the probability."""
        image = read_image(data)
        answer = self._model.run_signature("explain" if verb == "explain" else "serving_default", [image.data])
        if verb == "explain":
            base64.b64encode(overlay_png(image.pixels, answer["heatmap"][0]))
        return float(answer["probability"][0, 0])

    def closed(self, verb: str, *, clients: int, seconds: float) -> Taken:
        turns = itertools.cycle(self._images)
        begin = time.perf_counter()

        def client() -> list[float]:
            taken = []
            while (now := time.perf_counter()) < begin + seconds:
                self.answer(verb, next(turns))
                taken.append(time.perf_counter() - now)
            return taken

        with ThreadPoolExecutor(clients) as threads:
            futures = [threads.submit(client) for _ in range(clients)]
            requests = [second for future in futures for second in future.result()]
        return Taken(requests, time.perf_counter() - begin)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Build a parser of `--model` and `--images`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, help="folder of one model version (default: an untrained network of default size)")
    parser.add_argument("--images", type=Path, help="folder of images (default: ../shared/data/navoneel if there, else phantoms)")
    return parser


@contextmanager
def model_folder(given: Path | None) -> Iterator[Path]:
    """Give the model's folder; where none is given, export an untrained network: what it costs does not depend on its weights."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as scratch:
        say("exporting an untrained network")
        with redirect_stdout(sys.stderr):
            export_untrained(Path(scratch))
        yield Path(scratch) / "model"


def export_untrained(folder: Path) -> None:
    """Write `model` into the folder as the pipeline does: from phantoms, with everything that belongs to a model."""
    from components.hyperparameters import TrainConfig
    from components.ingest.ingest import ingest
    from components.preprocess.preprocess import preprocess
    from components.saved_model import import_tensorflow_quietly

    images, manifest, shards = folder / "images.zip", folder / "manifest.csv", folder / "shards"
    ingest("synthetic://?n=48", images_zip=images, manifest_csv=manifest, report_html=folder / "ingest.html")
    import_tensorflow_quietly()
    preprocess(images, manifest, shards=shards, splits_csv=folder / "splits.csv")

    import keras

    from components.train.data import open_shards
    from components.train.export import export
    from components.train.network import build_model

    config, opened = TrainConfig(), open_shards(shards)
    keras.utils.set_random_seed(config.seed)
    export(build_model(config, len(opened.classes)), opened, config, history={}, model_dir=folder / "model")


def sample_images(folder: Path | None) -> tuple[list[bytes], str]:
    """Return encoded images, evenly over all file sizes, and what they are."""
    source = folder or (REAL_IMAGES if REAL_IMAGES.is_dir() else None)
    if source is None:
        from brain_tumor.phantoms import phantom_pngs

        return phantom_pngs(IMAGES), "phantoms"
    files = sorted((file for file in source.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    if not files:
        raise SystemExit(f"{source} holds no images")
    step = len(files) / IMAGES
    return [files[int((position + 0.5) * step)].read_bytes() for position in range(IMAGES)], f"images of {source.name}"


def say(line: str) -> None:
    """Report progress on stderr; stdout holds the tables alone."""
    print(line, file=sys.stderr, flush=True)
