"""The systems that the benchmarks compare, on one model and the same images: service, baseline, model in process."""

import argparse
import base64
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from brain_tumor.images import read_image
from brain_tumor.overlay import MAX_OVERLAY_SIDE_PX, overlay_png, scale_image
from tests.benchmarks.load import Response, multipart
from tests.benchmarks.wrk import Measurement, Wrk
from tests.serving.processes import ROOT, Service, free_ports, running

if TYPE_CHECKING:
    from components.hyperparameters import TrainConfig

VERBS = {"predict": "/predict", "explain": "/predict?explain=true"}
REAL_IMAGES = Path(os.environ.get("REALDATA", ROOT.parent / "shared" / "data")) / "navoneel"
IMAGES = 24  # the slowest system sends all of them in every round, so that all systems are measured on the same mix


class Ports(NamedTuple):
    """Ports of the two processes of the service."""

    http: int
    grpc: int
    predictor_http: int
    predictor_grpc: int


def predictor(model: Path, ports: Ports, *, wait: bool = True, root: Path = ROOT) -> AbstractContextManager[Service]:
    """Run the predictor from a checkout, and wait until it has loaded the model."""
    env = {"MODEL_DIR": model, "PREDICTOR_HTTP_PORT": ports.predictor_http, "PREDICTOR_GRPC_PORT": ports.predictor_grpc}
    ready_url = f"http://localhost:{ports.predictor_http}/v1/models/brain-tumor/metadata"
    return running("serving.predictor", env, ready_url if wait else None, cwd=root)


def transformer(
    model: Path, ports: Ports, *, path: str = "/readyz", root: Path = ROOT, **settings: object
) -> AbstractContextManager[Service]:
    """Run the transformer from a checkout, with further settings, and wait until `path` returns 200."""
    env = {
        "MODEL_DIR": model,
        "HTTP_PORT": ports.http,
        "GRPC_PORT": ports.grpc,
        "PREDICTOR_HOST": f"localhost:{ports.predictor_http}",
        **settings,
    }
    return running("serving", env, f"http://localhost:{ports.http}{path}", cwd=root)


@contextmanager
def running_service(model: Path) -> Iterator[int]:
    """Run transformer and predictor, and yield the transformer's port."""
    ports = Ports(*free_ports(4))
    with predictor(model, ports), transformer(model, ports):
        yield ports.http


@contextmanager
def running_baseline(model: Path) -> Iterator[int]:
    """Run the baseline, and yield its port."""
    (port,) = free_ports(1)
    with running("tests.benchmarks.baseline", {"MODEL_DIR": model, "HTTP_PORT": port}, f"http://localhost:{port}/docs"):
        yield port


class System(Protocol):
    """A system that predicts and explains."""

    def closed(self, verb: str, *, clients: int, seconds: int) -> Measurement:
        """Let each client send one image after another for a number of seconds."""


class Server:
    """A server that receives requests over HTTP."""

    def __init__(self, port: int, images: list[bytes]):
        self._load = {verb: Wrk(port, [multipart(path, image) for image in images]) for verb, path in VERBS.items()}

    def closed(self, verb: str, *, clients: int, seconds: int) -> Measurement:
        return self._load[verb].run(clients=clients, seconds=seconds)


def span_seconds(responses: list[Response]) -> float:
    """Return the time from the first request to the last response."""
    return max(each.due + each.seconds for each in responses) - min(each.due for each in responses)


class InProcess:
    """The SavedModel in this process: the cost of a prediction without a service."""

    def __init__(self, model: Path, images: list[bytes]):
        from components.saved_model import SavedModel

        self._model = SavedModel(model)
        self._images = images

    def predict(self, verb: str, data: bytes) -> float:
        """Process one image like the service, and return the probability."""
        image = read_image(data)
        outputs = self._model.run_signature("explain" if verb == "explain" else "serving_default", [image.data])
        if verb == "explain":
            base64.b64encode(overlay_png(scale_image(image.image, MAX_OVERLAY_SIDE_PX), outputs["heatmap"][0]))
        return float(outputs["probability"][0, 0])

    def closed(self, verb: str, *, clients: int, seconds: int) -> Measurement:
        turns = itertools.cycle(self._images)
        begin = time.perf_counter()

        def client() -> list[float]:
            durations = []
            while (now := time.perf_counter()) < begin + seconds:
                self.predict(verb, next(turns))
                durations.append(time.perf_counter() - now)
            return durations

        with ThreadPoolExecutor(clients) as threads:
            futures = [threads.submit(client) for _ in range(clients)]
            requests = [second for future in futures for second in future.result()]
        return Measurement.of(requests, time.perf_counter() - begin)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Build a parser of `--model` and `--images`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--model", type=Path, help="folder of one version of architecture=cnn (default: trained on phantoms for one epoch)"
    )
    parser.add_argument(
        "--images", type=Path, help="folder of images (default: navoneel in ../shared/data or REALDATA, else phantoms)"
    )
    return parser


@contextmanager
def model_folder(given: Path | None) -> Iterator[Path]:
    """Yield the model's folder; without one, train the default network of `cnn` for one epoch, which is as fast as a good one."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as scratch:
        progress("training architecture=cnn for one epoch")
        with redirect_stdout(sys.stderr):
            from components.architectures.cnn import CnnConfig

            train_on_phantoms(Path(scratch), CnnConfig(epochs=1))
        yield Path(scratch) / "model"


def train_on_phantoms(folder: Path, config: "TrainConfig") -> None:
    """Export a complete model to `model` in the folder, like the pipeline on phantoms."""
    from components.ingest.ingest import ingest
    from components.preprocess.preprocess import preprocess
    from components.saved_model import import_tensorflow_quietly
    from components.train.train import train

    images, manifest, shards = folder / "images.zip", folder / "manifest.csv", folder / "shards"
    ingest("synthetic://?n=48", images_zip=images, manifest_csv=manifest, report_html=folder / "ingest.html")
    import_tensorflow_quietly()
    preprocess(images, manifest, shards=shards, splits_csv=folder / "splits.csv")
    train(shards, model_dir=folder / "model", config=config)


def sample_images(folder: Path | None) -> tuple[list[bytes], str]:
    """Return encoded images, evenly distributed over all file sizes, and a description of them."""
    source = folder or (REAL_IMAGES if REAL_IMAGES.is_dir() else None)
    if source is None:
        from brain_tumor.phantoms import phantom_pngs

        return phantom_pngs(IMAGES), "phantoms"
    files = sorted((file for file in source.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    if not files:
        raise SystemExit(f"{source}: found no images")
    step = len(files) / IMAGES
    return [files[int((position + 0.5) * step)].read_bytes() for position in range(IMAGES)], f"images of {source.name}"


def progress(line: str) -> None:
    """Report progress on stderr; stdout is for the tables."""
    print(line, file=sys.stderr, flush=True)
