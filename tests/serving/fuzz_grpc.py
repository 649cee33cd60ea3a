"""Invalid messages for the gRPC service."""

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

from tests.brain_tumor.test_frames import SEVERAL
from tests.serving.fuzz_binary import BLOB
from tests.serving.fuzz_client import GOOD, MARKER

Message: TypeAlias = Any  # protobuf makes its classes at run time


def infer() -> Message:
    """Return a valid message."""
    message = messages.ModelInferRequest(model_name="brain-tumor", id=MARKER)
    tensor = message.inputs.add(name="image_bytes", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(GOOD)
    return message


def raw(*blobs: bytes) -> Message:
    """Return a message with raw contents."""
    message = infer()
    message.inputs[0].ClearField("contents")
    message.raw_input_contents.extend(blobs)
    return message


def field(number: int, data: bytes) -> bytes:
    """Encode a field in the wire format: its number, its length in groups of seven bits, its bytes."""
    length = [len(data) >> 7 * group & 127 | 128 for group in range(4)] + [0]
    return bytes([number << 3 | 2, *length]) + data


def changed(change: Callable[[Message], object]) -> Message:
    message = infer()
    change(message)
    return message


def _tensor(**values: object) -> Message:
    def change(message: Message) -> None:
        for name, value in values.items():
            setattr(message.inputs[0], name, value)

    return changed(change)


def _shape(*shape: int) -> Message:
    return changed(lambda message: message.inputs[0].shape.__setitem__(slice(None), shape))


def _image(data: bytes) -> Message:
    return changed(lambda message: message.inputs[0].contents.bytes_contents.__setitem__(0, data))


LARGE = _image(bytes(31 << 20))
# Invalid messages, and the status of each.
INVALID: dict[str, tuple[Message | bytes, str]] = {
    "empty": (messages.ModelInferRequest(), "NOT_FOUND"),
    "other model": (changed(lambda message: setattr(message, "model_name", MARKER)), "NOT_FOUND"),
    "other version": (changed(lambda message: setattr(message, "model_version", "9")), "NOT_FOUND"),
    "version that is no number": (changed(lambda message: setattr(message, "model_version", MARKER)), "NOT_FOUND"),
    "no message": (b"\xff" * 20, "INVALID_ARGUMENT"),
    "cut off": (infer().SerializeToString()[:-5], "INVALID_ARGUMENT"),
    "text that is no UTF-8": (b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT"),
    "other tensor": (_tensor(name=MARKER), "INVALID_ARGUMENT"),
    "other type": (_tensor(datatype="FP32"), "INVALID_ARGUMENT"),
    "half floats": (_tensor(datatype="FP16"), "INVALID_ARGUMENT"),
    "unknown type": (_tensor(datatype=MARKER), "INVALID_ARGUMENT"),
    "no type": (_tensor(datatype=""), "INVALID_ARGUMENT"),
    "no contents": (raw(), "INVALID_ARGUMENT"),
    "two inputs": (changed(lambda message: message.inputs.add().CopyFrom(message.inputs[0])), "INVALID_ARGUMENT"),
    "no input": (changed(lambda message: message.ClearField("inputs")), "INVALID_ARGUMENT"),
    "33 images": (changed(lambda message: message.inputs[0].contents.bytes_contents.extend([GOOD] * 32)), "INVALID_ARGUMENT"),
    **{f"shape {shape}": (_shape(*shape), "INVALID_ARGUMENT") for shape in [(), (0,), (-1,), (2,), (33,), (1, 2), (2**62, 4)]},
    "raw and other contents": (changed(lambda message: message.raw_input_contents.append(BLOB)), "INVALID_ARGUMENT"),
    "raw contents twice": (raw(BLOB, BLOB), "INVALID_ARGUMENT"),
    "empty raw contents": (raw(b""), "INVALID_ARGUMENT"),
    "raw contents of a length": (raw(b"\xff\xff\xff\xff"), "INVALID_ARGUMENT"),
    "raw contents of 8 million elements": (raw(bytes(31 << 20)), "INVALID_ARGUMENT"),
    "longer raw contents": (raw(struct.pack("<I", len(GOOD) + 1) + GOOD), "INVALID_ARGUMENT"),
    "explain is text": (changed(lambda message: setattr(message.parameters["explain"], "string_param", "x")), "INVALID_ARGUMENT"),
    "explain is a number": (
        changed(lambda message: setattr(message.parameters["explain"], "int64_param", 1)),
        "INVALID_ARGUMENT",
    ),
    "frame is text": (changed(lambda message: setattr(message.parameters["frame"], "string_param", "1")), "INVALID_ARGUMENT"),
    "frame 0": (changed(lambda message: setattr(message.parameters["frame"], "int64_param", 0)), "INVALID_ARGUMENT"),
    "frame -2**63": (
        changed(lambda message: setattr(message.inputs[0].parameters["frame"], "int64_param", -(2**63))),
        "INVALID_ARGUMENT",
    ),
    "several images": (_image(SEVERAL["TIFF"]), "INVALID_ARGUMENT"),
    "unknown output": (changed(lambda message: message.outputs.add(name=MARKER)), "INVALID_ARGUMENT"),
    "no image": (_image(MARKER.encode()), "INVALID_ARGUMENT"),
    "DICOM": (_image(bytes(128) + b"DICM" + MARKER.encode()), "INVALID_ARGUMENT"),
    "large image": (_image(bytes(11 << 20)), "RESOURCE_EXHAUSTED"),
    "large message": (_image(bytes(33 << 20)), "RESOURCE_EXHAUSTED"),
    "1.5 million inputs": (infer().SerializeToString() + b"\x2a\x07\x12\x05BYTES" * 1_500_000, "INVALID_ARGUMENT"),
    "15 million elements": (
        infer().SerializeToString() + field(5, field(2, b"BYTES") + field(5, b"\x42\0" * 15_000_000)),
        "INVALID_ARGUMENT",
    ),
}
OTHERS: dict[str, tuple[Any, str]] = {
    "RepositoryModelLoad": (messages.RepositoryModelLoadRequest(model_name="brain-tumor"), "NOT_FOUND"),
    "RepositoryModelUnload": (messages.RepositoryModelUnloadRequest(model_name="brain-tumor"), "NOT_FOUND"),
    "ModelReady": (messages.ModelReadyRequest(name=MARKER), "NOT_FOUND"),
    "ModelMetadata": (messages.ModelMetadataRequest(name="brain-tumor", version=MARKER), "NOT_FOUND"),
    "RepositoryIndex": (b"", "UNIMPLEMENTED"),
    MARKER: (b"", "UNIMPLEMENTED"),
}


@st.composite
def broken(draw: st.DrawFn) -> Message | bytes:
    """Generate a message with some invalid fields, and sometimes damaged bytes."""
    message = raw(BLOB) if draw(st.booleans()) else infer()
    tensor = message.inputs[0]
    texts = st.sampled_from(["", MARKER, "BYTES", "bytes", "FP32", "UINT8", "image_bytes", "\0"]) | st.text(max_size=5)
    for _ in range(draw(st.integers(0, 2))):
        match draw(st.integers(0, 8)):
            case 0:
                tensor.name = draw(texts)
            case 1:
                tensor.datatype = draw(texts)
            case 2:
                tensor.shape[:] = draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 34), max_size=3))
            case 3:
                tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=9), max_size=3)))
            case 4:
                tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=3)))
            case 5:
                message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=9) | st.just(BLOB), max_size=2)))
            case 6:
                message.outputs.add(name=draw(texts))
            case 7:
                setattr(message.parameters["explain"], draw(st.sampled_from(["bool_param", "int64_param"])), 1)
            case _:
                message.inputs.add(name=draw(texts), datatype=draw(texts))
    if draw(st.integers(0, 3)):
        return message
    data = message.SerializeToString()
    start = draw(st.integers(0, len(data)))
    return data[:start] + draw(st.binary(max_size=4)) + data[start + draw(st.integers(0, 9)) :]
