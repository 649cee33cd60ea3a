"""The real service: predictor and transformer, each in a process of its own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MadeOnce
from tests.serving.brightness_model import CARD, CARD_0_1_0, save_model
from tests.serving.fake_predictor import FakePredictor, running_fake_predictor
from tests.serving.processes import Service, free_ports, running

ORIGIN = "https://pacs.example"


@dataclass(frozen=True)
class Transformer:
    """The process, its URL, and its gRPC address."""

    process: Service
    url: str
    grpc: str


@dataclass(frozen=True)
class Pair:
    """Both processes, their URLs, and their gRPC addresses."""

    transformer: Service
    predictor: Service
    url: str
    grpc: str
    predictor_url: str
    predictor_grpc: str


@contextmanager
def transformer(model_dir: Path, predictor_host: str, **settings: object) -> Iterator[Transformer]:
    """Start a transformer of the predictor at `predictor_host`."""
    http, grpc = free_ports(2)
    url = f"http://127.0.0.1:{http}"
    ports = {"MODEL_DIR": model_dir, "HTTP_PORT": http, "GRPC_PORT": grpc, "PREDICTOR_HOST": predictor_host}
    with running("serving", ports | settings, f"{url}/healthz") as process:
        yield Transformer(process, url, f"127.0.0.1:{grpc}")


@contextmanager
def predictor(model_dir: Path, http: int, grpc: int) -> Iterator[Service]:
    """Start a predictor and wait until it has loaded the model."""
    ports = {"MODEL_DIR": model_dir, "PREDICTOR_HTTP_PORT": http, "PREDICTOR_GRPC_PORT": grpc}
    with running("serving.predictor", ports, f"http://127.0.0.1:{http}/v1/models/brain-tumor/metadata") as process:
        yield process


@pytest.fixture
def ignored_sigint() -> Iterator[None]:
    """Let child processes inherit SIGINT as ignored, as a script's background jobs do."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, handler)


@contextmanager
def predictor_and_transformer(model_dir: Path) -> Iterator[Pair]:
    """Start both processes, with the default settings."""
    http, grpc = free_ports(2)
    with predictor(model_dir, http, grpc) as process, transformer(model_dir, f"127.0.0.1:{http}") as front:
        yield Pair(front.process, process, front.url, front.grpc, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")


@pytest.fixture(scope="session")
def service(tiny_model: Path) -> Iterator[Pair]:
    """Both processes on the tiny model."""
    with predictor_and_transformer(tiny_model) as pair:
        yield pair


@pytest.fixture(scope="session")
def brightness_service(made_once: MadeOnce) -> Iterator[Pair]:
    """Both processes on a model whose `in_distribution` and `uncertain` depend on the brightness of the image."""
    folder = made_once("brightness_model", lambda folder: save_model(folder, CARD))
    with predictor_and_transformer(folder) as pair:
        yield pair


@pytest.fixture(scope="session")
def service_of_0_1_0(made_once: MadeOnce) -> Iterator[Pair]:
    """Both processes on a model without these outputs."""
    folder = made_once("model_of_0_1_0", lambda folder: save_model(folder, CARD_0_1_0))
    with predictor_and_transformer(folder) as pair:
        yield pair


@pytest.fixture(scope="session")
def shared_fake_predictor() -> Iterator[FakePredictor]:
    with running_fake_predictor() as fake:
        yield fake


@pytest.fixture(scope="session")
def shared_transformer(shared_fake_predictor: FakePredictor, tiny_model: Path) -> Iterator[Transformer]:
    settings = {"MAX_IN_FLIGHT": 2, "PREDICTOR_TIMEOUT_SECONDS": 2, "CORS_ORIGINS": f"{ORIGIN}, http://localhost:3000"}
    with transformer(tiny_model, shared_fake_predictor.host, **settings) as served:
        yield served


@pytest.fixture
def fake_predictor(shared_fake_predictor: FakePredictor) -> Iterator[FakePredictor]:
    """The fake predictor behind `served`, reset after each test."""
    yield shared_fake_predictor
    shared_fake_predictor.reset()


@pytest.fixture
def served(shared_transformer: Transformer, fake_predictor: FakePredictor) -> Transformer:
    """A transformer of the fake predictor, for 2 requests in flight, calls of up to 2 s, and web pages of `ORIGIN`."""
    return shared_transformer
