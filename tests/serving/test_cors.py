"""Calls from web pages of other origins."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serving import clients
from tests.serving.clients import INFER, PNG, V1, explain
from tests.serving.conftest import ORIGIN, Pair, Transformer
from tests.serving.fake_predictor import FakePredictor

ALLOW_ORIGIN = "access-control-allow-origin"


def preflight(url: str, *, origin: str = ORIGIN, method: str = "POST", headers: str = "content-type") -> httpx.Response:
    fields = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return httpx.options(url, headers=fields)


@pytest.mark.parametrize("path", ["/predict", f"{V1}:predict", f"{V1}:explain", INFER, "/model"])
def test_preflight_allows_every_header_that_the_service_reads(path: str, served: Transformer) -> None:
    names = "authorization,content-type,content-encoding,inference-header-content-length,traceparent,x-request-id"
    response = preflight(served.url + path, headers=names)
    assert (response.status_code, response.headers[ALLOW_ORIGIN]) == (200, ORIGIN)
    assert set(names.split(",")) <= set(response.headers["access-control-allow-headers"].lower().split(", "))
    assert preflight(served.url + path, origin="https://other.example").status_code == 400
    assert preflight(served.url + path, method="DELETE").status_code == 400
    assert preflight(served.url + path, headers="x-other").status_code == 400


def test_every_response_to_an_allowed_origin_may_be_read(served: Transformer, fake_predictor: FakePredictor) -> None:
    headers = {"Origin": ORIGIN}
    responses = [
        explain(served.url, headers=headers),
        httpx.get(f"{served.url}/model", headers=headers),
        httpx.get(f"{served.url}/nowhere", headers=headers),
        httpx.get(f"{served.url}/predict", headers=headers),
        httpx.post(f"{served.url}/predict", content=b"x", headers=headers),
        httpx.post(f"{served.url}/predict", files=clients.form(PNG[:50]), headers=headers),
        httpx.post(f"{served.url}{V1}:predict", content=b"x" * (33 << 20), headers=headers, timeout=20),
        httpx.post(f"{served.url}{V1}:predict", content=b"x", headers=headers | {"Content-Encoding": "br"}),
    ]
    fake_predictor.delay_seconds = 1
    with ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(explain, served.url) for _ in range(2)]
        time.sleep(0.4)
        responses.append(explain(served.url, headers=headers))
        assert [response.result().headers.get(ALLOW_ORIGIN) for response in accepted] == [None, None]
    assert [response.status_code for response in responses] == [200, 200, 404, 405, 415, 400, 413, 415, 429]
    assert {response.headers[ALLOW_ORIGIN] for response in responses} == {ORIGIN}
    exposed = responses[-1].headers["access-control-expose-headers"].lower().split(", ")
    assert set(exposed) == {"x-request-id", "retry-after", "inference-header-content-length"}
    fake_predictor.delay_seconds = 0
    assert ALLOW_ORIGIN not in explain(served.url, headers={"Origin": "https://pacs.example.org"}).headers


def test_no_origin_is_allowed_by_default(service: Pair) -> None:
    assert ALLOW_ORIGIN not in explain(service.url, headers={"Origin": ORIGIN}).headers
    assert preflight(f"{service.url}/predict").status_code == 405
