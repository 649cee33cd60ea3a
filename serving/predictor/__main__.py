"""A stand-in for TensorFlow Serving on a machine without one: the same REST and gRPC. `python -m serving.predictor`."""

import asyncio
import binascii
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import uvicorn
import uvloop
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request
from starlette.responses import Response

from brain_tumor.model_card import ModelCardError, read_model_card

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
GRACE_SECONDS = 10
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d{1,18}))?(:predict|/metadata)?")


class PredictorError(Exception):
    """Why a request is not answered: a sentence for the client, and the name of gRPC's status."""

    def __init__(self, sentence: str, code: str = "INVALID_ARGUMENT"):
        super().__init__(sentence[:1000])
        self.code = code


class Model:
    """A SavedModel in memory, warmed up. Several threads may run it at a time, each its own batch on one core."""

    def __init__(self, folder: Path):
        import tensorflow as tf
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

        # A second core would save a lone request a seventh, and take a third more of the processor from all others.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        # -1: in the thread that asks. Calling a signature itself hands over to other threads and back.
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1))
        self._error, self._calls = tf.errors.OpError, dict[str, Callable[[np.ndarray], list[np.ndarray]]]()
        loaded = tf.saved_model.load(str(folder))
        for name, function in loaded.signatures.items():
            frozen = freeze(function)
            with self._session.graph.as_default():
                tf.import_graph_def(frozen.graph.as_graph_def(), name=name)
            outputs, inputs = ([f"{name}/{end.name}" for end in ends] for ends in (frozen.outputs, frozen.inputs))
            self._calls[name] = self._session.make_callable(outputs, inputs)
        self.signature_def = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
        file = str(folder / "assets.extra" / "tf_serving_warmup_requests")
        for record in tf.data.TFRecordDataset(tf.io.gfile.glob(file)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            name, input_name = self.signature(request.model_spec.signature_name)
            self.run(name, list(request.inputs[input_name].string_val))

    def signature(self, name: Any, otherwise: str = "INVALID_ARGUMENT") -> tuple[str, str]:
        """Return the names of a signature, the default's for none, and of its input."""
        if (name := name or "serving_default") not in self._calls:
            raise PredictorError(f'Serving signature name: "{name}" not found in signature def', otherwise)
        return name, next(iter(self.signature_def[name].inputs))

    def run(self, name: str, images: list[bytes]) -> dict[str, np.ndarray]:
        """Return a signature's outputs for one image or more: name -> [N, ...]."""
        try:
            return dict(zip(sorted(self.signature_def[name].outputs), self._calls[name](np.array(images, object)), strict=True))
        except self._error as error:
            raise PredictorError(error.message.rpartition("\nNode: ")[2].partition("\n")[2] or error.message) from None


class Predictor:
    """One version of a model behind both protocols. It listens while the model loads."""

    def __init__(self, folder: Path):
        card, number = read_model_card(folder), folder.resolve().name
        self._name, self._version = card.name, int(card.document["version"] or (number if number.isdigit() else 1))
        self._threads = ThreadPoolExecutor(os.cpu_count())
        self._model: Model | None = None

    async def load(self, folder: Path) -> None:
        self._model = await asyncio.to_thread(Model, folder)

    async def _run(self, name: str, images: list[bytes]) -> dict[str, np.ndarray]:
        # A call a request: on one core a batch of four takes as long as four calls, and one bad image would fail it.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._loaded().run, name, images)

    async def rest(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer over HTTP, as an ASGI application."""
        try:
            status, answer = 200, await self._route(scope["method"], scope["path"], await Request(scope, receive).body())
        except PredictorError as refusal:
            status, answer = {"NOT_FOUND": 404, "UNAVAILABLE": 503}.get(refusal.code, 400), {"error": str(refusal)}
        content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        await Response(content, status, media_type="application/json")(scope, receive, send)

    async def _route(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        found = PATH.fullmatch(path)
        if not found or method != ("POST" if found[3] == ":predict" else "GET"):
            raise PredictorError(
                f"Malformed request: {method} {path}", "INVALID_ARGUMENT" if path.startswith("/v1/") else "NOT_FOUND"
            )
        self._check(found[1], int(found[2] or 0))
        if not found[3]:
            state = {"version": str(self._version), "state": "AVAILABLE" if self._model else "LOADING"}
            return {"model_version_status": [state | {"status": {"error_code": "OK", "error_message": ""}}]}
        if found[3] == "/metadata":
            document = MessageToDict(
                self._metadata(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            del document["metadata"]["signature_def"]["@type"]
            return document
        name, images, by_row = read_predict(body, self._loaded())
        outputs = await self._run(name, images)
        columns = {key: data.astype(str).tolist() if data.dtype == object else data for key, data in outputs.items()}
        if not by_row:
            return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"predictions": rows if len(columns) > 1 else next(iter(columns.values()))}

    async def predict(self, message: bytes) -> Message:
        """Answer gRPC's Predict."""
        from tensorflow import make_tensor_proto
        from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

        request = PredictRequest.FromString(message)
        self._check(request.model_spec.name, request.model_spec.version.value)
        name, input_name = self._loaded().signature(request.model_spec.signature_name, "FAILED_PRECONDITION")
        images = list(request.inputs[input_name].string_val)
        if list(request.inputs) != [input_name] or not images:
            raise PredictorError(f"wanted one input, {input_name}: DT_STRING [N] with N > 0")
        outputs = await self._run(name, images)
        wanted = list(request.output_filter) or list(outputs)
        if len(set(wanted) & set(outputs)) != len(wanted):
            raise PredictorError(f"output_filter: wanted each once of {', '.join(outputs)}")
        answer = PredictResponse(model_spec=self._spec(name))
        for output in wanted:
            answer.outputs[output].CopyFrom(make_tensor_proto(outputs[output]))
            if outputs[output].dtype == np.float32:  # TensorFlow Serving fills the typed field, and clients read it
                answer.outputs[output].float_val[:] = outputs[output].ravel()
                answer.outputs[output].tensor_content = b""
        return answer

    async def get_metadata(self, message: bytes) -> Message:
        """Answer gRPC's GetModelMetadata."""
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest

        spec = GetModelMetadataRequest.FromString(message).model_spec
        self._check(spec.name, spec.version.value)
        return self._metadata()

    async def rpc(self, method: Callable[[bytes], Any], message: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """Answer gRPC by a method; a refusal becomes a status."""
        try:
            self._loaded()
            return (await method(message)).SerializeToString()
        except (PredictorError, DecodeError) as error:
            return await context.abort(grpc.StatusCode[getattr(error, "code", "INVALID_ARGUMENT")], str(error))

    def _check(self, name: str, version: int) -> None:
        if name != self._name or version not in (0, self._version):
            raise PredictorError(f"Servable not found for request: {name}, version {version or 'latest'}", "NOT_FOUND")

    def _loaded(self) -> Model:
        if self._model is None:
            raise PredictorError(f"Servable {self._name} version {self._version} is still loading", "UNAVAILABLE")
        return self._model

    def _metadata(self) -> Message:
        definitions = self._loaded().signature_def  # before the import: two threads that import TensorFlow lock each other out
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap

        answer = GetModelMetadataResponse(model_spec=self._spec())
        answer.metadata["signature_def"].Pack(SignatureDefMap(signature_def=definitions))
        return answer

    def _spec(self, signature: str = "") -> dict[str, Any]:
        return {"name": self._name, "version": {"value": self._version}, "signature_name": signature}


def read_predict(body: bytes, model: Model) -> tuple[str, list[bytes], bool]:
    """Return the signature that a REST request names, its images, and whether they came by row."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PredictorError(f"JSON Parse error: {error}") from None
    forms = [form for form in ("instances", "inputs") if isinstance(document, dict) and form in document]
    if len(forms) != 1:
        raise PredictorError("wanted a JSON object with either 'instances' or 'inputs'")
    name, input_name = model.signature(document.get("signature_name"))
    values = document[forms[0]]
    values = values.get(input_name) if forms == ["inputs"] and isinstance(values, dict) else values
    if not isinstance(values, list) or not values:
        raise PredictorError(f"'{forms[0]}' is not a list with at least one value of {input_name}")
    return name, [read_bytes(value, input_name) for value in values], forms == ["instances"]


def read_bytes(value: Any, input_name: str) -> bytes:
    """Return the bytes of a string in JSON: text, {"b64": ...}, or either of them under the input's name."""
    value = value[input_name] if isinstance(value, dict) and list(value) == [input_name] else value
    try:
        return value.encode() if isinstance(value, str) else binascii.a2b_base64(value["b64"])
    except (TypeError, KeyError, ValueError):
        raise PredictorError(f'wanted a string, {{"b64": "<base64>"}}, or either under the key {input_name}') from None


async def serve(folder: Path, http_port: int, grpc_port: int) -> None:
    """Listen at once, load the model, and end on SIGTERM once what is in flight is answered."""
    predictor = Predictor(folder)
    rpc = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)])
    methods = {"Predict": predictor.predict, "GetModelMetadata": predictor.get_metadata}
    handlers = {name: grpc.unary_unary_rpc_method_handler(partial(predictor.rpc, method)) for name, method in methods.items()}
    rpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers)])
    rpc.add_insecure_port(f"0.0.0.0:{grpc_port}")
    server = uvicorn.Server(uvicorn.Config(predictor.rest, interface="asgi3", lifespan="off", log_config=None))
    with socket.create_server(("0.0.0.0", http_port), backlog=2048) as listener:
        await rpc.start()
        loading = asyncio.create_task(predictor.load(folder))
        loading.add_done_callback(lambda task: setattr(server, "should_exit", task.exception() is not None))
        await server.serve(sockets=[listener])
    await rpc.stop(GRACE_SECONDS)
    if not loading.done():
        os._exit(0)  # nothing ends the thread that loads
    loading.result()


def main() -> None:
    """Read the environment and serve."""
    sys.stderr = sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where TensorFlow greets, and quotes what it cannot decode
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn takes it first, drains, and hands it on
    ports = [int(os.environ.get(f"PREDICTOR_{kind}_PORT", port)) for kind, port in (("HTTP", 8090), ("GRPC", 8091))]
    try:
        uvloop.run(serve(Path(os.environ.get("MODEL_DIR", "/mnt/models")), *ports))
    except (ModelCardError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
