"""The way of one series: its instances, the service's response for them, and the results in the PACS.

A process that is killed on it loses nothing and doubles nothing: each step is noted when it is done, the response is kept until
everything is stored, and the results' UIDs follow from the series and the model version.
"""

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain
from tempfile import TemporaryFile
from typing import Any

from pydicom import Dataset, dcmwrite

from serving.dicomweb.errors import NotSelectedError, StepError
from serving.dicomweb.headers import parse_header
from serving.dicomweb.metrics import Metrics
from serving.dicomweb.pacs import Instance, Pacs
from serving.dicomweb.results import build_results
from serving.dicomweb.rules import Rule, is_selected, why_never
from serving.dicomweb.series import Series, digest
from serving.dicomweb.service import MAX_SERIES_BYTES, MAX_SLICES, Service
from serving.dicomweb.state import State
from serving.dicomweb.uids import result_uids
from serving.logs import logger

REPORT = "SR"
Fetched = Iterator[tuple[Dataset, bytes]]


class Analysis:
    """Attempts a series: from its instances to stored results, or from the response that an earlier attempt kept."""

    def __init__(self, pacs: Pacs, service: Service, state: State, metrics: Metrics, rules: Sequence[Rule], highest: int):
        self._pacs, self._service, self._state, self._metrics = pacs, service, state, metrics
        self._rules, self._highest = rules, highest

    def run(self, series: Series) -> None:
        """Bring a series to stored results, unless it has changed and has to wait again.

        Raises:
            NotSelectedError: It is not to be analysed.
            StepError: A step failed.
        """
        listed = self._pacs.instances(series.study_uid, series.series_uid)
        if not listed:
            raise StepError("fetch", "not_found", "the PACS lists no instance of the series", is_permanent=True)
        if len(listed) not in (series.instances, series.listed):
            self._state.wait_again(series, time.time(), len(listed))
        elif series.answer is None:
            self._predict(series, listed)
        else:
            self._resume(series, listed, json.loads(zlib.decompress(series.answer)))

    def _predict(self, series: Series, listed: list[Instance]) -> None:
        instances = self._selected(series, listed)
        first = next(instances)  # before the service is called: most series are not selected
        name, version = self._service.model()
        if self._pacs.instances(series.study_uid, result_uids(series.series_uid, name, version).report_series):
            self._state.finish(series, version)  # the report is stored last: with it the results are complete
            return
        headers, answer = self._send(chain([first], instances))
        version = str(answer["model"]["version"])
        self._state.keep_answer(series, version, _sources(listed), zlib.compress(json.dumps(answer).encode()))
        self._store(series, headers, answer)

    def _resume(self, series: Series, listed: list[Instance], answer: dict[str, Any]) -> None:
        """Store what an earlier attempt did not, or predict again what has changed and has no results yet."""
        if series.sources == _sources(listed):
            self._store(series, [header for header, _ in self._fetch(series, listed)], answer)
            return
        uids = result_uids(series.series_uid, str(answer["model"]["name"]), str(series.version))
        if any(self._pacs.instances(series.study_uid, uid) for uid in (uids.map_series, uids.capture_series, uids.report_series)):
            raise StepError("store", "changed", "it changed while its results were stored", is_permanent=True)
        self._state.wait_again(series, time.time(), len(listed))

    def _selected(self, series: Series, listed: list[Instance]) -> Fetched:
        """Generate header and file of each instance of a series that a rule selects."""
        slices = sum(instance.frames for instance in listed)
        for header, file in self._fetch(series, listed):
            if never := why_never(header):
                raise NotSelectedError(never)
            if not is_selected(self._rules, header, slices, is_backlog=series.is_backlog):
                raise NotSelectedError("no_rule")
            if slices > MAX_SLICES:
                raise StepError("fetch", "too_large", f"{slices} slices, expected at most {MAX_SLICES}", is_permanent=True)
            yield header, file

    def _fetch(self, series: Series, listed: list[Instance]) -> Fetched:
        """Generate header and file of each instance."""
        for instance in listed:
            self._metrics.show_sign_of_life()
            file = self._pacs.fetch(series.study_uid, series.series_uid, instance.uid)
            try:
                header = parse_header(file, series.study_uid, series.series_uid)
            except ValueError as error:
                raise StepError("fetch", "unreadable", f"an instance cannot be read: {error}", is_permanent=True) from None
            yield header, file

    def _send(self, instances: Fetched) -> tuple[list[Dataset], dict[str, Any]]:
        """Fetch all instances, send them to the service, and return their headers and its response.

        They are on disk in between, in a file without a name: a slow PACS would hold the service's one place for a series.
        """
        headers: list[Dataset] = []
        sizes: list[int] = []
        with TemporaryFile() as spool:
            for header, file in instances:
                headers.append(header)
                sizes.append(spool.write(file))
                if spool.tell() > MAX_SERIES_BYTES:
                    raise StepError("fetch", "too_large", f"more than {MAX_SERIES_BYTES} bytes", is_permanent=True)
            spool.seek(0)
            self._metrics.show_sign_of_life()
            return headers, self._service.predict(map(spool.read, sizes), self._highest)

    def _store(self, series: Series, headers: list[Dataset], answer: dict[str, Any]) -> None:
        """Store the results that the PACS does not have, the report last, and note that the series is done."""
        results = _build(headers, answer)
        missing = self._missing(series, results)
        for result in sorted(missing, key=lambda result: result.Modality == REPORT):
            self._metrics.show_sign_of_life()
            buffer = BytesIO()
            dcmwrite(buffer, result, enforce_file_format=True)
            self._pacs.store(series.study_uid, buffer.getvalue())
        if missing and self._missing(series, results):
            raise StepError("store", "invalid_answer", "the PACS does not list what it has stored")
        version, seconds = str(answer["model"]["version"]), time.time() - series.queued
        self._state.finish(series, version)
        self._metrics.series.labels("done").inc()
        self._metrics.series_seconds.observe(seconds)
        fields = {"slices": len(answer["slices"]), "stored": len(missing), "model_version": version, "seconds": round(seconds, 1)}
        logger.info("results stored", extra={"fields": fields})

    def _missing(self, series: Series, results: list[Dataset]) -> list[Dataset]:
        """Return the results that the PACS does not list."""
        present = {
            instance.uid
            for series_uid in {str(result.SeriesInstanceUID) for result in results}
            for instance in self._pacs.instances(series.study_uid, series_uid)
        }
        return [result for result in results if result.SOPInstanceUID not in present]


def _build(headers: list[Dataset], answer: dict[str, Any]) -> list[Dataset]:
    try:
        return build_results(headers, answer)
    except ValueError as error:
        raise StepError("store", "unreadable", f"no results can be made: {error}", is_permanent=True) from None


def _sources(listed: list[Instance]) -> str:
    return digest(*(instance.uid for instance in listed))
