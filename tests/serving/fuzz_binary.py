"""Invalid requests of V2's binary extension: JSON, its length in a header, and each element after its own length."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.serving.fuzz_client import GOOD, INFER, MARKER, Case, Header
from tests.serving.fuzz_documents import TENSOR

LENGTH = "Inference-Header-Content-Length"
CONTENT_TYPE: Header = ("Content-Type", "application/octet-stream")
BLOB = struct.pack("<I", len(GOOD)) + GOOD
# Invalid or wrong lengths of the JSON part.
LENGTHS: tuple[str | bytes, ...] = (
    "-1",
    "0",
    "1",
    "+5",
    "0x10",
    "1e3",
    "1.0",
    "",
    " ",
    "abc",
    "5, 5",
    "9" * 30,
    "9" * 5000,
    b"\xb2",
    b"\xd9\xa1",
    MARKER,
)


def binary(blob: bytes, size: object = None, **changes: Any) -> bytes:
    """Return the JSON part for a blob."""
    tensor = {name: value for name, value in TENSOR.items() if name != "data"} | changes
    return json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(blob) if size is None else size}}]}).encode()


INVALID_BLOBS = {
    "nothing": b"",
    "a byte": b"\0",
    "a length only": b"\xff\xff\xff\xff",
    "a longer length": struct.pack("<I", len(GOOD) + 1) + GOOD,
    "a shorter length": struct.pack("<I", len(GOOD) - 1) + GOOD,
    "the other byte order": struct.pack(">I", len(GOOD)) + GOOD,
    "no length": GOOD,
    "2**31": struct.pack("<I", 2**31) + GOOD,
    "two elements": BLOB * 2,
    "8 million elements": bytes(31 << 20),
}


@st.composite
def broken(draw: st.DrawFn) -> tuple[bytes, str | bytes, bytes]:
    """Generate a JSON part, the header with its length, and the bytes after it."""
    lengths = st.sampled_from([0, 1, len(GOOD) - 1, len(GOOD), len(GOOD) + 1, 2**31, 2**32 - 1])
    blob = b"".join(
        struct.pack("<I", draw(lengths)) + draw(st.sampled_from([GOOD, b"", b"x"])) for _ in range(draw(st.integers(0, 3)))
    )
    sizes: st.SearchStrategy[Any] = st.sampled_from([None, 0, -1, 2**70, len(blob) + 1, "7", True, 1.5, [], MARKER])
    shape = draw(st.sampled_from([[1], [2], [0], [], [1, 1], [-1]]))
    head = binary(blob, draw(st.none() | sizes), shape=shape)
    correct = str(len(head))
    return head, draw(st.sampled_from([correct, correct, correct, str(len(head) - 1), str(len(head) + 1), *LENGTHS])), blob


def cases() -> Iterator[Case]:
    """Generate requests with wrong lengths of the JSON part, and with invalid bytes after it."""
    start = binary(BLOB)
    for length in LENGTHS:
        yield Case(f"length {length[:40]!r}", {"bad_request"}, INFER, start + BLOB, (CONTENT_TYPE, (LENGTH, length)))
    for name, blob in INVALID_BLOBS.items():
        start = binary(blob)
        yield Case(name, {"wrong_shape"}, INFER, start + blob, (CONTENT_TYPE, (LENGTH, str(len(start)))))
