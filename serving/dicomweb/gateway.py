"""The gateway's loop: look for new series, and attempt one at a time until its results are stored."""

import time
from collections.abc import Sequence
from datetime import date, timedelta

from serving.dicomweb.analysis import Analysis
from serving.dicomweb.errors import NotSelectedError, StepError
from serving.dicomweb.metrics import Metrics
from serving.dicomweb.pacs import Pacs
from serving.dicomweb.rules import Rule
from serving.dicomweb.series import Series
from serving.dicomweb.service import Service
from serving.dicomweb.settings import Settings
from serving.dicomweb.state import State
from serving.logs import logger

MAX_WAIT_SECONDS = 300.0
# Of a series, until it is a dead letter.
MAX_REJECTIONS = 3
MAX_SERVICE_FAILURES = 10
RECENT_DAYS = 2  # of the studies that every query lists
COMPLETE_SHARE = 0.1  # of the time that may be spent on listing all series
DAY_SECONDS = 86_400.0


class Gateway:
    """Looks for series, and attempts one at a time."""

    def __init__(self, settings: Settings, rules: Sequence[Rule], state: State, metrics: Metrics):
        self._settings, self._state, self._metrics = settings, state, metrics
        self._pacs = Pacs(settings)
        self._analysis = Analysis(self._pacs, Service(settings), state, metrics, rules, settings.highest)
        self._takes_backlog = any(rule.backlog for rule in rules)
        self._failed_queries = 0
        self._next_query = self._next_complete_query = 0.0

    def run(self) -> None:
        """Work until a signal ends the process."""
        while True:
            time.sleep(self.step())

    def step(self) -> float:
        """Look for series if it is time, attempt one, and return the seconds to wait for the next step."""
        self._metrics.show_sign_of_life()
        if time.monotonic() >= self._next_query:
            self._look()
        series = None if self._failed_queries else self._state.next_due(time.time())
        if series:
            self._attempt(series)
        self._show_queue()
        return 0.0 if series else max(self._next_query - time.monotonic(), 0.0)

    def _look(self) -> None:
        """Query the PACS, and queue the series that are complete."""
        settings, state = self._settings, self._state
        try:
            self._list_series()
        except StepError as error:
            self._failed_queries += 1
            self._metrics.note_pacs(False)
            wait = self._count_failure(error, self._failed_queries)
            self._next_query = time.monotonic() + wait
            return
        if self._failed_queries:
            state.restart_wait(time.time())
        self._failed_queries = 0
        self._metrics.note_pacs(True)
        self._next_query = time.monotonic() + settings.poll_seconds
        state.queue_complete(time.time(), settings.stable_seconds)
        if settings.dead_letter_days:
            state.drop_dead_letters(time.time() - settings.dead_letter_days * DAY_SECONDS)

    def _list_series(self) -> None:
        """Note the series that the PACS lists: all of them as often as takes a tenth of the time, in between the recent ones."""
        started, is_first = time.monotonic(), self._state.is_first_look
        is_complete = started >= self._next_complete_query
        since = None if is_complete else date.today() - timedelta(days=RECENT_DAYS)
        for page in self._pacs.mr_series(since):
            self._metrics.show_sign_of_life()
            changed = self._state.observe(page, time.time(), is_backlog=is_first, takes_backlog=self._takes_backlog)
            self._metrics.series.labels("dead").inc(changed)
        if is_complete:
            if is_first:
                self._state.end_first_look()
            self._next_complete_query = time.monotonic() + (time.monotonic() - started) * (1 / COMPLETE_SHARE - 1)

    def _attempt(self, series: Series) -> None:
        """Bring a series as far as it gets, and note a failure."""
        try:
            self._analysis.run(series)
        except NotSelectedError as reason:
            self._state.skip(series, str(reason))
        except StepError as error:
            self._note_failure(series, error)
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            is_permanent = not isinstance(error, OSError | MemoryError | RuntimeError)  # what this machine lacks
            self._note_failure(series, StepError("predict", "internal", type(error).__name__, is_permanent=is_permanent))

    def _bury(self, series: Series, code: str, reason: str) -> None:
        self._state.bury(series, time.time(), code, reason)
        self._metrics.series.labels("dead").inc()

    def _note_failure(self, series: Series, error: StepError) -> None:
        wait = self._count_failure(error, series.failures + 1)
        rejections = series.rejections + error.is_permanent
        service_failures = series.service_failures + error.is_suspect
        if rejections >= MAX_REJECTIONS or service_failures >= MAX_SERVICE_FAILURES:
            self._bury(series, error.code, f"{error.step}: {error}")
        else:
            self._state.fail(series, time.time() + wait, rejections, service_failures)

    def _count_failure(self, error: StepError, failures: int) -> float:
        """Count and log a failure; return the seconds to wait: twice as long after each."""
        wait = min(self._settings.poll_seconds * 2.0 ** min(failures - 1, 20), MAX_WAIT_SECONDS)
        self._metrics.failures.labels(error.step, error.code).inc()
        fields = {"step": error.step, "code": error.code, "failures": failures, "wait_seconds": wait}
        logger.warning("failed", extra={"fields": fields})
        return wait

    def _show_queue(self) -> None:
        queued, oldest, dead = self._state.counts()
        self._metrics.queue_series.set(queued)
        self._metrics.queue_oldest_seconds.set(time.time() - oldest if oldest else 0)
        self._metrics.dead_letters.set(dead)
