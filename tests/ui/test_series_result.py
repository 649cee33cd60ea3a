"""The answer for a series: parsed, in words, and as rows; and the errors of a request for one."""

import io
import json
import socket
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any

import numpy as np
import pytest

from tests.ui.fake_service import FakeService, series_answer
from ui import client, series_result
from ui.batch import MAX_FILE_BYTES, Slice
from ui.client import ServiceClient
from ui.errors import MESSAGES, RequestError
from ui.form import FileForm
from ui.series_answer import SeriesAnswer, parse_series
from ui.series_files import SeriesFiles

SMALL_LIMIT = 3 * MAX_FILE_BYTES


def answer(*probabilities: float, **changes: Any) -> SeriesAnswer:
    return parse_series(series_answer(probabilities) | changes)


def test_summary_in_words() -> None:
    several = answer(0.1, 0.6, 0.7, 0.2, 0.9)
    assert series_result.headline(several) == "3 of 5 slices reach the threshold 0.5"
    assert series_result.sentences(several) == [
        "The longest run of neighbouring slices that do is 2: slices 2 to 3.",
        "The highest probability of a tumour is 0.900, in slice 5, at 10.0 mm.",
        "The slices are in the order of their positions.",
    ]
    one = answer(0.1, 0.6, order="request")
    assert series_result.headline(one) == "1 of 2 slices reaches the threshold 0.5"
    assert "is 1: slice 2." in series_result.sentences(one)[0]
    assert "neighbouring slices may be apart" in series_result.sentences(one)[-1]
    none = answer(0.1, order="instance_number")
    assert series_result.headline(none) == "0 of 1 slices reach the threshold 0.5"
    assert len(series_result.sentences(none)) == 2


def test_above_two_classes_the_probability_of_any_tumour_counts() -> None:
    document = series_answer([0.9]) | {"threshold": None}
    document["slices"][0] |= {"label": "glioma", "probability": {"glioma": 0.5, "no_tumor": 0.25, "pituitary": 0.25}}
    four = parse_series(document)
    assert four.slices[0].tumor_probability == 0.75
    assert series_result.headline(four) == "1 of 1 slices is predicted as a tumour"
    (row,) = series_result.rows(four, ["a"])
    assert (row["probability_glioma"], row["threshold"], row["label"]) == (0.5, None, "glioma")


def test_report_is_escaped_and_has_one_pair_of_images_for_each_of_the_highest() -> None:
    hostile = answer(0.1, 0.6, 0.7, 0.2, warnings=["<script>"], warning_codes=["<script>"])
    pixels = {index: np.zeros((4, 4, 3), np.uint8) for index in hostile.heatmaps}
    html = series_result.report_html(hostile, pixels, colour_map="viridis", created=datetime(2026, 3, 1, tzinfo=UTC))
    assert "<script" not in html
    assert html.count("<img ") == 6
    assert html.count("<circle") == 4
    assert "2026-03-01 00:00:00 UTC" in html


MALFORMED: tuple[dict[str, Any], ...] = (
    {"slices": []},
    {"slices": None},
    {"highest": [{"slice": 4, "heatmap": {"shape": [1], "values": [1], "label": "tumor"}}]},
    {"highest": [{"slice": 0, "heatmap": {"shape": [9], "values": [1], "label": "tumor"}}]},
    {"summary": {"slices": 3, "reaching_threshold": 0, "longest_run": 1, "longest_run_first": 3, "peak": {"slice": 0}}},
)


@pytest.mark.parametrize("changes", MALFORMED)
def test_malformed_answer_is_an_error(changes: dict[str, Any], fake_service: FakeService) -> None:
    fake_service.body = json.dumps(series_answer([0.1, 0.2, 0.3]) | changes).encode()
    with pytest.raises(RequestError) as raised:
        ServiceClient(fake_service.url).read_series([b"a"], 1)
    assert raised.value.code == "wrong_shape"


def test_files_are_sent_with_the_token_and_without_names(fake_service: FakeService) -> None:
    files = [b"a", bytes(200_000), b"\r\n--x--\r\n", b""]
    fake_service.body = json.dumps(series_answer([0.1] * len(files))).encode()
    ServiceClient(fake_service.url, "s3cret").read_series(files, 1)
    ((path, headers, body),) = fake_service.requests
    assert (path, headers["authorization"], int(headers["content-length"])) == ("/series", "Bearer s3cret", len(body))
    message = BytesParser().parsebytes(f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + body)
    parts: Any = message.get_payload()
    assert [part.get_param("name", header="content-disposition") for part in parts] == ["file"] * len(files)
    assert b"".join(bytes(piece) for piece in FileForm(files)).count(files[2]) == 1
    assert len(parts[1].get_payload(decode=True)) == 200_000


def test_service_may_pause_while_a_series_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads slices meanwhile: longer than a connection may take."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT_SECONDS", 0.1)
    content = json.dumps(series_answer([0.1])).encode()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        found = pool.submit(ServiceClient(url).read_series, [bytes(20_000_000)], 1)
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            time.sleep(0.4)
            headers = dict(line.split(b": ") for line in iter(stream.readline, b"\r\n") if b": " in line)
            stream.read(int(headers[b"Content-Length"]))
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
        assert len(found.result().slices) == 1


ERRORS = {
    (400, "file[17]: the DICOM file is corrupt", "corrupt"): ("corrupt", 17),
    (413, "file[0]: got 20,000,000 bytes", "too_large"): ("too_large", 0),
    (413, "body: expected at most 100 bytes", "too_large"): ("series_too_large", None),
    (429, "busy", "too_busy"): ("series_busy", None),
    (404, "Not Found", "not_found"): ("no_series", None),
    (504, "slow", "too_slow"): ("series_too_slow", None),
    (422, "file: got slices of 2 series, expected those of one", "several_series"): ("several_series", None),
    (422, "file: got 513 slices or more, expected at most 512", "too_many_slices"): ("too_many_slices", None),
    (422, "file: got no files", "wrong_shape"): ("series_rejected", None),
    (415, "file: the zip is encrypted", "unsupported_type"): ("series_unreadable", None),
    (502, "down", "predictor_failed"): ("predictor_failed", None),
    (400, 3, "corrupt"): ("series_unreadable", None),
}


@pytest.mark.parametrize(("response", "expected"), ERRORS.items())
def test_error_names_the_file_or_speaks_of_the_series(
    response: tuple[int, Any, str], expected: tuple[str, int | None], fake_service: FakeService
) -> None:
    fake_service.status = response[0]
    fake_service.body = json.dumps({"error": response[1], "code": response[2]}).encode()
    with pytest.raises(RequestError) as raised:
        ServiceClient(fake_service.url).read_series([b"a"], 1)
    assert (raised.value.code, raised.value.file) == expected
    assert str(raised.value) == MESSAGES[expected[0]]


@pytest.mark.parametrize(
    ("files", "code", "number"),
    [
        ([b"a", bytes(MAX_FILE_BYTES + 1)], "too_large", 1),
        ([bytes(MAX_FILE_BYTES)] * 4, "series_too_large", None),
        ([b"PK\x03\x04", b"a"], "series_mixed", 0),
        ([b"PK\x03\x04" + bytes(SMALL_LIMIT)], "series_too_large", None),
    ],
)
def test_series_that_the_service_would_reject_is_not_sent(files: list[bytes], code: str, number: int | None) -> None:
    with pytest.raises(RequestError) as raised:
        SeriesFiles([Slice(str(index), "a", data) for index, data in enumerate(files)]).check(SMALL_LIMIT)
    assert (raised.value.code, raised.value.file) == (code, number)


def test_file_that_did_not_arrive_stops_the_series() -> None:
    files = SeriesFiles([Slice("1", "a.dcm", b"a"), Slice("2", "b.dcm", b"", error="upload_failed")])
    with pytest.raises(RequestError, match="did not arrive") as raised:
        files.check(SMALL_LIMIT)
    assert files.name(raised.value.file or 0) == "b.dcm"


def test_what_a_folder_has_in_addition_is_left_out_and_not_numbered() -> None:
    members = {"a/DICOMDIR": b"no", "__MACOSX/a/._1": b"no", "a/.hidden": b"no", "a/1": b"one", "b\\1": b"two", "b/": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    zipped = SeriesFiles([Slice("1", "a.zip", buffer.getvalue())])
    assert [(zipped.name(number), zipped.read(number)) for number in range(2)] == [("1", b"one"), ("1 (2)", b"two")]
    assert zipped.name(2) == ""
    uploads = [Slice(name, name, data) for name, data in (("DICOMDIR", b"no"), (".DS_Store", b"no"), ("1", b"one"))]
    files = SeriesFiles(uploads)
    assert (files.parts, files.name(0), files.read(0)) == ([b"one"], "1", b"one")


def test_zip_that_cannot_be_inflated_is_an_error() -> None:
    with pytest.raises(RequestError) as raised:
        SeriesFiles([Slice("1", "a.zip", b"PK\x03\x04 no more")]).read(0)
    assert raised.value.code == "corrupt"
