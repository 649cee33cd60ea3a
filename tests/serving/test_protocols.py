"""Requests and responses of each protocol, and the errors of invalid requests."""

import base64
import binascii
import codecs
import json
import zlib
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as v2_pb2
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from brain_tumor.phantoms import phantom_pngs
from tests.brain_tumor.test_appearance import IN_ALPHA_ALONE, hidden
from tests.brain_tumor.test_images import encode
from tests.brain_tumor.test_unsupported import DICOMS, NAMED
from tests.serving import clients
from tests.serving.clients import INFER, PNG, V1
from tests.serving.conftest import Pair


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header declares another size than it has."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]


TENSOR = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": ["aGk="]}
DICOM = b"\0" * 128 + b"DICM" + b"\0" * 100


def assert_error(response: httpx.Response, status: int, code: str, *parts: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert set(body) == {"error", "code"}
    for part in parts:
        assert part in body["error"]


def test_prediction_has_the_documented_fields(service: Pair) -> None:
    plain = httpx.post(f"{service.url}/predict", files=clients.form(PNG)).json()
    assert list(plain) == [
        *("label", "probability", "threshold", "confidence", "in_distribution", "uncertain"),
        *("explanation", "model", "warnings", "warning_codes"),
    ]
    assert plain["label"] in ("no_tumor", "tumor")
    assert plain["threshold"] == 0.5
    assert plain["confidence"] == pytest.approx(max(plain["probability"], 1 - plain["probability"]))
    assert plain["model"] == {"name": "brain-tumor", "version": "1"}
    assert "phantoms" in plain["warnings"][0]
    flags = {"synthetic_model": True, "unlike_training": plain["in_distribution"] < 0.5, "uncertain": plain["uncertain"]}
    assert plain["warning_codes"] == [code for code, raised in flags.items() if raised]

    explained = httpx.post(f"{service.url}/predict?explain=true", files=clients.form(PNG)).json()
    assert set(explained) - set(plain) == {"heatmap", "overlay_png"}
    height, width = explained["heatmap"]["shape"]
    assert len(explained["heatmap"]["values"]) == height * width
    assert explained["heatmap"]["label"] == explained["label"]


@pytest.mark.parametrize(
    ("verb", "signature", "explained"),
    [
        ("predict", "explain", True),
        ("predict", "serving_default", False),
        ("predict", "", False),
        ("predict", None, False),
        ("explain", "explain", True),
        ("explain", None, True),
    ],
)
def test_v1_signature_chooses_the_explanation(verb: str, signature: str | None, explained: bool, service: Pair) -> None:
    chosen = httpx.post(f"{service.url}{V1}:{verb}", json=clients.instances([PNG]) | {"signature_name": signature}).json()
    by_route = httpx.post(f"{service.url}{V1}:{'explain' if explained else 'predict'}", json=clients.instances([PNG])).json()
    assert chosen == by_route
    assert ("heatmap" in chosen["predictions"][0]) == explained


@pytest.mark.parametrize(("verb", "signature"), [("explain", "serving_default"), ("predict", "train"), ("explain", 7)])
def test_v1_signature_that_the_route_has_not_is_rejected(verb: str, signature: object, service: Pair) -> None:
    for body in (clients.instances([PNG]), {"inputs": [clients.b64(PNG)]}):
        response = httpx.post(f"{service.url}{V1}:{verb}", json=body | {"signature_name": signature})
        assert_error(response, 400, "bad_request", "signature_name")


def test_v1_request_by_column_is_answered_by_column(service: Pair) -> None:
    images = phantom_pngs(2)
    encoded = [clients.b64(data) for data in images]
    rows = httpx.post(f"{service.url}{V1}:explain", json=clients.instances(images)).json()["predictions"]
    for inputs in ({"image_bytes": encoded}, encoded, [{"image_bytes": image} for image in encoded]):
        body = {"inputs": inputs, "signature_name": "explain"}
        columns = httpx.post(f"{service.url}{V1}:predict", json=body).json()
        assert columns.keys() == {"outputs"}
        assert [dict(zip(columns["outputs"], row, strict=True)) for row in zip(*columns["outputs"].values(), strict=True)] == rows
    assert set(httpx.post(f"{service.url}{V1}:predict", json={"inputs": encoded}).json()["outputs"]) == set(rows[0]) - {
        *("heatmap", "overlay_png")
    }
    damaged = {"inputs": {"image_bytes": [encoded[0], clients.b64(images[1][:100])]}}
    assert_error(httpx.post(f"{service.url}{V1}:predict", json=damaged), 400, "corrupt", "inputs[1]: ")


def test_form_field_explain_counts_as_the_query_does(service: Pair) -> None:
    def fields(query: str, data: dict[str, str]) -> set[str]:
        return set(httpx.post(f"{service.url}/predict{query}", files=clients.form(PNG), data=data).json())

    plain, explained = fields("", {}), fields("?explain=true", {})
    assert explained - plain == {"heatmap", "overlay_png"}
    assert fields("", {"explain": "true"}) == fields("?explain=false", {"explain": "1"}) == explained
    assert fields("", {"explain": "false"}) == plain
    assert fields("?explain=true", {"explain": "false"}) == explained
    response = httpx.post(f"{service.url}/predict", files=clients.form(PNG), data={"explain": "maybe"})
    assert_error(response, 422, "wrong_shape", "explain")


def test_v2_response_has_tensors_with_classes_and_threshold(service: Pair) -> None:
    response = httpx.post(f"{service.url}{INFER}", json=clients.tensors([PNG, PNG], id="42")).json()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "brain-tumor", "1")
    assert {output["name"]: (output["datatype"], output["shape"]) for output in response["outputs"]} == {
        "probability": ("FP32", [2, 1]),
        "label": ("BYTES", [2]),
        "in_distribution": ("FP32", [2]),
        "uncertain": ("BOOL", [2]),
        "heatmap": ("FP32", [2, 12, 12]),
        "overlay_png": ("BYTES", [2]),
    }
    assert response["parameters"]["classes"] == "no_tumor,tumor"
    assert response["parameters"]["threshold"] == 0.5


def test_v2_returns_only_the_requested_outputs(service: Pair) -> None:
    body = clients.tensors([PNG], outputs=[{"name": "label"}])
    assert [output["name"] for output in httpx.post(f"{service.url}{INFER}", json=body).json()["outputs"]] == ["label"]
    request = clients.infer_request([PNG]).to_grpc()
    request.outputs.add(name="probability")
    with grpc.insecure_channel(service.grpc) as channel:
        response = GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert [output.name for output in response.outputs] == ["probability"]


def test_grpc_accepts_typed_contents_as_well_as_raw_bytes(service: Pair) -> None:
    request = InferRequest("brain-tumor", [InferInput("image_bytes", [1], "BYTES", data=[PNG])], request_id="7")
    response = clients.infer(service.grpc, request)
    assert (response.id, response.parameters["threshold"].string_param) == ("7", "0.5")
    expected = clients.call_predict(service.url, PNG).probability
    assert np.frombuffer(response.raw_output_contents[0], np.float32) == pytest.approx(expected, abs=1e-5)


def test_every_protocol_reports_metadata_and_readiness(service: Pair) -> None:
    with grpc.insecure_channel(service.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(v2_pb2.ServerLiveRequest()).live
        assert stub.ServerReady(v2_pb2.ServerReadyRequest()).ready
        assert stub.ModelReady(v2_pb2.ModelReadyRequest(name="brain-tumor")).ready
        metadata = stub.ModelMetadata(v2_pb2.ModelMetadataRequest(name="brain-tumor"))
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [("image_bytes", "BYTES", [-1])]
    outputs = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs]
    assert outputs == [
        ("probability", "FP32", [-1, 1]),
        ("label", "BYTES", [-1]),
        ("in_distribution", "FP32", [-1]),
        ("uncertain", "BOOL", [-1]),
        ("heatmap", "FP32", [-1, -1, -1]),
        ("overlay_png", "BYTES", [-1]),
    ]
    described = httpx.get(f"{service.url}/v2/models/brain-tumor").json()["outputs"]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in described] == outputs
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", V1, "/v2/models/brain-tumor/ready"):
        assert httpx.get(service.url + path).status_code == 200, path
    assert httpx.get(f"{service.url}/v1/models").json() == {"models": ["brain-tumor"]}


def test_model_route_returns_model_json(service: Pair, tiny_model: Path) -> None:
    assert httpx.get(f"{service.url}/model").json() == json.loads((tiny_model / "assets.extra" / "model.json").read_text())


@pytest.mark.parametrize(
    ("data", "status", "code", "message"),
    [
        (b"", 400, "not_an_image", "empty"),
        (b"%PDF-1.7 not an image", 400, "not_an_image", "not an image"),
        (PNG[:-40], 400, "corrupt", "PNG"),
        (DICOM, 400, "corrupt", "DICOM file is corrupt or truncated"),
        (DICOMS["implicit"], 415, "unsupported_type", "DICOM file holds no image"),
        (NAMED["NIfTI, compressed"][0], 415, "unsupported_type", "NIfTI volumes are not accepted"),
        (NAMED["HEIC"][0], 415, "unsupported_type", "HEIC (HEIF) images are not accepted"),
        (NAMED["JPEG-LS"][0], 415, "unsupported_type", "JPEG-LS images are not accepted"),
        (NAMED["TIFF, 64-bit float"][0], 415, "unsupported_type", "64-bit floating-point samples"),
        (IN_ALPHA_ALONE["grey"], 400, "invisible", "alpha channel alone"),
        (png_of_size(5_000, 5_000), 413, "too_large", "got 5000 x 5000 pixels, expected at most 16,000,000"),
        (png_of_size(70_000, 1), 413, "too_large", "expected sides of at most 65,535"),
        (PNG + b"\0" * 10_000_000, 413, "too_large", "10,000,000"),
    ],
    ids=lambda value: "image" if isinstance(value, bytes) else None,
)
def test_every_protocol_rejects_an_invalid_image_alike(data: bytes, status: int, code: str, message: str, service: Pair) -> None:
    assert_error(httpx.post(f"{service.url}/predict", files=clients.form(data)), status, code, message)
    for verb in ("predict", "explain"):
        response = httpx.post(f"{service.url}{V1}:{verb}", json=clients.instances([PNG, data]))
        assert_error(response, status, code, "instances[1]: ")
    assert_error(httpx.post(f"{service.url}{INFER}", json=clients.tensors([PNG, data])), status, code, "image_bytes[1]: ")
    with pytest.raises(grpc.RpcError) as rejected:
        clients.infer(service.grpc, clients.infer_request([data]))
    expected = grpc.StatusCode.RESOURCE_EXHAUSTED if status == 413 else grpc.StatusCode.INVALID_ARGUMENT
    assert rejected.value.code() == expected


def test_colours_below_transparency_make_no_difference(service: Pair) -> None:
    images = [encode(hidden(level), "PNG") for level in (0, 255)]
    assert images[0] != images[1]
    for call in (clients.call_v1, clients.call_v2):
        black, white = call(service.url, images)
        assert black.probability == pytest.approx(white.probability, abs=1e-5)
        np.testing.assert_array_equal(black.overlay, white.overlay)


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{", 400, "bad_request", "not valid JSON"),
        (b'{"instances": NaN}', 400, "bad_request", "not valid JSON"),
        (b"[" * 5_000, 400, "bad_request", "not valid JSON"),
        (b"[" * 100_000, 422, "wrong_shape", "at most 10,000 values"),
        (b"\xff\xfe", 400, "bad_request", "not valid JSON"),
        (b"[]", 422, "wrong_shape", "no list `instances`"),
        (b'{"instances": []}', 422, "wrong_shape", "0 instances"),
        (b'{"instances": {"image_bytes": "x"}}', 422, "wrong_shape", "no list"),
        (b'{"instances": [], "inputs": []}', 422, "wrong_shape", "both"),
        (b'{"inputs": {}}', 422, "wrong_shape", "no list `inputs`"),
        (b'{"inputs": {"pixels": [{"b64": ""}]}}', 422, "wrong_shape", "no list `inputs`"),
        (b'{"inputs": []}', 422, "wrong_shape", "0 inputs"),
        (b'{"inputs": {"image_bytes": [7]}}', 422, "wrong_shape", "inputs[0]"),
        (b'{"instances": [7]}', 422, "wrong_shape", "instances[0]"),
        (b'{"instances": [{"image_bytes": "aGk="}]}', 422, "wrong_shape", "instances[0]"),
        (b'{"instances": [{"image_bytes": {"b64": "a"}}]}', 400, "bad_request", "instances[0]: not valid base64"),
        (b'{"instances": [{"image_bytes": {"b64": "\xc3\xa9"}}]}', 400, "bad_request", "instances[0]: not valid base64"),
        (json.dumps(clients.instances([PNG] * 33)).encode(), 422, "wrong_shape", "33 instances"),
    ],
)
def test_v1_error_names_the_invalid_part(body: bytes, status: int, code: str, message: str, service: Pair) -> None:
    assert_error(httpx.post(f"{service.url}{V1}:predict", content=body), status, code, message)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"inputs": []}, "wrong_shape", "inputs: expected exactly one"),
        ({"inputs": 7}, "wrong_shape", "inputs"),
        ({"inputs": [TENSOR | {"name": "x"}]}, "wrong_shape", "image_bytes"),
        ({"inputs": [TENSOR | {"datatype": "FP32", "data": [1]}]}, "wrong_shape", "BYTES"),
        ({"inputs": [TENSOR | {"shape": [2]}]}, "wrong_shape", "got 1 elements, expected 2 by its shape"),
        ({"inputs": [TENSOR | {"shape": [-1]}]}, "wrong_shape", "[-1]"),
        ({"inputs": [TENSOR | {"data": [1]}]}, "wrong_shape", "expected elements of bytes"),
        ({"inputs": [TENSOR | {"data": ["#"]}]}, "bad_request", "base64"),
        ({"parameters": {"explain": "yes"}}, "wrong_shape", "`explain`"),
        ({"outputs": [{"name": "probabilities"}]}, "wrong_shape", "expected any of probability, label"),
    ],
)
def test_v2_error_names_the_invalid_part(change: dict[str, Any], code: str, message: str, service: Pair) -> None:
    response = httpx.post(f"{service.url}{INFER}", json=clients.tensors([PNG]) | change)
    assert_error(response, 400 if code == "bad_request" else 422, code, message)


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "10", ""])
def test_binary_extension_rejects_a_wrong_length(length: str, service: Pair) -> None:
    headers = {clients.JSON_LENGTH: length, "Content-Type": "application/octet-stream"}
    response = httpx.post(f"{service.url}{INFER}", content=b'{"inputs": []}' + PNG, headers=headers)
    assert_error(response, 400, "bad_request")


def test_form_without_exactly_one_file_is_rejected(service: Pair) -> None:
    assert_error(httpx.post(f"{service.url}/predict", files={"image": ("a", PNG)}), 422, "wrong_shape", "file")
    assert_error(httpx.post(f"{service.url}/predict", data={"file": "text"}), 415, "unsupported_type", "multipart/form-data")
    two = [("file", ("a", PNG)), ("file", ("b", PNG))]
    assert_error(httpx.post(f"{service.url}/predict", files=two), 422, "wrong_shape", "got 2 files")
    assert_error(httpx.post(f"{service.url}/predict?explain=maybe", files=clients.form(PNG)), 422, "wrong_shape", "explain")
    headers = {"Content-Type": "multipart/form-data"}
    assert_error(httpx.post(f"{service.url}/predict", content=PNG, headers=headers), 400, "bad_request")


def test_request_may_name_the_served_version_and_no_other(service: Pair) -> None:
    documents: dict[str, Any] = {
        f"{V1}/versions/%s": None,
        f"{V1}/versions/%s:predict": clients.instances([PNG]),
        f"{V1}/versions/%s:explain": clients.instances([PNG]),
        "/v2/models/brain-tumor/versions/%s": None,
        "/v2/models/brain-tumor/versions/%s/ready": None,
        "/v2/models/brain-tumor/versions/%s/infer": clients.tensors([PNG], id="1"),
    }
    for path, document in documents.items():
        method = "POST" if document else "GET"
        served = httpx.request(method, service.url + path % "1", json=document)
        assert served.status_code == 200, path
        assert served.json() == httpx.request(method, service.url + path.replace("/versions/%s", ""), json=document).json()
        for version in ("9", "0", "01", "latest", "%ff", "1%0a"):
            assert_error(httpx.request(method, service.url + path.replace("%s", version), json=document), 404, "not_found")
    assert httpx.get(f"{service.url}/v2/models/brain-tumor").json()["versions"] == ["1"]
    assert_error(httpx.get(f"{service.url}{V1}/versions/"), 404, "not_found")
    for path in (f"{V1}/versions/:predict", "/v2/models/brain-tumor/versions/:1", "/v2/models/other/versions/1"):
        assert_error(httpx.get(service.url + path), 404, "not_found")
    assert_error(httpx.get(f"{service.url}/v2/models/brain-tumor/versions/1/infer"), 405, "method_not_allowed")


def test_grpc_call_may_name_the_served_version_and_no_other(service: Pair) -> None:
    with grpc.insecure_channel(service.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        infer = clients.infer_request([PNG]).to_grpc()

        def call(version: str) -> list[Any]:
            infer.model_version = version
            ready = stub.ModelReady(v2_pb2.ModelReadyRequest(name="brain-tumor", version=version)).ready
            metadata = stub.ModelMetadata(v2_pb2.ModelMetadataRequest(name="brain-tumor", version=version))
            return [ready, list(metadata.versions), stub.ModelInfer(infer).model_version]

        assert call("1") == call("") == [True, ["1"], "1"]
        infer.model_version = "9"
        for method, request in (
            (stub.ModelReady, v2_pb2.ModelReadyRequest(name="brain-tumor", version="9")),
            (stub.ModelMetadata, v2_pb2.ModelMetadataRequest(name="brain-tumor", version="9")),
            (stub.ModelInfer, infer),
        ):
            with pytest.raises(grpc.RpcError) as rejected:
                method(request)
            assert rejected.value.code() == grpc.StatusCode.NOT_FOUND


def test_head_is_answered_where_get_is(service: Pair) -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", "/model", "/docs", "/openapi.json", V1, "/v2", "/v2/models/brain-tumor"):
        head, get = httpx.head(service.url + path), httpx.get(service.url + path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == get.headers["content-type"]
        assert path == "/metrics" or head.headers["content-length"] == get.headers["content-length"]
    assert httpx.head(f"{service.url}/docs/static/favicon.png").status_code == 200
    for path, status, allowed in (("/predict", 405, "POST"), ("/nowhere", 404, None), (f"{V1}/versions/9", 404, None)):
        head = httpx.head(service.url + path)
        assert (head.status_code, head.content, head.headers.get("allow")) == (status, b"", allowed)
    assert httpx.post(f"{service.url}/healthz").headers["allow"] == "GET, HEAD"


def base64_variants(data: bytes) -> dict[str, str]:
    """Return the ways in which clients write base64."""
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    return {
        "MIME": base64.encodebytes(data).decode(),
        "CRLF": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "URL-safe": url_safe,
        "URL-safe without padding": url_safe.rstrip("="),
        "data URI": f"data:image/png;base64,{standard}",
        "data URI with parameters": f"DATA:image/png;name=a.png;BASE64,{standard.replace('+', '%2B')}",
    }


def test_every_variant_of_base64_is_read(service: Pair) -> None:
    image = next(data for data in phantom_pngs(8) if set("+/") <= set(base64.b64encode(data).decode()) and len(data) % 3)
    expected = clients.call_v1(service.url, [image], "predict")[0].probability
    for name, text in base64_variants(image).items():
        v1 = httpx.post(f"{service.url}{V1}:predict", json={"instances": [{"image_bytes": {"b64": text}}]})
        assert clients.from_json(v1.json()["predictions"][0]).probability == pytest.approx(expected, abs=1e-5), name
        v2 = httpx.post(f"{service.url}{INFER}", json={"inputs": [TENSOR | {"data": [text]}]})
        assert v2.json()["outputs"][0]["data"] == pytest.approx(expected, abs=1e-5), name


def test_json_after_a_byte_order_mark_is_read(service: Pair) -> None:
    for path, document in ((f"{V1}:predict", clients.instances([PNG])), (INFER, clients.tensors([PNG]))):
        content = json.dumps(document).encode("utf-8-sig")
        assert httpx.post(service.url + path, content=content).status_code == 200
    content, headers = clients.binary_request([PNG])
    headers[clients.JSON_LENGTH] = str(int(headers[clients.JSON_LENGTH]) + 3)
    assert httpx.post(f"{service.url}{INFER}", content=codecs.BOM_UTF8 + content, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("before", "head", "data"),
    [
        (b"", b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%e5%9b%be.png\r\n", PNG),
        (b"", b"content-disposition:form-data;name=file;FILENAME*=utf-8'en'x\r\nContent-Type: image/png\r\n", PNG),
        (b"", b'Content-Disposition: form-data; name="file"; filename*0="a"; filename*1="b"\r\n', PNG),
        (b"", b'Content-Disposition: form-data; name="file"\r\nContent-Type: image/png\r\n', PNG),
        (b"--bx\r\n", b'Content-Disposition: form-data; name="file"; filename="a"\r\n', PNG),
        (b"This is a message in MIME format.\r\n\r\n", b'Content-Disposition: form-data; name="file"; filename="a"\r\n', PNG),
        (b"\r\n", b'Content-Disposition: form-data; name="file"; filename="a"\r\n', PNG),
        (
            b"",
            b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: base64\r\n',
            base64.encodebytes(PNG),
        ),
        (
            b"",
            b'Content-Transfer-Encoding: Quoted-Printable\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n',
            binascii.b2a_qp(PNG, istext=False),
        ),
        (
            b"",
            b'Content-Transfer-Encoding: binary\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n',
            PNG,
        ),
    ],
)
def test_every_variant_of_a_form_is_read(before: bytes, head: bytes, data: bytes, service: Pair) -> None:
    body = before + b"--b\r\n" + head + b"\r\n" + data + b"\r\n--b--\r\nepilogue"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{service.url}/predict", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert clients.from_json(response.json()).probability == pytest.approx(clients.call_predict(service.url, PNG).probability)


def test_form_with_broken_base64_is_rejected(service: Pair) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{service.url}/predict", content=body + PNG + b"\r\n--b--\r\n", headers=headers)
    assert_error(response, 400, "bad_request", "file: not valid base64")


def test_clients_cannot_load_or_unload_a_model(service: Pair) -> None:
    for verb in ("load", "unload"):
        assert_error(httpx.post(f"{service.url}/v2/repository/models/brain-tumor/{verb}"), 404, "not_found")
    with grpc.insecure_channel(service.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for call, request in (
            (stub.RepositoryModelLoad, v2_pb2.RepositoryModelLoadRequest(model_name="brain-tumor")),
            (stub.RepositoryModelUnload, v2_pb2.RepositoryModelUnloadRequest(model_name="brain-tumor")),
        ):
            with pytest.raises(grpc.RpcError) as rejected:
                call(request)
            assert rejected.value.code() == grpc.StatusCode.NOT_FOUND
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_unknown_model_route_or_method_is_rejected(service: Pair) -> None:
    assert_error(httpx.post(f"{service.url}/v1/models/other:predict", json=clients.instances([PNG])), 404, "not_found")
    assert_error(httpx.post(f"{service.url}/v2/models/other/infer", json=clients.tensors([PNG])), 404, "not_found")
    assert_error(httpx.get(f"{service.url}/nowhere"), 404, "not_found")
    assert_error(httpx.get(f"{service.url}/predict"), 405, "method_not_allowed")
    request = clients.infer_request([PNG])
    request.model_name = "other"
    with pytest.raises(grpc.RpcError) as rejected:
        clients.infer(service.grpc, request)
    assert rejected.value.code() == grpc.StatusCode.NOT_FOUND
