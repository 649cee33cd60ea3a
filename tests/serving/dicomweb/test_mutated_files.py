"""Series of damaged DICOM files: each ends with results, as a dead letter, or skipped, and none ends the gateway."""

import io
import itertools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from prometheus_client import CollectorRegistry
from pydicom.uid import generate_uid

from serving.dicomweb.metrics import Metrics
from serving.dicomweb.rules import Rule
from serving.dicomweb.state import exclusive_state
from tests.serving.conftest import Pair
from tests.serving.dicomweb.conftest import Bench
from tests.serving.dicomweb.fake_pacs import Stored, serving_fake_pacs
from tests.serving.dicomweb.fake_series_service import FakeSeriesService
from tests.serving.fuzz_dicom import damaged_dicoms

FEW, MANY = 20, int(os.environ.get("FUZZ_REQUESTS", "5000"))
BATCH, BATCH_SECONDS = 20, 600
SUFFIX = "0123456789"  # of as many digits, which make the series UID of each file another one
CODES = {"unreadable", "corrupt", "not_an_image", "unsupported_type", "too_large", "invisible", "bad_request", "wrong_shape"}


def stored(file: bytes) -> Stored:
    """Return a file as an instance of a series of its own, with the UIDs that it states if it can be read so far."""
    study, series, uid = (str(generate_uid()) for _ in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True, force=True)
            stated_study, stated = (str(header[name].value).strip("\0 ") for name in ("StudyInstanceUID", "SeriesInstanceUID"))
        except Exception:  # pydicom raises many kinds
            stated_study = stated = ""
    if stated_study and len(stated) > len(SUFFIX):
        study, series = stated_study, stated[: -len(SUFFIX)] + uid[-len(SUFFIX) :]
        file = file.replace(stated.encode(), series.encode())
    return Stored(study, series, uid, "MR", 1, "99991231", file)  # so that every query lists it


def batches(count: int) -> Iterator[list[Stored]]:
    """Generate damaged files in batches whose series UIDs differ."""
    files = damaged_dicoms(count)
    while batch := list(itertools.islice(files, BATCH)):
        yield list({each.series: each for each in map(stored, batch)}.values())


def run(bench: Bench, count: int) -> dict[str, int]:
    """Let a gateway work through damaged files, and return how many series ended how."""
    ends: dict[str, int] = {}
    results = 0
    for batch in batches(count):
        bench.pacs.instances = {each.uid: each for each in batch}
        bench.work_for(2)
        bench.work_until(lambda: not {"seen", "queued", "predicted"}.intersection(bench.statuses()), BATCH_SECONDS)
        results += sum(result.Modality == "SR" for result in bench.pacs.results())
    for status in bench.statuses():
        ends[status] = ends.get(status, 0) + 1
    assert results == ends["done"]
    codes = {str(letter.code) for letter in bench.state.dead_letters()}
    assert codes <= CODES
    return ends


def test_few_damaged_files(bench: Bench) -> None:
    bench.rules = (Rule(description=".*"),)
    bench.start(stable_seconds=0)
    ends = run(bench, FEW)
    assert sum(ends.values()) == FEW
    assert ends["done"] > 0


@pytest.mark.pacs
def test_thousands_of_damaged_files_with_the_real_service(tmp_path: Path, brightness_service: Pair) -> None:
    with serving_fake_pacs() as pacs, exclusive_state(tmp_path / "state.sqlite") as state:
        settings = {"dicomweb_url": pacs.url, "api_url": brightness_service.url, "poll_seconds": 0.01, "stable_seconds": 0}
        service = FakeSeriesService(brightness_service.url)
        pacs.page = BATCH
        bench = Bench(pacs, service, state, settings, (Rule(description=".*"),), Metrics(CollectorRegistry()))
        bench.start()
        ends = run(bench, MANY)
    assert sum(ends.values()) == MANY
    print(f"{MANY} damaged files: {ends}")
    assert ends["dead"] > MANY / 20
    assert ends["done"] > MANY / 20
