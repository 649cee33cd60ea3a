"""A SavedModel in memory, and the one version of it that the stand-in serves."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message

from brain_tumor.container import usable_cores
from brain_tumor.model_card import WARMUP_REQUESTS, read_model_card


class PredictorError(Exception):
    """A rejected or failed request: the message for the client, and `code`, the name of the gRPC status."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT"):
        super().__init__(message[:1000])
        self.code = code


class Model:
    """A SavedModel, loaded and warmed up. Several threads may run it at a time, each its own batch on one core.

    Raises:
        RuntimeError: A file is missing or damaged. The message names it.
    """

    def __init__(self, folder: Path):
        import tensorflow as tf
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

        # Intra-op 1: a second core would shorten a single request by a seventh, and cost all others a third more CPU time.
        # Inter-op -1: run in the calling thread. A call of the signature itself would switch to other threads and back.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        threads = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=threads)
        self._error, self._functions = tf.errors.OpError, dict[str, Callable[[np.ndarray], list[np.ndarray]]]()
        with _blame(f"{folder}/saved_model.pb"):
            self.signature_def = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
        with _blame(f"a file in {folder}/variables, or the graph in saved_model.pb,"):
            with contextlib.chdir(folder):  # TensorFlow takes [ and \ of a path for a pattern
                loaded = tf.saved_model.load(".")
            for name, function in loaded.signatures.items():
                frozen = freeze(function)
                with self._session.graph.as_default():
                    tf.import_graph_def(frozen.graph.as_graph_def(), name=name)
                outputs, inputs = ([f"{name}/{end.name}" for end in ends] for ends in (frozen.outputs, frozen.inputs))
                self._functions[name] = self._session.make_callable(outputs, inputs)
        with _blame(f"{folder / WARMUP_REQUESTS}"):
            self._warm_up(folder / WARMUP_REQUESTS)

    def _warm_up(self, requests: Path) -> None:
        import tensorflow as tf
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

        for record in tf.data.TFRecordDataset([str(requests)] if requests.exists() else []).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            name, input_name = self.signature(request.model_spec.signature_name)
            self.run(name, list(request.inputs[input_name].string_val))

    def signature(self, name: Any, code: str = "INVALID_ARGUMENT") -> tuple[str, str]:
        """Return the names of a signature, by default `serving_default`, and of its input.

        Raises:
            PredictorError: No such signature; it has this `code`.
        """
        if (name := name or "serving_default") not in self._functions:
            raise PredictorError(f'Serving signature name: "{name}" not found in signature def', code)
        return name, next(iter(self.signature_def[name].inputs))

    def run(self, name: str, images: list[bytes]) -> dict[str, np.ndarray]:
        """Run a signature on one or more encoded images and return its outputs: name -> [N, ...]."""
        try:
            outputs = self._functions[name](np.array(images, object))
        except self._error as error:
            raise PredictorError(error.message.rpartition("\nNode: ")[2].partition("\n")[2] or error.message) from None
        return dict(zip(sorted(self.signature_def[name].outputs), outputs, strict=True))


@contextmanager
def _blame(file: str) -> Iterator[None]:
    """Convert any error, as TensorFlow raises it for a damaged file, to a RuntimeError of one line that names the file."""
    try:
        yield
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(f"{file} is missing or damaged: {line}") from error


class Servable:
    """One version of a model, by the name and number that a request must ask for. Requests fail until the model is loaded."""

    def __init__(self, folder: Path):
        card, number = read_model_card(folder), folder.resolve().name
        self._name, self.version = card.name, int(card.document["version"] or (number if number.isdigit() else 1))
        self._folder = folder
        self._threads = ThreadPoolExecutor(usable_cores())
        self._model: Model | None = None

    async def load(self) -> None:
        """Load the model in another thread, and warm it up."""
        self._model = await asyncio.to_thread(Model, self._folder)

    @property
    def state(self) -> str:
        return "AVAILABLE" if self._model else "LOADING"

    @property
    def model(self) -> Model:
        """The loaded model.

        Raises:
            PredictorError: It is still loading.
        """
        if self._model is None:
            raise PredictorError(f"Servable {self._name} version {self.version} is still loading", "UNAVAILABLE")
        return self._model

    def check(self, name: str, version: int) -> None:
        """Raise PredictorError if a request asks for another model or version; version 0 is the latest."""
        if name != self._name or version not in (0, self.version):
            raise PredictorError(f"Servable not found for request: {name}, version {version or 'latest'}", "NOT_FOUND")

    async def run(self, signature: str, images: list[bytes]) -> dict[str, np.ndarray]:
        """Run a signature in a thread; arguments and result as those of `Model.run`."""
        # One call a request: on one core a batch of four takes as long as four calls, and one bad image would fail it.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.model.run, signature, images)

    def spec(self, signature: str = "") -> dict[str, Any]:
        """Return the fields of a ModelSpec."""
        return {"name": self._name, "version": {"value": self.version}, "signature_name": signature}

    def metadata(self) -> Message:
        """Return the GetModelMetadataResponse."""
        definitions = self.model.signature_def  # before the import: two threads that import TensorFlow can deadlock
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap

        response = GetModelMetadataResponse(model_spec=self.spec())
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=definitions))
        return response
