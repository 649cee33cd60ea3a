"""TensorFlow Serving's gRPC API over one servable."""

from collections.abc import Awaitable, Callable
from functools import partial

import grpc
from google.protobuf.message import DecodeError, Message

from serving.predictor.model import PredictorError, Servable

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
TYPED_FIELDS = {"float32": "float_val", "bool": "bool_val"}
SERVICE = "tensorflow.serving.PredictionService"


def grpc_server(servable: Servable, port: int) -> grpc.aio.Server:
    """Return a server of Predict and GetModelMetadata, bound to a port and not yet started.

    Raises:
        RuntimeError: The port is in use.
    """
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)])
    methods = {"Predict": _predict, "GetModelMetadata": _get_metadata}
    handlers = {name: grpc.unary_unary_rpc_method_handler(partial(_handle, servable, method)) for name, method in methods.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"0.0.0.0:{port}")
    return server


async def _handle(
    servable: Servable,
    method: Callable[[Servable, bytes], Awaitable[Message]],
    message: bytes,
    context: grpc.aio.ServicerContext,
) -> bytes:
    """Handle one call; convert an error into a gRPC status."""
    try:
        _ = servable.model  # before a method imports TensorFlow: two threads that import it can deadlock
        return (await method(servable, message)).SerializeToString()
    except (PredictorError, DecodeError) as error:
        return await context.abort(grpc.StatusCode[getattr(error, "code", "INVALID_ARGUMENT")], str(error))


async def _predict(servable: Servable, message: bytes) -> Message:
    from tensorflow import make_tensor_proto
    from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

    request = PredictRequest.FromString(message)
    servable.check(request.model_spec.name, request.model_spec.version.value)
    signature, input_name = servable.model.signature(request.model_spec.signature_name, "FAILED_PRECONDITION")
    images = list(request.inputs[input_name].string_val)
    if list(request.inputs) != [input_name] or not images:
        raise PredictorError(f"inputs: expected only {input_name}, DT_STRING [N] with N > 0")
    outputs = await servable.run(signature, images)
    names = list(request.output_filter) or list(outputs)
    if len(set(names) & set(outputs)) != len(names):
        raise PredictorError(f"output_filter: expected names out of {', '.join(outputs)}, each once")
    response = PredictResponse(model_spec=servable.spec(signature))
    for name in names:
        tensor, values = response.outputs[name], outputs[name]
        tensor.CopyFrom(make_tensor_proto(values))
        if field := TYPED_FIELDS.get(values.dtype.name):  # TensorFlow Serving fills the typed field, and clients read it
            getattr(tensor, field)[:] = values.ravel().tolist()
            tensor.tensor_content = b""
    return response


async def _get_metadata(servable: Servable, message: bytes) -> Message:
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest

    spec = GetModelMetadataRequest.FromString(message).model_spec
    servable.check(spec.name, spec.version.value)
    return servable.metadata()
