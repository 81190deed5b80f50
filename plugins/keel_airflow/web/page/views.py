"""What each page shows: the records of an installation as a `keel.reports.page.Page`, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from keel.reports.page import Local
from keel_airflow.web import installation, security
from keel_airflow.web.routes.reports import unknown_report

if TYPE_CHECKING:
    from keel.reports.page import Page
    from keel_airflow.web.security import Caller

MODELS = Local("Models", "")
"""The topmost page."""


@dataclass(frozen=True)
class View:
    """A page, its name, and the pages above it."""

    page: Page
    here: str
    above: tuple[Local, ...] = (MODELS,)


def check(caller: Caller, name: str, window: str, version: int | None = None) -> View:
    """Return the page of a check."""
    security.require_read(caller, name)
    installation.model_config(name)
    from keel.reports.check import collect, find_check, page

    ws, config = installation.workspace(), installation.model_config(name)
    number, span = find_check(ws, name, window, version)
    return View(page(collect(ws, config, number, span)), f"Check to {span.end:%-d %B %Y %H:%M}", (MODELS, _model(name)))


def report(caller: Caller, report_id: str) -> View:
    """Return the page of a stored report: the check it belongs to, the comparison, the experiment, or its members."""
    found = installation.workspace().store.reports.get(report_id)
    if found is None or not security.readable(caller, [found["model"]]):
        raise unknown_report(report_id)
    name, kind = found["model"], found["kind"]
    above = (MODELS, _model(name))
    if kind in {"quality", "drift", "performance"}:
        window = f"{found['window_start']:%Y-%m-%dT%H:%MZ}/{found['window_end']:%Y-%m-%dT%H:%MZ}"
        return check(caller, name, window, found["version"])
    if kind == "comparison":
        from keel.reports import comparison

        return View(comparison.page(found["body"]), "Comparison", above)
    if kind == "experiment":
        from keel.reports.production import experiment

        return View(experiment.page(found["body"]), "Experiment", above)
    return View(_members(found), kind.capitalize(), above)


def _model(name: str) -> Local:
    return Local(name, f"models/{quote(name, safe='')}")


def _members(found: dict[str, Any]) -> Page:
    """Return a stored report as a table, where it has no page of its own."""
    from keel.reports.page import Page, Section, Table

    rows = tuple((key, _shown(value)) for key, value in found["body"].items())
    head = (
        f"{found['model']} · version {found['version']} · {found['kind']} · {found['created_at']:%-d %B %Y %H:%M} UTC"
    )
    table = Table("Members of the stored report", ("member", "value"), rows, wide=True)
    return Page(
        found["report_id"],
        head,
        f"The {found['kind']} report {found['report_id']}",
        sections=(Section("Body", (table,)),),
    )


def _shown(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, default=str)
