"""FUZZ_REQUESTS invalid requests: the service rejects each with the right code, survives, and logs no client data."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brain_tumor.dicom import DECODER_BYTES
from tests.serving import (
    fuzz_binary,
    fuzz_codings,
    fuzz_dicom,
    fuzz_documents,
    fuzz_forms,
    fuzz_grpc,
    fuzz_http,
    fuzz_images,
    fuzz_series,
    fuzz_several,
)
from tests.serving.conftest import Pair
from tests.serving.fuzz_client import GOOD, INFER, JSON, PREDICT, REQUESTS, Fuzzer, Header, checked, form, head, part

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
CHECKS += "response_schema_conformance,negative_data_rejection,unsupported_method,missing_required_header"
OPERATIONS = 18
MAX_SHARED_BYTES = 200 * 2**20  # of libraries, in a process that reads DICOM
CLIENT_CODES = {"", "bad_request", "wrong_shape", "not_an_image", "corrupt", "too_large", "unsupported_type"}
CLIENT_CODES |= {"several_images", "invisible"}
SERIES_CODES = {"several_series", "too_many_slices"}
CASES = {
    "documents": fuzz_documents.cases,
    "binary extension": fuzz_binary.cases,
    "images": fuzz_images.cases,
    "several images": fuzz_several.cases,
    "forms": fuzz_forms.cases,
    "series": fuzz_series.cases,
    "HTTP": fuzz_http.cases,
    "codings": fuzz_codings.cases,
}


def fraction(value: float) -> settings:
    """Make Hypothesis send this fraction of FUZZ_REQUESTS, with the same requests in every run."""
    return settings(
        max_examples=ceil(REQUESTS * value),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def fuzzer(service: Pair) -> Iterator[Fuzzer]:
    fuzzer = Fuzzer(service)
    yield fuzzer
    fuzzer.close()


@pytest.fixture(autouse=True)
def check_service_survives(fuzzer: Fuzzer) -> Iterator[None]:
    """Check the service after each test."""
    yield
    fuzzer.check_survival()


def test_service_conforms_to_its_schema(fuzzer: Fuzzer, tmp_path: Path) -> None:
    """Schemathesis derives requests from the OpenAPI schema."""
    each = str(ceil(REQUESTS * 0.3 / OPERATIONS))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{fuzzer.service.url}/openapi.json", "--seed=0"]
    command += ["--phases=examples,coverage,fuzzing", f"--max-examples={each}", f"--checks={CHECKS}", "--continue-on-failure"]
    command += ["--warnings=off", "--report=har", "--report-har-path=sent.har"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    for entry in json.loads((tmp_path / "sent.har").read_text())["log"]["entries"]:
        fuzzer.count(entry["response"]["status"])
    assert run.returncode == 0, run.stdout


@fraction(0.15)
@given(st.sampled_from([fuzz_documents.V1, fuzz_documents.COLUMNS]).flatmap(fuzz_documents.broken))
def test_broken_v1_body_is_rejected(fuzzer: Fuzzer, body: bytes) -> None:
    assert fuzzer.request(PREDICT, body, [JSON]).code in CLIENT_CODES


@fraction(0.15)
@given(fuzz_documents.broken(fuzz_documents.V2))
def test_broken_v2_body_is_rejected(fuzzer: Fuzzer, body: bytes) -> None:
    assert fuzzer.request(INFER, body, [JSON]).code in CLIENT_CODES


@fraction(0.1)
@given(fuzz_binary.broken())
def test_broken_binary_extension_is_rejected(fuzzer: Fuzzer, request_parts: tuple[bytes, str | bytes, bytes]) -> None:
    start, length, blob = request_parts
    headers: list[Header] = [fuzz_binary.CONTENT_TYPE, (fuzz_binary.LENGTH, length)]
    assert fuzzer.request(INFER, start + blob, headers).code in CLIENT_CODES


@fraction(0.1)
@given(fuzz_codings.broken())
def test_broken_compressed_body_is_rejected(fuzzer: Fuzzer, compressed: fuzz_codings.Compressed) -> None:
    headers: list[Header] = [JSON, ("Content-Encoding", compressed.coding)]
    assert fuzzer.request(PREDICT, compressed.body, headers).code in CLIENT_CODES


@fraction(0.15)
@given(fuzz_grpc.broken())
def test_broken_grpc_message_is_rejected(fuzzer: Fuzzer, message: Any) -> None:
    assert fuzzer.call("ModelInfer", message) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def test_damaged_image_is_rejected_or_classified(fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for number, (name, data) in enumerate(fuzz_images.damaged_images(ceil(REQUESTS * 0.3))):
        with subtests.test(name, number=number):
            response = fuzzer.predict(data, explain=number % 8 == 0)
            assert response.code in CLIENT_CODES - {"bad_request", "wrong_shape"}


def test_damaged_dicom_is_rejected_or_classified(fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for number, data in enumerate(fuzz_dicom.damaged_dicoms(REQUESTS)):
        with subtests.test(number=number):
            response = fuzzer.predict(data, explain=number % 8 == 0)
            assert response.code in CLIENT_CODES - {"bad_request", "wrong_shape"}
    decoders = psutil.Process(fuzzer.service.transformer.process.pid).children()
    assert decoders
    for decoder in decoders:
        peak_bytes = int(Path(f"/proc/{decoder.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
        assert peak_bytes < DECODER_BYTES + MAX_SHARED_BYTES


def test_damaged_file_of_several_images_is_rejected_or_classified(fuzzer: Fuzzer) -> None:
    for path, data in fuzz_several.damaged_files(ceil(REQUESTS * 0.1)):
        body, content_type = form([part(data)])
        assert fuzzer.request(path, body, [content_type]).code in CLIENT_CODES - {"wrong_shape"}


def test_damaged_series_is_rejected_or_classified(fuzzer: Fuzzer) -> None:
    for body in fuzz_series.damaged(ceil(REQUESTS * 0.1)):
        assert fuzzer.request("/series", body, [fuzz_forms.FORM_TYPE]).code in CLIENT_CODES | SERIES_CODES


def test_largest_images_are_explained_concurrently(fuzzer: Fuzzer) -> None:
    with ThreadPoolExecutor(4) as pool:
        for response in pool.map(lambda data: fuzzer.predict(data, explain=True), fuzz_images.largest().values()):
            assert response.status == 200


@pytest.mark.parametrize("kind", CASES)
def test_invalid_request_gets_its_code(kind: str, fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for case in CASES[kind]():
        with subtests.test(case.name, path=case.path[:60]):
            assert fuzzer.request(case.path, case.body, case.headers, method=case.method).code in case.codes


def test_invalid_grpc_call_gets_its_status(fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for name, (message, status) in fuzz_grpc.INVALID.items():
        with subtests.test(name):
            assert fuzzer.call("ModelInfer", message) == status
    for method, (message, status) in fuzz_grpc.OTHERS.items():
        with subtests.test(method):
            assert fuzzer.call(method, message) == status


def test_invalid_http_gets_a_client_error(fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for name, chunks in fuzz_http.invalid_http():
        with subtests.test(name):
            response = fuzzer.send(chunks, seconds=5)
            assert response is None or checked(response).status in range(400, 500)


def test_body_shorter_than_declared_is_survived(fuzzer: Fuzzer) -> None:
    fields: list[Header] = [fuzz_forms.FORM_TYPE, ("Content-Length", str(2 * len(fuzz_forms.FORM)))]
    for end in (0, 50, len(fuzz_forms.FORM)):
        with fuzzer.connected() as connection:
            connection.sendall(head("POST", "/predict", fields) + fuzz_forms.FORM[:end])
        fuzzer.count("client disconnected")


def test_body_longer_than_declared_is_rejected(fuzzer: Fuzzer) -> None:
    response = fuzzer.send([head("POST", "/predict", [fuzz_forms.FORM_TYPE, ("Content-Length", "100")]), fuzz_forms.FORM])
    assert response is None or checked(response).code in {"bad_request", "wrong_shape"}


def test_concurrent_large_bodies_are_rejected(fuzzer: Fuzzer) -> None:
    requests = [chunks for path in ("/predict", PREDICT, INFER, "/nowhere") for chunks in fuzz_http.large_bodies(path, 50)]
    requests += [chunks for path in (PREDICT, INFER) for chunks in fuzz_http.large_bodies(path, 31) * 2]
    with ThreadPoolExecutor(8) as pool:
        for response in pool.map(fuzzer.send, requests):
            assert response is not None
            assert checked(response).code in {"too_large", "too_busy", "bad_request"}
        statuses = pool.map(lambda message: fuzzer.call("ModelInfer", message), [fuzz_grpc.LARGE] * 4)
        assert set(statuses) == {"RESOURCE_EXHAUSTED"}


def test_json_with_many_values_is_rejected_fast(fuzzer: Fuzzer, subtests: pytest.Subtests) -> None:
    for number, bodies in enumerate(fuzz_documents.many_values()):
        for path, body in zip((PREDICT, INFER), bodies, strict=True):
            with subtests.test(path, number=number):
                started = time.monotonic()
                assert fuzzer.request(path, body, [JSON]).code in {"wrong_shape", "too_large", "bad_request"}
                assert time.monotonic() - started < 2


def test_slow_clients_do_not_delay_other_requests(fuzzer: Fuzzer) -> None:
    beginnings = [b"", b"POST /predict HT", fuzz_http.CHUNKED, fuzz_http.CHUNKED + b"5\r\nhe"]
    with contextlib.ExitStack() as stack:
        for beginning in beginnings * 25:
            stack.enter_context(fuzzer.connected()).sendall(beginning)
            fuzzer.count("left open")
        for _ in range(10):
            started = time.monotonic()
            assert fuzzer.predict(GOOD).status == 200
            assert time.monotonic() - started < 2


def test_clients_that_disconnect_are_survived(fuzzer: Fuzzer) -> None:
    fields: list[Header] = [fuzz_forms.FORM_TYPE, ("Content-Length", str(len(fuzz_forms.FORM)))]
    for _ in range(20):
        with fuzzer.connected() as connection:
            connection.sendall(head("POST", "/predict?explain=true", fields) + fuzz_forms.FORM)
        fuzzer.count("client disconnected")


def test_enough_requests_were_sent(fuzzer: Fuzzer) -> None:
    """Run last: it counts the requests of all tests above."""
    total, seconds = sum(fuzzer.counts.values()), time.monotonic() - fuzzer.started
    print(f"\n{total:,} requests in {seconds:.0f} s, peak {fuzzer.peak_mb:.0f} MB: {dict(sorted(fuzzer.counts.items()))}")
    assert total >= REQUESTS
