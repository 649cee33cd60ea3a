"""The gateway between the tests' own PACS and service; tests/serving/dicomweb/test_orthanc.py has the real ones."""

import json
import logging
from functools import partial

import pytest
from pydicom.uid import MRImageStorage

from serving.dicomweb.gateway import MAX_SERVICE_FAILURES
from serving.dicomweb.rules import Rule
from serving.dicomweb.uids import result_uids
from tests.brain_tumor.dicoms import PHI, PRIVATE_PHI
from tests.serving.dicomweb.conftest import Bench
from tests.serving.dicomweb.series_files import CORONAL, series

HTML = b"<html>502 Bad Gateway</html>"
rare = partial(pytest.param, marks=pytest.mark.pacs)
REJECTION = (400, {"code": "corrupt", "error": "file[1]: the DICOM file is corrupt or truncated; export it again"})


def test_a_series_gets_its_results_once(bench: Bench) -> None:
    files = series(5)
    uid = bench.pacs.add(*files[:2])
    bench.work_for(1)
    bench.pacs.add(*files[2:])
    bench.work_until(bench.has_finished)
    kinds = sorted(result.SOPClassUID.name for result in bench.pacs.results())
    assert kinds == ["Comprehensive 3D SR Storage", "Parametric Map Storage", *["Secondary Capture Image Storage"] * 3]
    assert {result.StudyInstanceUID for result in bench.pacs.results()} == {bench.pacs.results()[0].StudyInstanceUID}
    assert result_uids(uid, "brain-tumor", "7").report in bench.pacs.instances
    assert bench.pacs.results()[-1].Modality == "SR", "the report is last, so that with it the set is complete"
    assert [sorted(received) for received in bench.service.received] == [sorted(files)]
    bench.pacs.add(*files)
    bench.work_for(10)
    assert (len(bench.pacs.results()), len(bench.service.received)) == (5, 1)
    assert bench.statuses() == ["done"]
    assert bench.value("series_total", outcome="done") == 1
    assert bench.value("series_seconds_count") == 1


def test_a_lost_state_adds_nothing_and_a_new_model_version_adds_a_set(bench: Bench) -> None:
    bench.pacs.add(*series(3))
    bench.work_until(bench.has_finished)
    for version, results, predictions in [("7", 5, 1), ("8", 10, 2)]:
        bench.state._database.execute("DELETE FROM series")
        bench.service.version = version
        bench.work_until(bench.has_finished)
        assert (len(bench.pacs.results()), len(bench.service.received)) == (results, predictions)


@pytest.mark.parametrize(
    ("attributes", "slices", "code"),
    [
        ({"SeriesDescription": "t2 axial"}, 3, "no_rule"),
        ({"ImageOrientationPatient": CORONAL}, 3, "no_rule"),
        ({}, 2, "no_rule"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, 3, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, 3, "derived"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30"}, 3, "not_mr"),
    ],
)
def test_other_series_are_skipped(bench: Bench, attributes: dict, slices: int, code: str) -> None:
    bench.pacs.add(*series(slices, **attributes))
    bench.work_until(lambda: bench.statuses() == ["skipped"])
    assert bench.state._database.execute("SELECT code FROM series").fetchone() == (code,)
    assert (bench.service.received, bench.pacs.results()) == ([], [])


def test_a_skipped_series_that_was_still_arriving_is_looked_at_again(bench: Bench) -> None:
    files = series(4)
    bench.pacs.add(*files[:2])
    bench.work_until(lambda: bench.statuses() == ["skipped"])
    bench.pacs.add(*files[2:])
    bench.work_until(bench.has_finished)
    assert [len(received) for received in bench.service.received] == [4]


def test_a_series_with_results_that_changes_is_a_dead_letter_and_keeps_them(bench: Bench) -> None:
    files = series(4)
    bench.pacs.add(*files[:3])
    bench.work_until(bench.has_finished)
    results = bench.pacs.results()
    bench.pacs.add(files[3])
    bench.work_until(lambda: bench.statuses() == ["dead"])
    assert bench.state.dead_letters()[0].code == "changed"
    assert bench.value("series_total", outcome="dead") == 1
    assert bench.value("dead_letters") == 1
    bench.state.retry(None, 0)
    bench.work_until(bench.has_finished)
    assert bench.pacs.results() == results


def test_the_backlog_is_for_rules_that_ask_for_it(bench: Bench) -> None:
    bench.state._database.execute("DELETE FROM facts")
    bench.pacs.add(*series(3))
    bench.pacs.add(*series(3, SeriesDescription="flair"))
    bench.rules = (Rule(description="t1.*"), Rule(description="flair", backlog=True))
    bench.start()
    bench.work_until(bench.has_finished)
    assert sorted(bench.statuses()) == ["done", "skipped"]
    assert len(bench.service.received) == 1


@pytest.mark.parametrize(
    "fault", [(503, b""), *map(rare, [(200, HTML), (200, b"[1]"), (404, b""), (401, b""), (302, b""), (400, b"")])]
)
@pytest.mark.parametrize("request_", [("GET", "/series?"), ("GET", "/instances?"), ("GET", "/instances/"), ("POST", "/studies")])
def test_a_pacs_that_fails_delays_a_series_alone(bench: Bench, request_: tuple[str, str], fault: tuple[int, bytes]) -> None:
    is_lasting = fault[0] == 400 or request_[1] == "/instances/"  # which may lie in the series, as a repeated attempt shows
    bench.pacs.fault = (*request_, *fault)
    bench.pacs.add(*series(3))
    bench.work_until(lambda: failures(bench) >= 1 + (not is_lasting))
    assert bench.state.dead_letters() == []
    assert bench.value("pacs_available") == (request_[1] != "/series?")
    bench.pacs.fault = None
    bench.work_until(bench.has_finished)
    assert len(bench.pacs.results()) == 5
    assert len(bench.service.received) == 1, "the service's response was kept"


def failures(bench: Bench) -> float:
    samples = [sample for metric in bench.metrics.registry.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == "brain_tumor_dicomweb_failures_total")


@pytest.mark.parametrize("status", [503, *map(rare, [401, 404, 429, 500])])
def test_a_service_that_is_away_makes_no_dead_letter(bench: Bench, status: int) -> None:
    bench.service.rejection = (status, {})
    bench.pacs.add(*series(3))
    bench.work_until(lambda: failures(bench) >= 4)
    assert bench.state.dead_letters() == []
    assert bench.value("queue_series") == 1
    assert bench.value("queue_oldest_seconds") > 0
    bench.service.rejection = None
    bench.work_until(bench.has_finished)
    assert len(bench.pacs.results()) == 5


@pytest.mark.parametrize("status", [500, *map(rare, [502, 503, 504])])
def test_a_series_at_which_a_ready_service_always_fails_is_a_dead_letter(bench: Bench, status: int) -> None:
    bench.start(poll_seconds=0.002)
    bench.service.rejection = (status, {})
    bench.pacs.add(*series(3))
    bench.work_until(lambda: bench.statuses() == ["dead"])
    (letter,) = bench.state.dead_letters()
    assert (letter.code, letter.reason) == ("unavailable", f"predict: status {status}")
    assert failures(bench) == MAX_SERVICE_FAILURES
    bench.service.rejection = None
    bench.pacs.add(*series(3))
    bench.work_until(lambda: sorted(bench.statuses()) == ["dead", "done"])
    bench.state.retry(None, 0)
    bench.work_until(lambda: bench.statuses() == ["done", "done"])


@pytest.mark.pacs
def test_a_service_that_is_not_ready_is_waited_for_without_limit(bench: Bench) -> None:
    bench.start(poll_seconds=0.002)
    bench.service.is_ready, bench.service.rejection = False, (500, {})
    bench.pacs.add(*series(3))
    bench.work_until(lambda: failures(bench) > MAX_SERVICE_FAILURES)
    assert bench.statuses() == ["queued"]
    bench.service.is_ready, bench.service.rejection = True, None
    bench.work_until(bench.has_finished)


def test_a_rejected_series_is_a_dead_letter_after_three_attempts(bench: Bench) -> None:
    bench.service.rejection = REJECTION
    bench.pacs.add(*series(3))
    bench.work_until(lambda: bench.statuses() == ["dead"])
    (letter,) = bench.state.dead_letters()
    assert (letter.code, letter.reason) == ("corrupt", f"predict: {REJECTION[1]['error']}")
    assert bench.value("failures_total", step="predict", code="corrupt") == 3


def test_a_stow_that_is_refused_for_its_data_is_a_dead_letter(bench: Bench) -> None:
    reason = {"00081197": {"vr": "US", "Value": [0xA900]}}
    bench.pacs.fault = ("POST", "/studies", 409, json.dumps({"00081198": {"vr": "SQ", "Value": [reason]}}).encode())
    bench.pacs.add(*series(3))
    bench.work_until(lambda: bench.statuses() == ["dead"])
    assert bench.state.dead_letters()[0].reason == "store: the PACS does not store it, reason A900"


def test_an_instance_that_is_no_dicom_file_is_a_dead_letter(bench: Bench) -> None:
    uid = bench.pacs.add(*series(3))
    damaged = next(each for each in bench.pacs.instances.values() if each.series == uid)
    bench.pacs.instances[damaged.uid] = damaged._replace(file=b"rubbish" * 100)
    bench.work_until(lambda: bench.statuses() == ["dead"])
    assert bench.state.dead_letters()[0].code == "unreadable"


def test_an_instance_that_is_replaced_by_one_of_another_class_is_a_dead_letter(bench: Bench) -> None:
    bench.pacs.fault = ("POST", "/studies", 503, b"")
    uid = bench.pacs.add(*series(3))
    bench.work_until(lambda: bench.statuses() == ["predicted"])
    for each in list(bench.pacs.instances.values()):
        bench.pacs.instances[each.uid] = each._replace(
            file=each.file.replace(MRImageStorage.encode(), b"1.2.840.99999.5.1.4.1.1.4")
        )
    bench.pacs.fault = None
    bench.work_until(lambda: bench.statuses() == ["dead"])
    (letter,) = bench.state.dead_letters()
    reason = "store: no results can be made: a source image has a SOPClassUID that is none of MR images"
    assert (letter.series_uid, letter.code, letter.reason) == (uid, "unreadable", reason)


def test_a_series_that_changes_between_prediction_and_storage_is_predicted_again(bench: Bench) -> None:
    files = series(4)
    bench.pacs.fault = ("POST", "/studies", 503, b"")
    bench.pacs.add(*files[:3])
    bench.work_until(lambda: bench.statuses() == ["predicted"])
    bench.pacs.add(files[3])
    bench.pacs.fault = None
    bench.work_until(bench.has_finished)
    assert [len(received) for received in bench.service.received] == [3, 4]
    assert len(bench.pacs.results()) == 5


def test_credentials_go_where_they_belong(bench: Bench) -> None:
    bench.start(dicomweb_token="of-the-pacs", api_token="of-the-service")
    bench.pacs.add(*series(3))
    bench.work_until(bench.has_finished)
    assert bench.pacs.authorizations[-1] == "Bearer of-the-pacs"
    assert set(bench.service.authorizations) == {"Bearer of-the-service"}
    bench.start(dicomweb_token="", dicomweb_user="ärztin", dicomweb_password="geheim:1")
    assert bench.pacs.authorizations[-1] == "Basic w6RyenRpbjpnZWhlaW06MQ=="


def test_log_and_metrics_have_no_patient_data(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    uids = [bench.pacs.add(*series(3))]
    bench.work_until(bench.has_finished)
    bench.service.rejection = REJECTION
    uids.append(bench.pacs.add(*series(3)))
    bench.work_until(lambda: bench.statuses() == ["done", "dead"])
    written = caplog.text + "".join(map(str, bench.metrics.registry.collect()))
    assert "results stored" in written
    uids += [each.study for each in bench.pacs.instances.values()]
    assert [secret for secret in (PRIVATE_PHI, *PHI.values(), *uids, "2.25.") if secret in written] == []
