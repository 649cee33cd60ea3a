"""POST /series: every slice as /predict answers it, in slice order, the highest explained, and the limits."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom.uid import RLELossless, generate_uid

from brain_tumor.model_card import NOTICE
from serving.inference import WARNINGS
from serving.settings import MAX_SLICES
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI, dicom, with_private_phi
from tests.serving import clients
from tests.serving.brightness_model import grey_png
from tests.serving.conftest import Pair, Transformer
from tests.serving.fake_predictor import FakePredictor
from tests.serving.fuzz_client import form, part
from tests.serving.series_client import (
    SERIES_UID,
    WHOLE_RANGE,
    error,
    grey_slice,
    levels,
    post,
    streamed_zip_of,
    zip_of,
)
from tests.serving.test_connection_limits import limited
from tests.serving.test_metrics import scrape

# Grey levels by position, of which those of 128 and more are a tumour to the brightness model, and the order of the files.
LEVELS = [30, 140, 60, 200, 220, 180, 40, 10]
ORDER = [5, 0, 7, 3, 1, 6, 2, 4]
FIELDS = ("label", "probability", "confidence", "in_distribution", "uncertain", "warning_codes")
SECONDS, CLIENT_SECONDS = 4, 2


def positioned(**attributes: Any) -> list[bytes]:
    """Return a file for each of `LEVELS`, 2.5 mm apart, in the order `ORDER`."""
    return [grey_slice(LEVELS[at], [3, 4, 2.5 * at - 5], InstanceNumber=8 - at, **attributes) for at in ORDER]


def whole(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return response.json()


def found(answer: dict[str, Any]) -> list[int]:
    """Return the grey level of each slice, in their order."""
    return [round(each["probability"] * 255) for each in answer["slices"]]


def test_answer_is_that_of_predict_for_each_slice(brightness_service: Pair) -> None:
    files = positioned()
    answer = whole(post(brightness_service.url, files, highest=3))
    assert (answer["order"], found(answer)) == ("position", LEVELS)
    assert [each["file"] for each in answer["slices"]] == [ORDER.index(at) for at in range(8)]
    assert [(each["position_mm"], each["instance_number"]) for each in answer["slices"]] == [
        (2.5 * n - 5, 8 - n) for n in range(8)
    ]
    assert {each["frame"] for each in answer["slices"]} == {None}
    explained = [
        httpx.post(f"{brightness_service.url}/predict?explain=true", files=clients.form(data), timeout=60).json()
        for data in files
    ]
    for each in answer["slices"]:
        assert {field: each[field] for field in FIELDS} == {field: explained[each["file"]][field] for field in FIELDS}
    assert [each["slice"] for each in answer["highest"]] == [4, 3, 5]
    for each in answer["highest"]:
        single = explained[answer["slices"][each["slice"]]["file"]]
        assert (each["heatmap"], each["overlay_png"]) == (single["heatmap"], single["overlay_png"])
    assert answer["summary"] == {
        "slices": 8,
        "reaching_threshold": 4,
        "longest_run": 3,
        "longest_run_first": 3,
        "peak": {"slice": 4, "probability": answer["slices"][4]["probability"], "position_mm": 5.0},
    }
    for field in ("model", "threshold", "explanation"):
        assert answer[field] == explained[0][field]
    assert answer["notice"] == NOTICE
    assert answer["warnings"] == [WARNINGS[code] for code in answer["warning_codes"]]
    assert set(answer["warning_codes"]) == {code for single in explained for code in single["warning_codes"]}


def test_slices_are_ordered_by_what_all_of_them_state(brightness_service: Pair) -> None:
    oblique = [1, 0, 0, 0, 0.6, 0.8]  # its normal is [0, -0.8, 0.6]
    files = [
        grey_slice(LEVELS[at], [50, -8 * (7 - at) + 3, 6 * (7 - at) + 4], ImageOrientationPatient=oblique, InstanceNumber=at)
        for at in ORDER
    ]
    answer = whole(post(brightness_service.url, files, "?highest=0"))
    assert (answer["order"], found(answer), answer["highest"]) == ("position", LEVELS[::-1], [])
    assert [each["position_mm"] for each in answer["slices"]] == pytest.approx([10 * n for n in range(8)])
    answer = whole(post(brightness_service.url, [*positioned()[:-1], grey_slice(LEVELS[4], InstanceNumber=4)]))
    assert (answer["order"], found(answer)) == ("instance_number", LEVELS[::-1])
    png = clients.PNG
    answer = whole(post(brightness_service.url, [*positioned(), png]))
    assert (answer["order"], found(answer)[:8]) == ("request", [LEVELS[at] for at in ORDER])
    assert answer["slices"][8] | {"file": 8, "position_mm": None, "instance_number": None} == answer["slices"][8]


def test_zip_is_answered_as_its_files(brightness_service: Pair) -> None:
    files = positioned()
    expected = whole(post(brightness_service.url, files))
    named = {"study/": b"", "study/DICOMDIR": b"no slice"} | {f"study/{number:03}": data for number, data in enumerate(files)}
    for packed in (zip_of(named), streamed_zip_of(named)):
        assert whole(post(brightness_service.url, [packed])) == expected


def test_frame_is_a_slice(brightness_service: Pair) -> None:
    stack = dicom(np.stack([levels(level) for level in LEVELS]), RLELossless, SeriesInstanceUID=SERIES_UID, **WHOLE_RANGE)
    answer = whole(post(brightness_service.url, [grey_slice(77), stack], highest=32))
    assert (answer["order"], found(answer)) == ("instance_number", [77, *LEVELS])
    assert [(each["file"], each["frame"]) for each in answer["slices"]] == [(0, None), *((1, n + 1) for n in range(8))]
    assert [LEVELS[each["slice"] - 1] for each in answer["highest"][:4]] == [220, 200, 180, 140]
    assert len(answer["highest"]) == 9
    too_many = dicom(np.zeros((MAX_SLICES, 2, 2), np.uint8))
    message = f"file: got {MAX_SLICES + 1} slices or more, expected at most {MAX_SLICES}"
    assert error(post(brightness_service.url, [grey_slice(1), too_many])) == (422, "too_many_slices", message)


def test_slice_that_cannot_be_read_is_named_as_by_predict(brightness_service: Pair) -> None:
    damaged = [b"", b"no image", grey_slice(9)[:-500], dicom(levels(1), PixelData=None, Rows=None)]
    for position, data in zip((0, 3, 5, 8), damaged, strict=True):
        status, code, message = error(httpx.post(f"{brightness_service.url}/predict", files=clients.form(data)))
        files = positioned()
        files.insert(position, data)
        packed = zip_of({str(number): each for number, each in enumerate(files)})
        for sent in (files, [packed]):
            assert error(post(brightness_service.url, sent)) == (status, code, f"file[{position}]: {message}")
    assert error(post(brightness_service.url, [zip_of({})]))[:2] == (422, "wrong_shape")


def test_files_of_two_series_are_refused(brightness_service: Pair) -> None:
    others = [grey_slice(1, SeriesInstanceUID=generate_uid()) for _ in range(2)]
    expected = (422, "several_series", "file: got slices of 3 series, expected those of one")
    assert error(post(brightness_service.url, [*positioned(), *others])) == expected
    assert whole(post(brightness_service.url, [*positioned(), grey_slice(1, SeriesInstanceUID=None)]))["summary"]["slices"] == 9


def test_invalid_request_is_refused(brightness_service: Pair) -> None:
    url = brightness_service.url
    for query, fields in (
        ("?highest=33", {}),
        ("?highest=-1", {}),
        ("?highest=x", {}),
        ("", {"highest": "1.5"}),
        ("?highest=1", {"highest": 2}),
    ):
        assert error(post(url, positioned()[:1], query, **fields))[:2] == (422, "wrong_shape")
    assert error(httpx.post(f"{url}/series", files={"other": b"1"}))[:2] == (422, "wrong_shape")
    assert error(httpx.post(f"{url}/series", content=b"1"))[:2] == (415, "unsupported_type")
    assert httpx.get(f"{url}/series").status_code == 405


def test_field_behind_the_files_and_compressed_body_are_read(brightness_service: Pair) -> None:
    body, (name, value) = form([*(part(data) for data in positioned()), part(b"1", 'form-data; name="highest"')])
    headers = {str(name): str(value), "Content-Encoding": "gzip"}
    answer = whole(httpx.post(f"{brightness_service.url}/series", content=gzip.compress(body), headers=headers, timeout=60))
    assert (found(answer), [each["slice"] for each in answer["highest"]]) == (LEVELS, [4])


def test_slices_are_counted_as_predictions_and_not_as_explains(brightness_service: Pair) -> None:
    served = Transformer(brightness_service.transformer, brightness_service.url, brightness_service.grpc)

    def counts() -> dict[str, float]:
        samples = scrape(served)
        names = ("brain_tumor_confidence_count", "brain_tumor_input_brightness_count", "brain_tumor_explain_seconds_count")
        values = {name: value for name, _, value in samples if name in names}
        labelled = [(name, labels.get("route") or labels.get("label"), value) for name, labels, value in samples]
        values |= {f"{name} {label}": value for name, label, value in labelled if name == "brain_tumor_predictions_total"}
        values |= {
            name: value for name, label, value in labelled if (name, label) == ("brain_tumor_request_seconds_count", "/series")
        }
        return values

    before = counts()
    whole(post(served.url, positioned()))
    assert post(served.url, [*positioned(), b"no image"]).status_code == 400
    after = counts()
    assert {name: after[name] - before[name] for name in after} == {
        "brain_tumor_confidence_count": 8,
        "brain_tumor_input_brightness_count": 8,
        "brain_tumor_explain_seconds_count": 0,
        "brain_tumor_request_seconds_count": 2,
        "brain_tumor_predictions_total tumor": 4,
        "brain_tumor_predictions_total no_tumor": 4,
    }


@pytest.fixture(scope="module")
def hasty(tiny_model: Path, shared_fake_predictor: FakePredictor) -> Iterator[Transformer]:
    """A transformer with low limits for series."""
    settings = {"CLIENT_TIMEOUT_SECONDS": CLIENT_SECONDS, "SERIES_SECONDS": SECONDS, "PIXEL_WORKERS": 1}
    sizes = {"MAX_SERIES_BYTES": 100_000, "MAX_FILE_BYTES": 30_000}
    with limited(tiny_model, shared_fake_predictor, **settings, **sizes) as served:
        yield served


FIRST_FILE = form([part(grey_slice(1))])[0][:-14]
HEAD = b"POST /series HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b0undary\r\n"
HEAD += b"Content-Length: 90000\r\n\r\n"
SMALL = grey_png(204)


@contextmanager
def connected(served: Transformer, data: bytes) -> Iterator[socket.socket]:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(data)
        yield connection


def status_of(connection: socket.socket) -> tuple[int, str]:
    """Return the status and the code of an error whose connection the service closes."""
    head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


def wait_for_slot(served: Transformer, seconds: float) -> None:
    """Wait until a series is accepted."""
    deadline = time.monotonic() + seconds
    while (response := post(served.url, [SMALL])).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert response.status_code == 200


def test_sizes_are_limited(hasty: Transformer, fake_predictor: FakePredictor) -> None:
    assert error(post(hasty.url, [SMALL, bytes(30_001)])) == (
        *(413, "too_large"),
        "file[1]: image file: got more than 30,000 bytes, expected at most that",
    )
    body, (name, value) = form([part(bytes(25_000))] * 5)
    headers = {str(name): str(value)}
    for content in (body, iter([body])):
        assert error(httpx.post(f"{hasty.url}/series", content=content, headers=headers))[:2] == (413, "too_large")
    compressed = httpx.post(f"{hasty.url}/series", content=gzip.compress(body), headers=headers | {"Content-Encoding": "gzip"})
    assert error(compressed) == (413, "too_large", "body: expected at most 100,000 bytes")
    bomb = zip_of({"slice": SMALL} | {f"__MACOSX/{number}": bytes(25_000) for number in range(5)})
    message = "file: the zip inflates to more than 100,000 bytes, expected at most that"
    assert error(post(hasty.url, [bomb])) == (413, "too_large", message)


def test_time_is_limited(hasty: Transformer, fake_predictor: FakePredictor) -> None:
    with connected(hasty, HEAD + FIRST_FILE) as connection:
        started = time.monotonic()
        assert status_of(connection) == (408, "slow_body")
        assert CLIENT_SECONDS - 0.5 < time.monotonic() - started < SECONDS
    with connected(hasty, HEAD + FIRST_FILE) as connection:
        started = time.monotonic()
        while time.monotonic() - started < SECONDS - 0.5:  # slow, and never silent for long
            connection.sendall(b"x")
            time.sleep(0.5)
        assert status_of(connection) == (408, "slow_body")
    fake_predictor.delay_seconds = 1.5
    started = time.monotonic()
    message = f"series: not received and classified within {SECONDS} s"
    assert error(post(hasty.url, [SMALL] * 12)) in ((504, "too_slow", message), (408, "slow_body", message))
    assert time.monotonic() - started < 3 * SECONDS
    fake_predictor.delay_seconds = 0
    assert whole(post(hasty.url, [SMALL] * 12))["summary"]["longest_run"] == 12


def test_one_series_at_a_time_leaves_the_slots_to_other_requests(hasty: Transformer, fake_predictor: FakePredictor) -> None:
    fake_predictor.delay_seconds = 2.5
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, hasty.url, [SMALL] * 2, highest=0)
        time.sleep(0.4)
        second = post(hasty.url, [SMALL])
        assert error(second) == (429, "too_busy", "too many series in flight (limit 1); retry in 1 s")
        assert second.headers["retry-after"] == "1"
        fake_predictor.delay_seconds = 0
        response = httpx.post(f"{hasty.url}/predict?explain=true", files=clients.form(SMALL))
        assert response.status_code == 200
        assert not first.done()
        assert first.result().status_code == 200


def test_client_that_goes_away_leaves_nothing(hasty: Transformer, fake_predictor: FakePredictor) -> None:
    with connected(hasty, HEAD + FIRST_FILE):
        time.sleep(0.3)
        assert post(hasty.url, [SMALL]).status_code == 429
    wait_for_slot(hasty, CLIENT_SECONDS / 2)
    fake_predictor.delay_seconds = 3
    body, _ = form([part(SMALL)] * 2)
    with connected(hasty, HEAD.replace(b"90000", b"%d" % len(body)) + body):
        time.sleep(0.5)
    fake_predictor.delay_seconds = 0
    wait_for_slot(hasty, 1)


def test_nothing_identifying_is_logged_or_answered(brightness_service: Pair) -> None:
    files = [with_private_phi(data) for data in positioned(**PHI)]
    answers = post(brightness_service.url, files).text
    answers += post(brightness_service.url, [zip_of({f"Mustermann-{number}": data for number, data in enumerate(files)})]).text
    for damaged in (files[0][:-900], files[0][:900], b"Mustermann"):
        answers += post(brightness_service.url, [*files, damaged]).text
    texts = {"answers": answers, "metrics": httpx.get(f"{brightness_service.url}/metrics").text}
    texts |= {"log": brightness_service.transformer.output.read_text()}
    planted = ["Mustermann", PRIVATE_PHI, *(part for value in PHI.values() for part in value.split("^")), str(SERIES_UID)]
    for name, text in texts.items():
        assert not [value for value in planted if value in text], name
