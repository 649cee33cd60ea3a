"""The state: which series were seen, and what became of each, in one SQLite file.

It has the UIDs of series that wait or failed; of all others a digest of the series UID remains, so that none is done twice.
"""

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from brain_tumor.errors import InputError
from serving.dicomweb.series import Found, Series, digest

BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    key TEXT PRIMARY KEY,
    study_uid TEXT,
    series_uid TEXT,
    status TEXT NOT NULL CHECK (status IN ('seen', 'queued', 'predicted', 'done', 'skipped', 'dead')),
    is_backlog INTEGER NOT NULL,
    instances INTEGER,
    listed INTEGER,
    changed REAL NOT NULL,
    queued REAL,
    next_attempt REAL NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    rejections INTEGER NOT NULL DEFAULT 0,
    service_failures INTEGER NOT NULL DEFAULT 0,
    version TEXT,
    sources TEXT,
    answer BLOB,
    code TEXT,
    reason TEXT
);
CREATE INDEX IF NOT EXISTS by_status ON series (status, next_attempt);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY);
"""
FIRST_LOOK = "first look complete"
WAITING = "('queued', 'predicted')"
FORGET = "study_uid = NULL, series_uid = NULL, answer = NULL, sources = NULL, reason = NULL"
NOT_TRIED = "next_attempt = 0, failures = 0, rejections = 0, service_failures = 0"
COLUMNS = ", ".join(Series.__dataclass_fields__)


class State:
    """The state in a file that is open. Every method is one transaction, on disk when it returns."""

    def __init__(self, path: Path, *, create: bool = True):
        """Open the file.

        Args:
            path: SQLite file.
            create: Whether to create a missing one.

        Raises:
            InputError: It is missing or no state.
        """
        if not create and not path.is_file():
            raise InputError(f"STATE: no file {path}; the gateway creates it at its first start")
        try:
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            path.chmod(0o600)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"STATE: {path} cannot be opened as the gateway's SQLite file: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def is_first_look(self) -> bool:
        """Whether the PACS has not yet been looked through once."""
        return self._database.execute("SELECT 1 FROM facts WHERE name = ?", (FIRST_LOOK,)).fetchone() is None

    def end_first_look(self) -> None:
        """Note that the PACS has been looked through."""
        self._database.execute("INSERT OR IGNORE INTO facts VALUES (?)", (FIRST_LOOK,))

    def observe(self, page: Iterable[Found], now: float, *, is_backlog: bool, takes_backlog: bool) -> int:
        """Note the series of one page of the PACS's list.

        Args:
            page: The series.
            now: Unix time.
            is_backlog: Whether new ones were there before the gateway's first start.
            takes_backlog: Whether a rule wants those.

        Returns:
            Number of series with results that have more instances now: each became a dead letter.
        """
        with self._transaction():
            return sum(self._observe(found, now, is_backlog, takes_backlog) for found in page)

    def _observe(self, found: Found, now: float, is_backlog: bool, takes_backlog: bool) -> bool:
        key = digest(found.series_uid)
        row = self._database.execute("SELECT status, instances FROM series WHERE key = ?", (key,)).fetchone()
        uids, update = (found.study_uid, found.series_uid), "UPDATE series SET instances = ?, changed = ?"
        if row is None:
            insert = "INSERT INTO series (key, instances, changed, is_backlog, status, study_uid, series_uid, code) VALUES"
            is_old = is_backlog and not takes_backlog
            values = ("skipped", None, None, "before_start") if is_old else ("seen", *uids, None)
            self._database.execute(f"{insert} (?, ?, ?, ?, ?, ?, ?, ?)", (key, found.instances, now, is_backlog, *values))
            return False
        status, instances = row
        if found.instances is None or found.instances == instances:
            return False
        grew = found.instances > (instances or 0)
        if status in ("seen", "queued"):
            self._database.execute(f"{update}, status = 'seen' WHERE key = ?", (found.instances, now, key))
        elif status == "skipped" and grew:  # it is still arriving, whatever was decided about its first instances
            more = "status = 'seen', is_backlog = 0, listed = NULL, code = NULL, study_uid = ?, series_uid = ?"
            self._database.execute(f"{update}, {more} WHERE key = ?", (found.instances, now, *uids, key))
        elif status == "done" and grew:
            reason = f"it has {found.instances} instances, and results for {instances}"
            more = "status = 'dead', code = 'changed', reason = ?, study_uid = ?, series_uid = ?"
            self._database.execute(f"{update}, {more} WHERE key = ?", (found.instances, now, reason, *uids, key))
            return True
        return False

    def restart_wait(self, now: float) -> None:
        """Let incomplete series wait again: the PACS was away and could not receive."""
        self._database.execute("UPDATE series SET changed = ? WHERE status = 'seen'", (now,))

    def queue_complete(self, now: float, stable_seconds: float) -> None:
        """Queue the series that have not changed for some seconds."""
        queue = f"UPDATE series SET status = 'queued', queued = ?, {NOT_TRIED}"
        self._database.execute(f"{queue} WHERE status = 'seen' AND changed <= ?", (now, now - stable_seconds))

    def next_due(self, now: float) -> Series | None:
        """Return the queued series to attempt next: those of the backlog come last."""
        due = f"status IN {WAITING} AND next_attempt <= ? ORDER BY is_backlog, next_attempt, queued LIMIT 1"
        return next(self._select(due, now), None)

    def wait_again(self, series: Series, now: float, listed: int) -> None:
        """Return a series to those that may still change, without its answer, because it has another number of instances."""
        again = "UPDATE series SET status = 'seen', changed = ?, version = NULL, sources = NULL, answer = NULL, listed = ?"
        count = "instances = max(coalesce(instances, 0), ?)"  # which a query of recent studies alone may not show
        self._database.execute(f"{again}, {count} WHERE key = ?", (now, listed, listed, series.key))

    def keep_answer(self, series: Series, version: str, sources: str, answer: bytes) -> None:
        """Keep the service's response until the results are stored."""
        keep = "UPDATE series SET status = 'predicted', version = ?, sources = ?, answer = ? WHERE key = ?"
        self._database.execute(keep, (version, sources, answer, series.key))

    def finish(self, series: Series, version: str) -> None:
        """Note that all results of a series are stored, and forget its UIDs."""
        self._database.execute(f"UPDATE series SET status = 'done', version = ?, {FORGET} WHERE key = ?", (version, series.key))

    def skip(self, series: Series, code: str) -> None:
        """Note that a series is not to be analysed, and forget its UIDs."""
        self._database.execute(f"UPDATE series SET status = 'skipped', code = ?, {FORGET} WHERE key = ?", (code, series.key))

    def fail(self, series: Series, next_attempt: float, rejections: int, service_failures: int) -> None:
        """Count an attempt, and note when to try again."""
        count = "UPDATE series SET failures = failures + 1, rejections = ?, service_failures = ?, next_attempt = ?"
        self._database.execute(f"{count} WHERE key = ?", (rejections, service_failures, next_attempt, series.key))

    def bury(self, series: Series, now: float, code: str, reason: str) -> None:
        """Make a series a dead letter."""
        dead = "UPDATE series SET status = 'dead', changed = ?, code = ?, reason = ?, answer = NULL, sources = NULL"
        self._database.execute(f"{dead} WHERE key = ?", (now, code, reason, series.key))

    def dead_letters(self) -> list[Series]:
        """Return the dead letters, the latest last."""
        return list(self._select("status = 'dead' ORDER BY changed"))

    def retry(self, series_uid: str | None, now: float) -> int:
        """Queue one dead letter again, or all; return their number."""
        queue = f"UPDATE series SET status = 'queued', queued = ?, {NOT_TRIED}, version = NULL"
        condition, values = ("", ()) if series_uid is None else (" AND series_uid = ?", (series_uid,))
        return self._database.execute(f"{queue} WHERE status = 'dead'{condition}", (now, *values)).rowcount

    def drop_dead_letters(self, before: float) -> int:
        """Forget the UIDs and reasons of dead letters from before a Unix time; return their number."""
        drop = f"UPDATE series SET status = 'skipped', code = 'dropped', {FORGET} WHERE status = 'dead' AND changed < ?"
        return self._database.execute(drop, (before,)).rowcount

    def counts(self) -> tuple[int, float | None, int]:
        """Return the number of queued series, the Unix time since which the oldest waits, and the number of dead letters."""
        queue = f"SELECT count(*), min(queued) FROM series WHERE status IN {WAITING}"
        (dead,) = self._database.execute("SELECT count(*) FROM series WHERE status = 'dead'").fetchone()
        return (*self._database.execute(queue).fetchone(), dead)

    def _select(self, condition: str, *values: object) -> Iterator[Series]:
        for row in self._database.execute(f"SELECT {COLUMNS} FROM series WHERE {condition}", values):
            yield Series(*row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:  # commits, or rolls back
            yield


@contextmanager
def exclusive_state(path: Path) -> Iterator[State]:
    """Open the state for the one gateway that may work with it.

    Raises:
        InputError: Another process has it, or it cannot be opened.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        file = lock.open("w")
    except OSError as error:
        raise InputError(f"STATE: {lock} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"STATE: another gateway works with {path}; one may run at a time") from None
        with closing(State(path)) as state:
            yield state
