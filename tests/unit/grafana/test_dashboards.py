"""The dashboards: equal to their code, valid by schema, and by the rules of Grafana's dashboard-linter."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from grafana.build.__main__ import FOLDER, boards, text
from keel.serving.metrics import Metrics
from keel.store.database.migrations import metric_views
from tests.support.grafana import queries as grafana
from tests.support.paths import PROJECT

SCHEMA = json.loads((PROJECT / "tests" / "data" / "grafana" / "dashboard.schema.json").read_text())
UNITS = {"none", "percentunit", "s", "reqps", "rowsps", "bytes"}
"""Grafana's names of the units that are used."""
POSTGRESQL, PROMETHEUS = "grafana-postgresql-datasource", "prometheus"

every_board = pytest.mark.parametrize("path", grafana.DASHBOARDS, ids=lambda path: path.stem)


def test_files_are_what_the_code_writes() -> None:
    written = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert written == {name: text(board) for name, board in boards().items()}, "run python -m grafana.build"


@every_board
def test_board_is_valid_by_schema(path: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(grafana.read(path))


def test_names_and_ids_are_unique() -> None:
    read = [grafana.read(path) for path in grafana.DASHBOARDS]
    assert len({board["uid"] for board in read}) == len({board["title"] for board in read}) == len(read) == 6
    for board in read:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@every_board
def test_panels_do_not_overlap(path: Path) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in grafana.read(path)["panels"]]
    for _, place in places:
        assert place["x"] + place["w"] <= 24
    for (first, a), (second, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (first, second)


@every_board
def test_data_sources_are_variables_with_the_provisioned_ones_as_default(path: Path) -> None:
    """The linter's template-datasource-rule and panel-datasource-rule."""
    board = grafana.read(path)
    chosen = {f"${{{v['name']}}}": v for v in board["templating"]["list"] if v["type"] == "datasource"}
    file = yaml.safe_load((PROJECT / "grafana/provisioning/datasources/keel.yaml").read_text())
    provisioned = {each["name"]: each["type"] for each in file["datasources"]}
    for panel in board["panels"]:
        for used in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            variable = chosen[used["uid"]]
            assert used["type"] == variable["query"] == provisioned[variable["current"]["value"]]


@every_board
def test_panels_say_what_they_show_in_a_known_unit(path: Path) -> None:
    """The linter's panel-title-description-rule, panel-units-rule and panel-no-targets-rule."""
    for panel in grafana.read(path)["panels"]:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@every_board
def test_variables_are_reloaded_with_the_time_and_cover_what_is_asked(path: Path) -> None:
    """The linter's template-on-time-change-reload-rule, template-job-rule and template-instance-rule."""
    board = grafana.read(path)
    known = {variable["name"]: variable for variable in board["templating"]["list"]}
    for variable in known.values():
        assert variable["type"] == "datasource" or variable["refresh"] == 2
    for title, target in grafana.targets(board, PROMETHEUS):
        used = {name for pair in grafana.VARIABLE.findall(target["expr"]) for name in pair if name}
        assert used - {"__rate_interval"} <= known.keys(), title
        assert known["job"]["allValue"] == known["instance"]["allValue"] == ".+"
    assert not board["editable"]
    links = [link["url"] for link in re_links(board)]
    assert all(link.startswith("${page}/") for link in links)
    assert "page" in known or not links


def re_links(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the links of all fields."""
    properties = [p for panel in board["panels"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"]]
    return [link for each in properties if each["id"] == "links" for link in each["value"]]


@every_board
def test_promql_selects_job_and_instance_and_rates_over_the_rate_interval(path: Path) -> None:
    """The linter's target-job-rule, target-instance-rule, target-rate-interval-rule and target-counter-agg-rule."""
    metrics = set(re.findall(r"^# TYPE (\w+)", Metrics().text().decode(), re.MULTILINE)) | {"up"}
    counters = {name for name in metrics if name.endswith("_total")}
    for title, target in grafana.targets(grafana.read(path), PROMETHEUS):
        expression = target["expr"]
        selectors = re.findall(r"(\w+)\{([^}]*)\}", expression)
        assert selectors, title
        for name, matchers in selectors:
            assert name.removesuffix("_bucket") in metrics, name
            assert {'job=~"$job"', 'instance=~"$instance"'} <= set(matchers.split(", ")), expression
            if name in counters:
                assert re.search(rf"(rate|increase)\({name}\{{[^}}]*\}}\[\$__rate_interval\]\)", expression), expression
        assert set(re.findall(r"\[([^\]]*)\]", expression)) <= {"$__rate_interval"}


@every_board
def test_sql_reads_the_documented_views_alone(path: Path) -> None:
    for title, target in grafana.targets(grafana.read(path), POSTGRESQL):
        tables = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", target["rawSql"])
        assert set(tables) <= set(metric_views.names()), title


def test_provisioning_names_the_folder_and_only_variables_that_compose_sets() -> None:
    provider = yaml.safe_load((PROJECT / "grafana/provisioning/dashboards/keel.yaml").read_text())["providers"][0]
    compose = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
    used = set(re.findall(r"\$(KEEL_\w+)", (PROJECT / "grafana/provisioning/datasources/keel.yaml").read_text()))
    assert used
    assert used <= compose["environment"].keys()
