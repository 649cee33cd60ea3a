"""Invalid JSON bodies for V1 and V2."""

import copy
import json
from base64 import b64encode
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.serving.fuzz_client import GOOD, INFER, JSON, MARKER, PREDICT, Case, form, part

ENCODED = b64encode(GOOD).decode()
V1: dict[str, Any] = {"instances": [{"image_bytes": {"b64": ENCODED}}, {"b64": ENCODED}]}
COLUMNS: dict[str, Any] = {"inputs": {"image_bytes": [{"b64": ENCODED}]}, "signature_name": "explain"}
SIGNATURES: tuple[object, ...] = (0, 7, True, [], {}, "Explain", "predict", MARKER)
TENSOR: dict[str, Any] = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [ENCODED]}
V2: dict[str, Any] = {
    "id": MARKER,
    "inputs": [TENSOR],
    "parameters": {"explain": True},
    "outputs": [{"name": "label", "parameters": {"binary_data": False}}],
}
KEYS = (
    "instances",
    "signature_name",
    "image_bytes",
    "b64",
    "inputs",
    "shape",
    "datatype",
    "data",
    "parameters",
    "explain",
    "outputs",
    "id",
    MARKER,
)
CONTENT_TYPES: tuple[str | bytes, ...] = (
    *("", "text/plain", "application/octet-stream", "application/json; charset=utf-16", "application/x-www-form-urlencoded"),
    *(
        "application/cloudevents+json",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "image/png",
        MARKER,
        b"\xe9",
        ";;;=",
    ),
)
VALUES = (b"[],", b"0,", b"{},", b'{"name":"","shape":[],"datatype":"","data":[]},')


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


def whole(start: str, value: bytes, end: str, megabytes: int) -> bytes:
    """Return JSON with one value repeated up to a size in MiB."""
    return start.encode() + value * (megabytes * 2**20 // len(value)) + value[:-1] + end.encode()


def many_values() -> list[tuple[bytes, bytes]]:
    """Return V1 and V2 bodies with so many small values that their objects would take a gigabyte or more."""
    tensor = '{"inputs":[{"name":"image_bytes","shape":[1],"datatype":"BYTES","data":['
    parameters = json.dumps({"inputs": [TENSOR], "parameters": {str(number): 1 for number in range(200_000)}}).encode()
    return [
        (whole('{"instances":[', b"[],", "]}", 31), whole(tensor, b"[],", "]}]}", 18)),
        (whole('{"instances":[', b"0,", "]}", 31), whole('{"inputs":[', b"{},", "]}", 3)),
        (whole('{"instances":[', b'{"b64":""},', "]}", 31), whole('{"inputs":[', VALUES[-1], "]}", 3)),
        (whole('{"instances":[', b'"",', "]}", 31), parameters),
    ]


# Bodies that V1 and V2 reject with `bad_request`.
NOT_JSON = {
    "nothing": b"",
    "blanks": b" \r\n\t" * 1000,
    "zeros": bytes(1000),
    "text": MARKER.encode(),
    "NaN": b'{"instances": [NaN], "inputs": [NaN]}',
    "Infinity": b'{"instances": -Infinity, "inputs": Infinity}',
    "10,000 lists deep": b"[" * 10_000 + b"]" * 10_000,
    "10,000 objects deep": b'{"inputs":' * 10_000 + b"1" + b"}" * 10_000,
    "5,000 lists open": b'{"inputs":[{"shape":' + b"[" * 5000,
    "invalid UTF-8": b'{"instances": "\xff\xfe\xc0\x80"}',
    "lone surrogate": b'{"instances": ["\\ud800"], "inputs": [{"\\ud800": "\\ud800"}]}',
    "lone surrogate, encoded": b'{"instances": "\xed\xa0\x80"}',
    "UTF-16": json.dumps(V2 | V1).encode("utf-16"),
    "more after the end": json.dumps(V2 | V1).encode() + b"{}",
    "comment": b"// " + json.dumps(V2 | V1).encode(),
    "number of 400 digits": text({"instances": 10**400, "inputs": 10**400}),
    "single quotes": b"{'instances': [], 'inputs': []}",
    "trailing comma": b'{"instances": [],}',
    "an image": GOOD,
}
WRONG_SHAPE: dict[str, Any] = {
    "null": None,
    "number": 1e300,
    "text": MARKER,
    "list": [V1, V2],
    "empty": {},
    "none": {"instances": [], "inputs": []},
    "33 images": {"instances": [{"b64": ENCODED}] * 33, "inputs": [TENSOR | {"shape": [33], "data": [ENCODED] * 33}]},
    "other names": {"instances": [{"image": ENCODED}], "inputs": [TENSOR | {"name": MARKER}]},
    "no text": {"instances": [{"b64": 7}], "inputs": [TENSOR | {"data": [7]}]},
    "nested": {"instances": [[{"b64": ENCODED}]], "inputs": [[TENSOR]]},
    "nested data": {"instances": {"0": {"b64": ENCODED}}, "inputs": [TENSOR | {"data": [[[[ENCODED]]]], "shape": [1, 1, 1, 1]}]},
    "fewer data": {"instances": [None], "inputs": [TENSOR | {"shape": [2]}]},
    "shape of 2**70": {"instances": [2**70], "inputs": [TENSOR | {"shape": [2**70]}]},
    "shape below 0": {"instances": [-1], "inputs": [TENSOR | {"shape": [-1]}]},
    "shape with fractions": {"instances": [1.5], "inputs": [TENSOR | {"shape": [1.5]}]},
    "other type": {"instances": [True], "inputs": [TENSOR | {"datatype": "FP32"}]},
    "unknown type": {"instances": [""], "inputs": [TENSOR | {"datatype": MARKER}]},
    "explain is text": {"instances": "explain", "inputs": [TENSOR], "parameters": {"explain": "true"}},
    "unknown output": {"instances": 0, "inputs": [TENSOR], "outputs": [{"name": MARKER}]},
    "two inputs": {"instances": None, "inputs": [TENSOR, TENSOR]},
}
BASE64 = (ENCODED[:8] + "\r\n" + ENCODED[8:], " " + ENCODED, ENCODED.rstrip("="), f"data:image/png;base64,{ENCODED}")
NOT_BASE64 = (
    ENCODED[:5],
    ENCODED[1:],
    f"data:image/png,{ENCODED}",
    f"data:;base64,={ENCODED}",
    f"{MARKER}:;base64,{ENCODED}",
    "data:" * 100_000,
    "%2B" * 100_000,
    " " * 100_000,
    "_-_-",
    "äöü",
    "\ud800",
    "====",
    MARKER,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**400, MARKER, "", "\ud800", "\0", ENCODED, "image_bytes", "BYTES", "label"]),
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def positions(document: Any) -> list[tuple[Any, Any]]:
    """Return every container in a document, with each of its keys."""
    if not isinstance(document, dict | list):
        return []
    here = list(document) if isinstance(document, dict) else range(len(document))
    return [(document, key) for key in here] + [place for key in here for place in positions(document[key])]


@st.composite
def broken(draw: st.DrawFn, document: dict[str, Any]) -> bytes:
    """Change a document at one or two positions, and sometimes its text."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(positions(document) or [({"": 0}, "")]))
        match draw(st.integers(0, 3)):
            case 0:
                del container[key]
            case 1:
                container[key] = [container[key]] * draw(st.integers(0, 40))
            case _:
                container[key] = draw(junk)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 5)) == 0:  # a duplicate key
        text = "{" + json.dumps({draw(st.sampled_from(KEYS)): draw(junk)})[1:-1] + ", " + text[1:]
    body = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 5)) == 0:
        start = draw(st.integers(0, len(body)))
        body = body[:start] + draw(st.binary(max_size=4)) + body[start + draw(st.integers(0, 9)) :]
    return body


def _without(document: Any, key: str) -> Any:
    return {name: value for name, value in document.items() if name != key} if isinstance(document, dict) else document


def cases() -> Iterator[Case]:
    """Generate each invalid document for every route of V1 and V2, and valid ones with any content type."""
    documents = {name: (text(_without(document, "inputs")), text(document)) for name, document in WRONG_SHAPE.items()}
    for path in (PREDICT, PREDICT.replace("predict", "explain"), INFER):
        for name, body in NOT_JSON.items():
            yield Case(name, {"bad_request"}, path, body, (JSON,))
        for name, (v1, v2) in documents.items():
            yield Case(name, {"wrong_shape"}, path, v2 if path == INFER else v1, (JSON,))
    for name, document in {"both": V1 | COLUMNS, "no column": {"inputs": {}}, "other": {"inputs": {MARKER: []}}}.items():
        yield Case(name, {"wrong_shape"}, PREDICT, text(document), (JSON,))
    for signature in SIGNATURES:
        for document in (V1, COLUMNS):
            yield Case(f"{signature!r}", {"bad_request"}, PREDICT, text(document | {"signature_name": signature}), (JSON,))
    for encoded in NOT_BASE64:
        codes = {"bad_request", "not_an_image"}
        yield Case("V1, no base64", codes, PREDICT, text({"instances": [{"b64": encoded}]}), (JSON,))
        yield Case("V2, no base64", codes, INFER, text({"inputs": [TENSOR | {"data": [encoded]}]}), (JSON,))
    for encoded in BASE64:
        yield Case("V1, base64", {""}, PREDICT, text({"instances": [{"b64": encoded}]}), (JSON,))
        yield Case("V2, base64", {""}, INFER, text({"inputs": [TENSOR | {"data": [encoded]}]}), (JSON,))
    for path, document in [(PREDICT, V1), (INFER, V2)]:
        yield Case("after a BOM", {""}, path, BOM_UTF8 + text(document), (JSON,))
        yield Case("after two BOMs", {"bad_request"}, path, BOM_UTF8 * 2 + text(document), (JSON,))
        yield Case("UTF-16", {"bad_request"}, path, text(document).decode().encode("utf-16"), (JSON,))
        for content_type in CONTENT_TYPES:  # KServe's and TensorFlow Serving's clients send any
            headers = (("Content-Type", content_type), ("Ce-Id", MARKER), ("Ce-Source", MARKER))
            yield Case(f"as {content_type!r}", {""}, path, text(document), headers)
        body, form_type = form([part(GOOD)])
        yield Case("a form", {"bad_request"}, path, body, (form_type,))
