"""The state: what becomes of a series, and what remains of it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain_tumor.errors import InputError
from serving.dicomweb.series import Found, Series
from serving.dicomweb.state import State, exclusive_state

UID, STUDY = "1.2.840.99.1", "1.2.840.99"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with exclusive_state(tmp_path / "state.sqlite") as state:
        yield state


def see(state: State, instances: int | None, now: float, uid: str = UID, *, first: bool = False, takes: bool = False) -> int:
    return state.observe([Found(STUDY, uid, instances)], now, is_backlog=first, takes_backlog=takes)


def queue(state: State, instances: int = 3, now: float = 0.0, uid: str = UID) -> Series:
    see(state, instances, now, uid)
    state.queue_complete(now + 60, 60)
    series = state.next_due(now + 60)
    assert series
    return series


def test_a_series_is_due_once_it_has_not_changed_for_long_enough(state: State) -> None:
    for now, instances, is_due in [(0, 1, False), (50, 2, False), (100, 2, False), (109, 2, False), (110, 2, True)]:
        see(state, instances, now)
        state.queue_complete(now, 60)
        assert (state.next_due(now) is not None) == is_due, now


def test_a_queued_series_that_grows_waits_again(state: State) -> None:
    queue(state, 3)
    see(state, 4, 61)
    assert state.next_due(61) is None


@pytest.mark.parametrize("counted", [3, 4, 5, None])
def test_a_series_that_lists_another_number_than_was_counted_waits_once(state: State, counted: int | None) -> None:
    series = queue(state, 3)
    state.wait_again(series, 61, 4)
    see(state, counted, 62)
    assert state.next_due(119) is None
    state.queue_complete(122, 60)
    again = state.next_due(122)
    assert again is not None
    assert again.listed == 4
    state.finish(again, "7")
    assert see(state, counted, 130) == 0
    assert see(state, counted or 4, 140) == 0
    assert see(state, 6, 150) == 1


def test_the_wait_starts_again_after_the_pacs_was_away(state: State) -> None:
    see(state, 3, 0)
    state.restart_wait(100)
    state.queue_complete(159, 60)
    assert state.next_due(159) is None
    state.queue_complete(160, 60)
    assert state.next_due(160) is not None


def test_series_from_before_the_first_start_are_left_alone_until_they_change(state: State) -> None:
    assert state.is_first_look
    see(state, 3, 0, first=True)
    state.end_first_look()
    assert not state.is_first_look
    see(state, 3, 1)
    state.queue_complete(100, 60)
    assert state.next_due(100) is None
    see(state, 4, 200)
    state.queue_complete(260, 60)
    series = state.next_due(260)
    assert series is not None
    assert not series.is_backlog


def test_a_rule_takes_the_backlog_after_what_arrives(state: State) -> None:
    see(state, 3, 0, uid="1.2.1", first=True, takes=True)
    see(state, 3, 10, uid="1.2.2")
    state.queue_complete(100, 60)
    first = state.next_due(100)
    assert first is not None
    assert (first.series_uid, first.is_backlog) == ("1.2.2", False)
    state.finish(first, "7")
    second = state.next_due(100)
    assert second is not None
    assert (second.series_uid, second.is_backlog) == ("1.2.1", True)


def test_more_instances_after_the_results_are_a_dead_letter(state: State) -> None:
    state.finish(queue(state, 3), "7")
    assert see(state, 3, 100) == 0
    assert see(state, 2, 100) == 0
    assert see(state, 5, 100) == 1
    (letter,) = state.dead_letters()
    assert (letter.code, letter.series_uid, letter.study_uid) == ("changed", UID, STUDY)
    assert letter.reason == "it has 5 instances, and results for 3"
    assert see(state, 5, 110) == 0


def test_dead_letters_are_retried_one_or_all(state: State) -> None:
    for uid in ("1.2.1", "1.2.2"):
        state.bury(queue(state, uid=uid), 70, "corrupt", "predict: file[1]: damaged")
    assert [letter.series_uid for letter in state.dead_letters()] == ["1.2.1", "1.2.2"]
    assert state.counts() == (0, None, 2)
    assert state.retry("1.2.3", 80) == 0
    assert state.retry("1.2.1", 80) == 1
    series = state.next_due(80)
    assert series is not None
    assert (series.series_uid, series.failures, series.rejections, series.service_failures) == ("1.2.1", 0, 0, 0)
    assert state.retry(None, 90) == 1
    assert state.counts() == (2, 80, 0)


def test_failures_are_counted_and_put_off(state: State) -> None:
    series = queue(state)
    state.fail(series, 100, 0, 1)
    assert state.next_due(99) is None
    state.fail(series, 110, 1, 2)
    again = state.next_due(110)
    assert again is not None
    assert (again.failures, again.rejections, again.service_failures) == (2, 1, 2)


def test_the_file_has_no_uid_of_a_series_that_needs_none(state: State, tmp_path: Path) -> None:
    for number, end in enumerate(["finish", "skip", "drop"]):
        uid = f"{UID}.{number}"
        series = queue(state, uid=uid)
        state.keep_answer(series, "7", "0" * 64, b"answer of the service")
        if end == "finish":
            state.finish(series, "7")
        elif end == "skip":
            state.skip(series, "no_rule")
        else:
            state.bury(series, 100, "corrupt", "predict: file[1]: damaged")
            assert state.drop_dead_letters(100) == 0
            assert state.drop_dead_letters(101) == 1
        assert see(state, 3, 200, uid) == 0
    state.close()
    content = (tmp_path / "state.sqlite").read_bytes()
    assert UID.encode() not in content
    assert b"answer of the service" not in content
    assert b"file[1]" not in content


def test_every_commit_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with exclusive_state(path) as state:
        pragmas = [state._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # FULL
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_gateway_at_a_time_has_the_state(state: State, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another gateway works with"), exclusive_state(tmp_path / "state.sqlite"):
        pass


def test_a_file_that_is_no_state_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with pytest.raises(InputError, match=f"STATE: no file {path}"):
        State(path, create=False)
    path.write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=f"STATE: {path} cannot be opened"):
        State(path)
    with pytest.raises(InputError, match="cannot be written"), exclusive_state(tmp_path / "missing" / "state.sqlite"):
        pass


def test_a_transaction_that_fails_leaves_nothing(state: State) -> None:
    with pytest.raises(sqlite3.Error):
        state.observe([Found(STUDY, UID, 3), Found(STUDY, "1.2.3", object())], 0, is_backlog=False, takes_backlog=False)  # type: ignore[arg-type]
    assert see(state, 3, 1, "1.2.9") == 0
    assert state._database.execute("SELECT count(*) FROM series").fetchone() == (1,)
