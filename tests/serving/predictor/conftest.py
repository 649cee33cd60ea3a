"""One predictor for all tests of the folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from brain_tumor.phantoms import phantom_pngs
from components.saved_model import SavedModel
from tests.serving.clients import V1
from tests.serving.conftest import predictor
from tests.serving.processes import free_ports

PREDICT = f"{V1}:predict"


class Server(NamedTuple):
    """URL and gRPC address of a predictor."""

    url: str
    grpc: str

    def post(self, document: Any, path: str = PREDICT) -> Any:
        return httpx.post(self.url + path, json=document, timeout=30).raise_for_status().json()


@pytest.fixture(scope="session")
def server(tiny_model: Path) -> Iterator[Server]:
    http, rpc = free_ports(2)
    with predictor(tiny_model, http, rpc):
        yield Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}")


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> SavedModel:
    return SavedModel(tiny_model)


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    return phantom_pngs(16)
