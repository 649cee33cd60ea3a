"""The dashboards as files: fields that Grafana needs, and texts that a user needs."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.promql import DASHBOARDS, dashboard, panels

COLUMNS = 24
NOTICE = "Assists a reader, not for diagnosis"
each_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_there_are_three_dashboards_with_a_uid_each() -> None:
    assert {path.stem: dashboard(path)["uid"] for path in DASHBOARDS} == {
        name: f"brain-tumor-{name}" for name in ("model", "page", "service")
    }


@each_dashboard
def test_every_panel_has_a_question_as_title_and_a_description(path: Path) -> None:
    for panel in panels(path):
        if panel["type"] == "text":
            continue
        assert panel["title"].endswith("?"), panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["expr"] for target in panel["targets"])
    titles = [panel["title"] for panel in panels(path)]
    assert len(titles) == len(set(titles))


@each_dashboard
def test_panels_do_not_overlap(path: Path) -> None:
    everything = dashboard(path)["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert all(not panel["panels"] for panel in everything if panel["type"] == "row")
    for panel in everything:
        assert panel["gridPos"]["x"] >= 0
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS, panel["title"]
    for one, other in itertools.combinations(everything, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    starts = [panel["gridPos"]["y"] for panel in everything]
    assert starts == sorted(starts)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    def meet(start: str, size: str) -> bool:
        return one[start] < other[start] + other[size] and other[start] < one[start] + one[size]

    return meet("x", "w") and meet("y", "h")


def test_touching_panels_do_not_overlap() -> None:
    place = {"x": 0, "y": 0, "w": 8, "h": 8}
    assert overlap(place, place | {"x": 7, "y": 7})
    assert not overlap(place, place | {"x": 8})
    assert not overlap(place, place | {"y": 8})


@each_dashboard
def test_every_query_uses_the_chosen_data_source_and_namespace(path: Path) -> None:
    document = dashboard(path)
    assert document["schemaVersion"] >= 39  # Grafana 11
    source, namespace = document["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (namespace["name"], namespace["allValue"]) == ("namespace", ".*")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(path):
        if panel["type"] == "text":
            continue
        assert panel["datasource"] == chosen, panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == list("ABCDEFGH"[: len(letters)])
        for target in panel["targets"]:
            assert target["datasource"] == chosen
            assert "$namespace" in target["expr"] or " over all namespaces" in panel["description"], panel["title"]


@each_dashboard
def test_every_dashboard_states_not_for_diagnosis(path: Path) -> None:
    assert NOTICE in dashboard(path)["description"]


def test_model_dashboard_shows_the_notice_at_its_top() -> None:
    (path,) = [path for path in DASHBOARDS if path.stem == "model"]
    first: dict[str, Any] = dashboard(path)["panels"][0]
    assert (first["type"], first["gridPos"]["y"]) == ("text", 0)
    assert f"**{NOTICE}.**" in first["options"]["content"]
