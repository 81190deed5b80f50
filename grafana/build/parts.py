"""Panels, variables and dashboards as Grafana's JSON has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

STORE = {"type": "grafana-postgresql-datasource", "uid": "${store_datasource}"}
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus_datasource}"}
SCHEMA_VERSION = 41
"""Of Grafana 11.6 and later; they migrate it themselves."""
WIDTH = 24
RED, YELLOW, GREEN = "red", "yellow", "green"
TONES = {
    "ok": GREEN, "warn": YELLOW, "drift": RED, "degraded": RED, "broken": RED, "insufficient": "text",
    "no_labels": "text", "undefined": "text", "quarantined": YELLOW, "info": "blue", "warning": YELLOW,
    "error": RED, "critical": "dark-red", "firing": RED, "acknowledged": YELLOW, "resolved": GREEN,
    "pending": YELLOW, "sent": GREEN, "failed": RED,
}  # fmt: skip
"""The colour of each status, state and severity."""
PAGE_OF_MODEL = {"title": "The model in Keel", "url": "${page}/models/${__data.fields.model}", "targetBlank": True}


def query(sql: str, *, table: bool = False) -> list[Json]:
    """Return the target of a panel that asks the store."""
    return [
        {
            "refId": "A",
            "datasource": STORE,
            "editorMode": "code",
            "format": "table" if table else "time_series",
            "rawQuery": True,
            "rawSql": " ".join(sql.split()),
        }
    ]


def promql(*expressions: tuple[str, str], instant: bool = False) -> list[Json]:
    """Return the targets of a panel that asks Prometheus. expressions: each with the legend of its series."""
    return [
        {
            "refId": letter,
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": " ".join(expression.split()),
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
        }
        for letter, (expression, legend) in zip("ABCDEFGH", expressions, strict=False)
    ]


def panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    *,
    unit: str = "none",
    width: int = 12,
    height: int = 8,
    options: Mapping[str, Any] | None = None,
    custom: Mapping[str, Any] | None = None,
    steps: Sequence[tuple[float | None, str]] = ((None, GREEN),),
    **defaults: Any,
) -> Json:
    """Return a panel. steps: the colour from each value on; None is the lowest."""
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": targets[0]["datasource"],
        "targets": list(targets),
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "custom": dict(custom or {}),
                "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in steps]},
                **defaults,
            },
            "overrides": [],
        },
        "options": dict(options or {}),
    }


def lines(title: str, description: str, targets: Sequence[Json], **more: Any) -> Json:
    """Return a panel of lines over time."""
    custom = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "auto", "spanNulls": True}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, description, targets, options=options, custom=custom, **more)


def number(title: str, description: str, targets: Sequence[Json], **more: Any) -> Json:
    """Return a panel of one large number."""
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": reduced, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    return panel("stat", title, description, targets, options=options, width=4, height=4, **more)


def table(title: str, description: str, sql: str, *, links: bool = True, **more: Any) -> Json:
    """Return a table of the rows of a query. links: the cells of a column ``model`` lead to Keel's page."""
    made = panel("table", title, description, query(sql, table=True), width=more.pop("width", WIDTH), **more)
    made["options"] = {"showHeader": True, "cellHeight": "sm"}
    made["fieldConfig"]["defaults"]["mappings"] = mappings()
    colored = {"id": "custom.cellOptions", "value": {"type": "color-text"}}
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byRegexp", "options": "/status|severity|state|action/"}, "properties": [colored]}
    ]
    if links:
        made["fieldConfig"]["overrides"].append(
            {"matcher": {"id": "byName", "options": "model"}, "properties": [{"id": "links", "value": [PAGE_OF_MODEL]}]}
        )
    return made


def statuses(title: str, description: str, sql: str, **more: Any) -> Json:
    """Return a band over time for each series: 0 is fine, 1 a warning, 2 drift. Grafana takes only numbers."""
    made = panel("state-timeline", title, description, query(sql), width=WIDTH, **more)
    made["options"] = {
        "mergeValues": True,
        "showValue": "never",
        "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
    }
    words = {"0": "ok", "1": "warn", "2": "drift"}
    named = {value: {"text": word, "color": TONES[word], "index": int(value)} for value, word in words.items()}
    made["fieldConfig"]["defaults"]["mappings"] = [{"type": "value", "options": named}]
    return made


def mappings() -> list[Json]:
    """Return the colour of each word of `TONES`."""
    colors = {word: {"color": color, "index": index} for index, (word, color) in enumerate(TONES.items())}
    return [{"type": "value", "options": colors}]


def source(name: str, label: str, kind: str, default: str) -> Json:
    """Return the variable that chooses a data source. default: the name of the provisioned one."""
    current = {"selected": True, "text": default, "value": default}
    return {"name": name, "label": label, "type": "datasource", "query": kind, "regex": "", "hide": 0, "refresh": 1,
            "current": current, "multi": False, "includeAll": False, "options": []}  # fmt: skip


STORE_VARIABLE = source("store_datasource", "Store", STORE["type"], "Keel store")
PROMETHEUS_VARIABLE = source("prometheus_datasource", "Prometheus data source", "prometheus", "Keel Prometheus")


def choice(name: str, label: str, asked: str | Json, of: Mapping[str, str], *, multi: bool = True) -> Json:
    """Return a variable whose values a query gives."""
    return {"name": name, "label": label, "type": "query", "datasource": dict(of), "query": asked, "definition": "",
            "refresh": 2, "sort": 1, "hide": 0, "multi": multi, "includeAll": multi, "regex": "", "options": [],
            "current": {"selected": True, "text": "All", "value": "$__all"} if multi else {}}  # fmt: skip


MODEL = choice("model", "Model", "SELECT model FROM keel_models ORDER BY model", STORE)
PAGE = {
    **choice("page", "Keel's page", "SELECT coalesce(nullif(current_setting('keel.page', true), ''), "
             "'http://localhost:8080/keel')", STORE, multi=False),
    "hide": 2,
}  # fmt: skip
STORE_VARIABLES = (STORE_VARIABLE, MODEL, PAGE)


def _of_label(label: str, selector: str) -> Json:
    return {"query": f"label_values({selector}, {label})", "refId": label, "qryType": 1}


JOB = {**choice("job", "Job", _of_label("job", "keel_spool_records"), PROMETHEUS), "allValue": ".+"}
INSTANCE = {
    **choice("instance", "Instance", _of_label("instance", 'keel_spool_records{job=~"$job"}'), PROMETHEUS),
    "allValue": ".+",
}
SERVED = {
    **choice("model", "Model", _of_label("model", 'keel_alerts_open{job=~"$job"}'), PROMETHEUS),
    "allValue": ".*",
}
PROMETHEUS_VARIABLES = (PROMETHEUS_VARIABLE, JOB, INSTANCE, SERVED)

DEPLOYMENTS = {
    "name": "Deployments",
    "datasource": STORE,
    "enable": True,
    "hide": False,
    "iconColor": "blue",
    "target": query(
        "SELECT since AS time, model || ': version ' || production_version || ' (' || action || ')' AS text, "
        "action AS tags FROM keel_deployments WHERE is_change AND $__timeFilter(since) "
        "AND model IN (${model:sqlstring})",
        table=True,
    )[0],
}


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Iterable[Json],
    variables: Iterable[Json],
    *,
    since: str = "now-30d",
    annotations: Iterable[Json] = (),
) -> Json:
    """Return a dashboard, its panels laid out from left to right in rows."""
    return {
        "uid": f"keel-{uid}",
        "title": f"Keel / {title}",
        "description": description,
        "tags": ["keel"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": since, "to": "now"},
        "templating": {"list": list(variables)},
        "annotations": {"list": list(annotations)},
        "links": [
            {"title": "Keel", "type": "dashboards", "tags": ["keel"], "asDropdown": True, "icon": "external link",
             "includeVars": False, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}
        ],
        "panels": list(_laid_out(panels)),
    }  # fmt: skip


def _laid_out(panels: Iterable[Json]) -> Iterable[Json]:
    x, y, height = 0, 0, 0
    for number_, each in zip(itertools.count(1), panels, strict=False):
        place = each["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        yield {"id": number_, **each, "gridPos": {**place, "x": x, "y": y}}
        x, height = x + place["w"], max(height, place["h"])
