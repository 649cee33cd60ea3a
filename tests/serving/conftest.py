"""The real service: a predictor and a transformer, each a process of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.processes import Service, free_ports, running


@dataclass(frozen=True)
class Transformer:
    """The process and its addresses."""

    process: Service
    url: str
    grpc: str


@dataclass(frozen=True)
class Pair:
    """Both processes and their addresses."""

    transformer: Service
    predictor: Service
    url: str
    grpc: str
    predictor_url: str
    predictor_grpc: str


@contextmanager
def transformer(model_dir: Path, predictor_host: str, **settings: object) -> Iterator[Transformer]:
    """Start a transformer that asks `predictor_host`."""
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


@pytest.fixture(scope="session")
def service(tiny_model: Path) -> Iterator[Pair]:
    """Both on the tiny model, with the settings' defaults."""
    http, grpc = free_ports(2)
    with predictor(tiny_model, http, grpc) as process, transformer(tiny_model, f"127.0.0.1:{http}") as front:
        yield Pair(front.process, process, front.url, front.grpc, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}")
