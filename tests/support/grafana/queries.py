"""What Grafana makes of a dashboard's queries before it sends them to a data source."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.paths import PROJECT

DASHBOARDS = sorted((PROJECT / "grafana" / "dashboards").glob("*.json"))
TIME_FILTER = re.compile(r"\$__timeFilter\(([^)]+)\)")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))")


def read(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    return dict(json.loads(path.read_text()))


def targets(board: dict[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the titles and queries of a dashboard's panels and annotations that ask a kind of data source."""
    for panel in board["panels"]:
        yield from ((panel["title"], each) for each in panel["targets"] if each["datasource"]["type"] == kind)
    for note in board["annotations"]["list"]:
        if note["datasource"]["type"] == kind:
            yield note["name"], note["target"]
    for variable in board["templating"]["list"]:
        if (
            variable["type"] == "query"
            and variable["datasource"]["type"] == kind
            and isinstance(variable["query"], str)
        ):
            yield f"variable {variable['name']}", {"rawSql": variable["query"]}


def sql(text: str, *, start: str, end: str, models: list[str]) -> str:
    """Return a panel's SQL with the macros of Grafana's PostgreSQL source and the variable ``model`` filled in."""
    text = TIME_FILTER.sub(rf"\1 BETWEEN '{start}' AND '{end}'", text)
    listed = ",".join("'" + model.replace("'", "''") + "'" for model in models)
    text = text.replace("${model:sqlstring}", listed)
    assert not re.search(r"\$", text), text
    return text


def promql(expression: str, *, rate_interval: str = "1m") -> str:
    """Return a panel's PromQL with Grafana's variables filled in: all jobs, instances and models."""
    expression = expression.replace("$__rate_interval", rate_interval)
    return VARIABLE.sub(".*", expression)
