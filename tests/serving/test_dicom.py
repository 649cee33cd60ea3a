"""DICOM files over every protocol: as the 8-bit PNG of what is displayed; hostile decoders; nothing identifying comes out."""

import base64
import io
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from brain_tumor.dicom import DECODE_SECONDS
from brain_tumor.images import read_image
from brain_tumor.phantoms import phantom_pngs
from serving.inference import WARNINGS
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI, dicom, with_private_phi
from tests.brain_tumor.dicoms import encode as encode_dicom
from tests.brain_tumor.patients import PATIENTS, patient_files
from tests.brain_tumor.patients import SLICES as SLICES_OF_A_PATIENT
from tests.brain_tumor.test_images import encode
from tests.serving import clients
from tests.serving.clients import INFER, V1
from tests.serving.conftest import Pair, Transformer
from tests.serving.fake_predictor import FakePredictor

WINDOW: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 3500}
SLICES = [read_image(data).pixels[..., 0].astype(np.uint16) * 16 + 3 for data in phantom_pngs(3)]
SYNTAXES = (RLELossless, JPEGLosslessSV1, JPEGLSLossless)
FILES = [dicom(levels, syntax, **WINDOW) for levels, syntax in zip(SLICES, SYNTAXES, strict=True)]


def decoders(service: Pair) -> list[psutil.Process]:
    """Return the processes that read DICOM for the transformer."""
    return psutil.Process(service.transformer.process.pid).children()


@pytest.fixture
def fresh_decoders(service: Pair) -> Iterator[None]:
    """Let no decoder of the test be left to the next one."""
    yield
    for process in decoders(service):
        process.kill()


def predict(service: Pair, data: bytes, query: str = "") -> httpx.Response:
    return httpx.post(f"{service.url}/predict{query}", files=clients.form(data), timeout=60)


def test_slice_and_its_png_get_identical_answers_over_every_protocol(service: Pair) -> None:
    pngs = [encode(read_image(data).pixels[..., 0], "PNG") for data in FILES]
    for data, png in zip(FILES, pngs, strict=True):
        np.testing.assert_array_equal(read_image(data).pixels, read_image(png).pixels)
        assert predict(service, data, "?explain=true").json() == predict(service, png, "?explain=true").json()
    for verb in ("predict", "explain"):
        first, second = (httpx.post(f"{service.url}{V1}:{verb}", json=clients.instances(each)).json() for each in (FILES, pngs))
        assert first == second
    for call in (clients.call_v2, clients.call_v2_binary):
        assert_equal(call(service.url, FILES), call(service.url, pngs))
    assert_equal(clients.call_grpc(service.grpc, FILES), clients.call_grpc(service.grpc, pngs))


def test_slices_of_30_patients_and_their_pngs_reach_the_network_as_identical_pixels(
    service: Pair, served: Transformer, fake_predictor: FakePredictor
) -> None:
    for patient in range(PATIENTS):
        files = patient_files(patient)
        pngs = [encode(read_image(data).pixels[..., 0], "PNG") for data in files]
        shown = [read_image(png).pixels for png in pngs]
        predictions = []
        for sent in (files, pngs):
            assert httpx.post(f"{served.url}{V1}:predict", json=clients.instances(sent)).status_code == 200
            for image, pixels in zip(fake_predictor.last_images, shown, strict=True):
                np.testing.assert_array_equal(read_image(base64.b64decode(image)).pixels, pixels)
            predictions.append(httpx.post(f"{service.url}{V1}:predict", json=clients.instances(sent)).json()["predictions"])
        assert predictions[0] == predictions[1]
        assert len(predictions[0]) == SLICES_OF_A_PATIENT


def assert_equal(first: list[clients.Prediction], second: list[clients.Prediction]) -> None:
    for one, other in zip(first, second, strict=True):
        for value, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(np.asarray(value), np.asarray(expected))


def test_frame_is_chosen_in_every_protocol(service: Pair) -> None:
    stack = dicom(np.stack([SLICES[0], SLICES[0][::-1]]), RLELossless, **WINDOW)
    expected = predict(service, dicom(np.ascontiguousarray(SLICES[0][::-1]), **WINDOW)).json()
    assert predict(service, stack, "?frame=2").json() == expected
    instance = {"image_bytes": clients.b64(stack), "frame": 2}
    assert httpx.post(f"{service.url}{V1}:predict", json={"instances": [instance]}).json()["predictions"] == [expected]
    body = clients.tensors([stack], explain=False)
    body["parameters"]["frame"] = 2
    outputs = {output["name"]: output["data"] for output in httpx.post(f"{service.url}{INFER}", json=body).json()["outputs"]}
    assert outputs["probability"] == [pytest.approx(expected["probability"], abs=1e-7)]
    for query, code in (("", "several_images"), ("?frame=3", "bad_request")):
        response = predict(service, stack, query)
        assert (response.status_code, response.json()["code"]) == (400, code)
        assert "2" in response.json()["error"]


def test_other_modality_and_body_part_are_warned_of(service: Pair) -> None:
    of_the_head = predict(service, FILES[0]).json()["warning_codes"]
    assert not {"not_mr", "not_head"} & set(of_the_head)
    answer = predict(service, dicom(SLICES[0], Modality="CT", BodyPartExamined="LKNEE", **WINDOW)).json()
    assert answer["warning_codes"] == [*of_the_head, "not_mr", "not_head"]
    assert answer["warnings"] == [WARNINGS[code] for code in answer["warning_codes"]]
    metrics = httpx.get(f"{service.url}/metrics").text
    for code in ("not_mr", "not_head"):
        assert f'brain_tumor_warnings_total{{reason="{code}"}}' in metrics
        assert f'brain_tumor_warnings_total{{reason="{code}"}} 0.0' not in metrics


def test_file_without_an_image_is_named(service: Pair) -> None:
    report = dicom(SLICES[0], PixelData=None, Rows=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", **PHI)
    response = predict(service, report)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_type")
    assert "holds no image, it is of the kind: Comprehensive SR Storage" in response.json()["error"]
    truncated = predict(service, FILES[0][:-2000])
    assert (truncated.status_code, truncated.json()["code"]) == (400, "corrupt")


@pytest.mark.usefixtures("fresh_decoders")
def test_decoder_that_is_killed_costs_no_more_than_one_answer(service: Pair) -> None:
    expected = predict(service, FILES[0]).json()
    for process in decoders(service):
        process.kill()
    time.sleep(0.2)
    assert predict(service, FILES[0]).json() == expected


@pytest.mark.usefixtures("fresh_decoders")
def test_decoder_that_hangs_is_given_up(service: Pair) -> None:
    expected = predict(service, FILES[0]).json()
    for process in decoders(service):
        os.kill(process.pid, signal.SIGSTOP)
    started = time.monotonic()
    response = predict(service, FILES[0])
    assert (response.status_code, response.json()["code"]) == (400, "corrupt")
    assert "took more than 10 s" in response.json()["error"]
    assert DECODE_SECONDS <= time.monotonic() - started < DECODE_SECONDS + 10
    assert predict(service, FILES[0]).json() == expected


def test_nothing_identifying_is_logged_or_measured_or_answered(service: Pair) -> None:
    whole = with_private_phi(dicom(SLICES[0], **WINDOW, **PHI))
    dataset = pydicom.dcmread(io.BytesIO(whole))
    unknown_syntax = whole.replace(b"1.2.840.10008.1.2.1\0", PHI["PatientID"].encode().ljust(20), 1)
    for keyword in ("Modality", "BodyPartExamined", "PhotometricInterpretation"):
        setattr(dataset, keyword, PHI["StudyID"])
    misplaced = encode_dicom(dataset, ExplicitVRLittleEndian)
    answers = ""
    for data in (whole, whole[:-3000], whole[:900], unknown_syntax, misplaced):
        answers += predict(service, data, "?explain=true").text
        answers += httpx.post(f"{service.url}{V1}:predict", json=clients.instances([data])).text
        answers += httpx.post(f"{service.url}{INFER}", json=clients.tensors([data])).text
    texts = {"answers": answers, "metrics": httpx.get(f"{service.url}/metrics").text}
    texts |= {"log": service.transformer.output.read_text(), "predictor": service.predictor.output.read_text()}
    planted = [PRIVATE_PHI, *(part for value in PHI.values() for part in value.split("^"))]
    for name, text in texts.items():
        assert not [value for value in planted if value in text], name
