"""The systems that are compared: the service now and at an earlier commit, its peers, and the plain way, on one model."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from PIL import Image

from brain_tumor.images import encode_png
from brain_tumor.phantoms import make_phantom
from components.architectures.cnn import CnnConfig
from tests.benchmarks.load import json_post, multipart
from tests.benchmarks.peers.job import OURS
from tests.benchmarks.systems import Ports, predictor, transformer
from tests.serving.processes import ROOT, free_ports, running

PREDICT, EXPLAIN, EXPLAIN_OURS = "predict", "explain", "explain, our overlay"
OWN_VERBS, PEER_VERBS = (PREDICT, EXPLAIN), (PREDICT, EXPLAIN, EXPLAIN_OURS)
SERVICE, BEFORE, PLAIN = "this service", "before", "plain way"
TRANSFORMER, STAND_IN = "transformer", "stand-in"
SAME_PROBABILITY = 1e-3
MAX_IN_FLIGHT = 64  # so that the service, like its peers, refuses no request


class Running(NamedTuple):
    """A system that runs.

    Attributes:
        port: Its HTTP port.
        processes: Its processes by name.
        requests: Each verb's function from an image to a complete HTTP request.
        answer: Function from a response's JSON to `probability`, `heatmap` and `overlay_png`.
    """

    port: int
    processes: dict[str, int]
    requests: dict[str, Callable[[bytes], bytes]]
    answer: Callable[[Any], dict[str, Any]]


class Peer(NamedTuple):
    """A peer: its folder, the path that answers when it is ready, and its way of asking and answering."""

    folder: str
    ready: str
    requests: dict[str, Callable[[bytes], bytes]]
    answer: Callable[[Any], dict[str, Any]] = dict

    @property
    def lock(self) -> Path:
        return Path(__file__).parent / self.folder / "requirements.txt"

    @property
    def python(self) -> Path:
        """The Python of its environment: of its own if it has a lock."""
        return ROOT / ".venv-peers" / self.folder / "bin" / "python" if self.lock.exists() else Path(sys.executable)

    def version(self) -> str:
        """Return the version that its environment has."""
        code = f"import importlib.metadata as m; print(m.version({self.folder!r}))"
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _forms(*queries: str) -> dict[str, Callable[[bytes], bytes]]:
    return {verb: _form(f"/predict{query}") for verb, query in zip(PEER_VERBS, queries, strict=False)}


def _form(path: str) -> Callable[[bytes], bytes]:
    return lambda image: multipart(path, image)


def _json(path: str, document: Callable[[str], dict[str, Any]]) -> Callable[[bytes], bytes]:
    return lambda image: json_post(path, document(base64.b64encode(image).decode()))


def _v2(**parameters: Any) -> Callable[[bytes], bytes]:
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    return _json("/v2/models/brain-tumor/infer", lambda image: {"inputs": [tensor | {"data": [image]}], "parameters": parameters})


def _v2_answer(document: Any) -> dict[str, Any]:
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return {name: data if name == "heatmap" else data[0] for name, data in outputs.items()}


PEERS = {
    "MLServer": Peer(
        "mlserver",
        "/v2/models/brain-tumor/ready",
        {PREDICT: _v2(), EXPLAIN: _v2(explain=True), EXPLAIN_OURS: _v2(explain=True, overlay=OURS)},
        _v2_answer,
    ),
    "BentoML": Peer(
        "bentoml",
        "/readyz",
        {
            verb: _json(path, lambda image: {"images": [image]})
            for verb, path in zip(PEER_VERBS, ("/predict", "/explain", "/explain_ours"), strict=True)
        },
        lambda document: document[0],
    ),
    "LitServe": Peer(
        "litserve",
        "/health",
        {
            PREDICT: _json("/predict", lambda image: {"image": image}),
            EXPLAIN: _json("/predict", lambda image: {"image": image, "explain": True}),
            EXPLAIN_OURS: _json("/predict", lambda image: {"image": image, "explain": True, "overlay": OURS}),
        },
    ),
    "FastAPI": Peer("fastapi", "/ready", _forms("", "?explain=true", f"?explain=true&overlay={OURS}")),
}


@contextmanager
def running_systems(model: Path, names: list[str], before: Path | None) -> Iterator[dict[str, Running]]:
    """Start the systems of these names, and the service of the checkout `before` if given, and check that they agree."""
    with ExitStack() as stack:
        systems = {}
        if before:
            systems[BEFORE] = stack.enter_context(_running_service(model, before))
        systems[SERVICE] = stack.enter_context(_running_service(model, ROOT))
        for name in names:
            systems[name] = stack.enter_context(_running_plain(model) if name == PLAIN else _running_peer(PEERS[name], model))
        for verb in PEER_VERBS:
            _check_same_prediction(verb, {name: each for name, each in systems.items() if verb in each.requests})
        yield systems


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Yield a folder with the files of a commit."""
    archive = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"--before: got {commit!r}, expected a commit of this repository: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
        yield Path(folder)


@contextmanager
def _running_service(model: Path, root: Path) -> Iterator[Running]:
    ports = Ports(*free_ports(4))
    with predictor(model, ports, root=root) as behind, transformer(model, ports, root=root, MAX_IN_FLIGHT=MAX_IN_FLIGHT) as front:
        processes = {TRANSFORMER: front.process.pid, STAND_IN: behind.process.pid}
        yield Running(ports.http, processes, _forms("", "?explain=true"), dict)


@contextmanager
def _running_peer(peer: Peer, model: Path) -> Iterator[Running]:
    if not peer.python.exists():
        raise SystemExit(f"{peer.python}: no such environment; `make bench-peers` makes it")
    port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        env = {"MODEL_DIR": model, "HTTP_PORT": port, "GRPC_PORT": grpc_port, "PYTHONPATH": ROOT, "BENTOML_HOME": folder}
        module, url = f"tests.benchmarks.peers.{peer.folder}.server", f"http://localhost:{port}{peer.ready}"
        with running(module, env, url, python=peer.python, cwd=Path(folder)) as server:
            yield Running(port, {"server": server.process.pid}, peer.requests, peer.answer)


@contextmanager
def _running_plain(model: Path) -> Iterator[Running]:
    (port,) = free_ports(1)
    env = {"MODEL_DIR": model, "HTTP_PORT": port}
    with running("tests.benchmarks.baseline", env, f"http://localhost:{port}/docs") as server:
        yield Running(port, {"server": server.process.pid}, _forms("", "?explain=true"), dict)


def _check_same_prediction(verb: str, systems: dict[str, Running]) -> None:
    """Exit if a system gives another probability, no heatmap, or an overlay of another size than the image's."""
    # A PNG of the network's input size: Pillow, which the plain way uses, and TensorFlow differ slightly in scaling.
    side_px = CnnConfig().image_size_px
    phantom, _ = make_phantom(np.random.default_rng(0), lesion=True)
    image = encode_png(Image.fromarray(phantom).resize((side_px, side_px)))
    probabilities = {}
    for name, system in systems.items():
        answer = system.answer(_send(f"{name}: {verb}", system.port, system.requests[verb](image)))
        probabilities[name] = answer["probability"]
        if verb != PREDICT:
            overlay = Image.open(io.BytesIO(base64.b64decode(answer["overlay_png"])))
            if overlay.size != (side_px, side_px) or not answer["heatmap"]:
                raise SystemExit(f"{name}: {verb}: expected a heatmap and an overlay of {side_px} px, got {overlay.size}")
    if max(probabilities.values()) - min(probabilities.values()) > SAME_PROBABILITY:
        raise SystemExit(f"{verb}: the systems differ by more than {SAME_PROBABILITY:g}: {probabilities}")


def _send(what: str, port: int, request: bytes) -> Any:
    """Send a complete HTTP request, and return the JSON of its response."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    response = httpx.post(f"http://127.0.0.1:{port}{first.split()[1]}", headers=headers, content=body, timeout=60)
    if response.status_code != 200 or "content-encoding" in response.headers:
        raise SystemExit(f"{what} returned {response.status_code}, {dict(response.headers)}: {response.text[:500]}")
    return json.loads(response.content)


def machine() -> str:
    """Describe the processor, such as `2 cores of Intel(R) Xeon(R)`."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return f"{os.cpu_count()} cores of {models[0] if models else 'an unknown processor'}"
