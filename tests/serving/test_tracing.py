"""Spans of the requests, as a collector receives them."""

import base64
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.serving import clients
from tests.serving.clients import PNG, V1, explain
from tests.serving.conftest import Transformer, transformer
from tests.serving.fake_predictor import FakePredictor, running_fake_predictor
from tests.serving.otlp_receiver import OtlpReceiver, running_otlp_receiver
from tests.serving.processes import free_ports, running

TRACE, PARENT = "a" * 32, "b" * 16
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SECRETS = {"authorization": "Bearer s3cret", "x-request-id": "Doe-1970", "tracestate": "hospital=Doe", "baggage": "name=Doe"}
OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": 50}


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[OtlpReceiver]:
    with running_otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(tiny_model: Path, shared_fake_predictor: FakePredictor, shared_collector: OtlpReceiver) -> Iterator[Transformer]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": shared_collector.url, "FASTAPI_OTEL_AUTO_CONFIGURE": "true"} | OFTEN
    with transformer(tiny_model, shared_fake_predictor.host, **settings) as served:
        yield served


@pytest.fixture
def collector(shared_collector: OtlpReceiver) -> OtlpReceiver:
    """The receiver behind `traced`, empty at the start of a test."""
    for received in (shared_collector.bodies, shared_collector.spans, shared_collector.resources):
        received.clear()
    return shared_collector


def only(spans: list[Span]) -> Span:
    (span,) = spans
    return span


def error_types(span: Span) -> list[str]:
    assert span.status.code == Status.STATUS_CODE_ERROR
    return [each.value.string_value for each in span.attributes if each.key == "error.type"]


def test_stages_of_a_request_are_spans_of_the_callers_trace(
    traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor
) -> None:
    fake_predictor.delay_seconds = 0.5
    assert explain(traced.url, headers=CALLER).status_code == 200
    spans = {name: only(found) for name, found in collector.wait(4).items()}
    assert set(spans) == {"request", "decode", "predictor", "render"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    request = spans.pop("request")
    assert request.parent_span_id.hex() == PARENT
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    assert (request.kind, spans["predictor"].kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    decode, predictor, render = (spans[name] for name in ("decode", "predictor", "render"))
    assert predictor.end_time_unix_nano - predictor.start_time_unix_nano >= 0.5e9
    assert predictor.start_time_unix_nano <= decode.start_time_unix_nano < predictor.end_time_unix_nano, "not decoded meanwhile"
    assert render.start_time_unix_nano >= predictor.end_time_unix_nano
    (headers,) = fake_predictor.received_headers
    assert headers["traceparent"] == f"00-{TRACE}-{predictor.span_id.hex()}-01"


def test_every_protocol_joins_the_callers_trace(
    traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor
) -> None:
    images = [PNG] * 3  # decoded on other threads
    assert httpx.post(f"{traced.url}{V1}:explain", json=clients.instances(images), headers=CALLER).status_code == 200
    assert httpx.post(f"{traced.url}{clients.INFER}", json=clients.tensors(images), headers=CALLER).status_code == 200
    clients.infer(traced.grpc, clients.infer_request(images, explain=True), metadata=list(CALLER.items()))
    series = httpx.post(f"{traced.url}/series", files=[("file", data) for data in images], headers=CALLER)
    assert series.status_code == 200
    spans = collector.wait(3 * 8 + 16)
    assert {name: len(found) for name, found in spans.items()} == {"request": 4, "decode": 15, "predictor": 9, "render": 12}
    assert {span.trace_id.hex() for found in spans.values() for span in found} == {TRACE}
    requests = {span.span_id for span in spans.pop("request")}
    assert {span.parent_span_id for found in spans.values() for span in found} == requests


def test_no_span_has_data_of_the_client(traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor) -> None:
    headers = CALLER | SECRETS
    httpx.post(f"{traced.url}/predict?explain=true", files={"file": ("Doe.png", PNG)}, headers=headers)
    httpx.post(f"{traced.url}/predict?explain=Doe", files={"file": ("Doe.png", PNG)}, headers=headers)
    damaged = {"file": ("Doe.png", PNG[: len(PNG) // 2])}
    assert httpx.post(f"{traced.url}/predict", files=damaged, headers=headers).status_code == 400
    collector.wait(4 + 0 + 2)
    sent = b"".join(collector.bodies)
    for secret in (b"Doe", b"s3cret", b"1970", b"hospital", PNG[:8], base64.b64encode(PNG)[:16], b"Traceback"):
        assert secret not in sent, secret
    attributes = {each.key for span in collector.spans for each in span.attributes}
    assert attributes == {"error.type"}
    assert not any(span.events or span.links or span.trace_state for span in collector.spans)
    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.version"]) == ("brain-tumor", "1")
    assert set(resource) == {
        *("service.name", "service.version", "service.instance.id"),
        *("telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"),
    }


def test_an_error_is_the_code_of_its_stage_and_of_the_request(
    traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor
) -> None:
    fake_predictor.status = 500
    assert explain(traced.url, headers=CALLER).status_code == 502
    spans = collector.wait(3)
    assert error_types(only(spans["predictor"])) == error_types(only(spans["request"])) == ["predictor_failed"]
    assert only(spans["decode"]).status.code == Status.STATUS_CODE_UNSET
    fake_predictor.reset()
    collector.spans.clear()
    with pytest.raises(grpc.RpcError):
        clients.infer(traced.grpc, clients.infer_request([b"no image"]), metadata=list(CALLER.items()))
    assert error_types(only(collector.wait(1)["request"])) == ["not_an_image"]


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-invalid"}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}])
def test_without_a_valid_trace_of_the_caller_the_request_begins_one(
    traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor, headers: dict[str, str]
) -> None:
    assert explain(traced.url, headers=headers).status_code == 200
    spans = collector.wait(4)
    assert len({span.trace_id for found in spans.values() for span in found}) == 1
    assert only(spans["request"]).parent_span_id == b""


def test_a_trace_that_the_caller_does_not_record_is_passed_on_and_not_sent(
    traced: Transformer, collector: OtlpReceiver, fake_predictor: FakePredictor
) -> None:
    unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert explain(traced.url, headers=unsampled).status_code == 200
    assert explain(traced.url, headers=CALLER).status_code == 200
    collector.wait(4)
    version, trace, _, flags = fake_predictor.received_headers[0]["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")


def test_the_last_spans_are_sent_before_the_process_ends(tiny_model: Path) -> None:
    with running_fake_predictor() as fake, running_otlp_receiver() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": 60_000, "OTEL_SERVICE_NAME": "mine"}
        with transformer(tiny_model, fake.host, **settings) as served:
            assert explain(served.url).status_code == 200
            served.process.process.send_signal(signal.SIGTERM)
            assert served.process.process.wait(timeout=10) == 0
        collector.wait(4)
        assert collector.resources[0]["service.name"] == "mine"


@pytest.mark.parametrize("status", [503, None])
def test_a_collector_that_fails_or_is_away_costs_the_client_nothing(tiny_model: Path, status: int | None) -> None:
    with running_fake_predictor() as fake, running_otlp_receiver() as collector:
        collector.status = status or 0
        url = collector.url if status else f"http://127.0.0.1:{free_ports(1)[0]}"
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": 1} | OFTEN
        with transformer(tiny_model, fake.host, **settings) as served:
            for _ in range(5):
                started = time.monotonic()
                assert explain(served.url, headers=CALLER | SECRETS).status_code == 200
                assert time.monotonic() - started < 5
            served.process.process.send_signal(signal.SIGTERM)
            assert served.process.process.wait(timeout=10) == 0
            output = served.process.output.read_text()
    assert "Traceback" not in output
    assert "s3cret" not in output
    assert "Doe" not in output


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_the_sdk_is_imported_only_with_an_endpoint(tiny_model: Path, endpoint: str) -> None:
    http, grpc_port = free_ports(2)
    settings = {"MODEL_DIR": tiny_model, "HTTP_PORT": http, "GRPC_PORT": grpc_port, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    with running("tests.serving.imported_modules", settings, f"http://127.0.0.1:{http}/healthz") as service:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=20) == 0
        imported = set(service.output.read_text().partition("imported:")[2].split())
    assert "serving.transformer" in imported
    ours = {"serving.tracing", "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"}
    assert imported & ours == (ours if endpoint else set())


URL = "expected an http or https URL of a host, such as http://collector:4318"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENDPOINT", "collector:4318", URL),
        ("ENDPOINT", "http://me:s3cret@collector:4318", URL),
        ("PROTOCOL", "grpc", "got 'grpc', expected one of http/protobuf"),
    ],
)
def test_a_setting_that_would_lose_the_spans_ends_the_start(name: str, value: str, message: str) -> None:
    with running("serving", {f"OTEL_EXPORTER_OTLP_{name}": value}) as service:
        assert service.process.wait(timeout=60) == 1
        output = service.output.read_text()
    assert output == f"error: OTEL_EXPORTER_OTLP_{name}: {message}\n"
