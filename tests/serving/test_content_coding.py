"""Compressed request bodies, of every protocol."""

import gzip
import json
import zlib
from collections.abc import Callable

import grpc
import httpx
import numpy as np
import pytest

from tests.serving import clients
from tests.serving.clients import INFER, PNG, V1
from tests.serving.conftest import Pair
from tests.serving.test_protocols import assert_error

V1_BODY = json.dumps(clients.instances([PNG])).encode()


def deflate(body: bytes) -> bytes:
    """Compress without zlib's header, as some clients do."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP": lambda body: gzip.compress(body[:1000]) + gzip.compress(b"") + gzip.compress(body[1000:]) + bytes(512),
    "deflate": zlib.compress,
    "deflate,": deflate,
    "identity": bytes,
    "": bytes,
    "deflate, identity , gzip": lambda body: gzip.compress(zlib.compress(body)),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_route_accepts_a_compressed_body(coding: str, service: Pair) -> None:
    expected = clients.call_predict(service.url, PNG)
    form = httpx.Request("POST", service.url, files=clients.form(PNG))
    binary, binary_headers = clients.binary_request([PNG])
    for path, body, headers in (
        ("/predict?explain=true", form.read(), {"Content-Type": form.headers["content-type"]}),
        (f"{V1}:explain", V1_BODY, {}),
        (INFER, json.dumps(clients.tensors([PNG])).encode(), {}),
        (INFER, binary, binary_headers),
    ):
        headers["Content-Encoding"] = coding
        response = httpx.post(service.url + path, content=CODINGS[coding](body), headers=headers)
        assert response.status_code == 200, path
        chunks = (CODINGS[coding](body)[start : start + 999] for start in range(0, len(CODINGS[coding](body)), 999))
        chunked = httpx.post(service.url + path, content=chunks, headers=headers)
        assert chunked.status_code == 200, path
        if path.startswith("/predict"):
            assert np.allclose(clients.from_json(response.json()).probability, expected.probability, atol=1e-5)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip;q=1", "*", ",".join(["gzip"] * 5)])
def test_unknown_coding_gets_415_with_the_known_ones(coding: str, service: Pair) -> None:
    response = httpx.post(f"{service.url}{V1}:predict", content=V1_BODY, headers={"Content-Encoding": coding})
    assert_error(response, 415, "unsupported_type", "Content-Encoding: expected gzip or deflate")
    assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", V1_BODY, "not valid gzip"),
        ("gzip", b"", "truncated"),
        ("gzip", gzip.compress(V1_BODY)[:-1], "truncated"),
        ("gzip", gzip.compress(V1_BODY) + gzip.compress(V1_BODY)[:20], "truncated"),
        ("gzip", gzip.compress(V1_BODY) + V1_BODY, "not valid gzip"),
        ("gzip", gzip.compress(V1_BODY)[:-8] + bytes(8), "not valid gzip"),
        ("gzip", gzip.compress(b"") * 2000, "after the end"),
        ("deflate", V1_BODY, "deflate"),
        ("deflate", zlib.compress(V1_BODY)[:-1], "truncated"),
        ("deflate", deflate(V1_BODY)[:-1], "truncated"),
        ("deflate", zlib.compress(V1_BODY) + b"x", "after the end"),
        ("gzip, deflate", zlib.compress(gzip.compress(V1_BODY)[:-1]), "the gzip data is truncated"),
        ("deflate, gzip", zlib.compress(gzip.compress(V1_BODY)), "not valid gzip"),
    ],
)
def test_damaged_compressed_body_gets_400(coding: str, body: bytes, message: str, service: Pair) -> None:
    response = httpx.post(f"{service.url}{V1}:predict", content=body, headers={"Content-Encoding": coding})
    assert_error(response, 400, "bad_request", message)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_grpc_accepts_compressed_messages_within_the_limit(compression: grpc.Compression, service: Pair) -> None:
    assert clients.infer(service.grpc, clients.infer_request([PNG]), compression=compression).model_name == "brain-tumor"
    with pytest.raises(grpc.RpcError) as rejected:
        clients.infer(service.grpc, clients.infer_request([bytes(64 << 20)]), compression=compression)
    assert rejected.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
