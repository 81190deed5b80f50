"""What each page shows: the records of an installation as a `keel.reports.page.Page`, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from keel.errors import StoreUnavailable
from keel.reports.page import Local
from keel_airflow.web import installation, problems, security
from keel_airflow.web.problems import Problem
from keel_airflow.web.routes.models import readable_configurations
from keel_airflow.web.routes.reports import unknown_report

if TYPE_CHECKING:
    from keel.reports.page import Page
    from keel_airflow.web.security import Caller

MODELS = Local("Models", "")
"""The topmost page."""


@dataclass(frozen=True)
class View:
    """A page, its name, and the pages above it."""

    here: str
    page: Page | None = None
    """None where the helper process makes it."""
    above: tuple[Local, ...] = (MODELS,)
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What the helper process is asked; see `keel_airflow.web.page.computed`."""
    status: int = 200
    """Of the answer."""
    retry_after: int | None = None
    """Seconds after which the page may be there."""

    @property
    def title(self) -> str:
        """The title of the document."""
        return self.page.title if self.page else self.here


def overview(caller: Caller) -> View:
    """Return the page of all models that the caller may read."""
    from keel.reports import fleet

    configs, errors = readable_configurations(caller)
    now = datetime.now(UTC)
    try:
        found = fleet.collect(installation.workspace(), configs, now, invalid=errors)
    except StoreUnavailable as error:
        problem = problems.of_error(error)
        away = fleet.unavailable(problem.detail, now)
        page = fleet.page(away, first_steps=False)
        return View("Models", page, (), status=problem.status, retry_after=problem.retry_after)
    return View("Models", fleet.page(found, first_steps=not any(installation.configurations())), ())


def model(caller: Caller, name: str) -> View:
    """Return the page of a model."""
    from keel.reports import model as model_view

    security.require_read(caller, name)
    config = installation.model_config(name)
    ws, now = installation.workspace(), datetime.now(UTC)

    def with_silences(alerts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        from keel.alerts.records import Alert
        from keel.alerts.silences import silenced, silences

        found = silenced(map(Alert.from_dict, alerts), silences(ws.store, name, now), now)
        return [{**row, "silenced_by": each.silenced_by} for row, each in zip(alerts, found, strict=True)]

    return View(name, model_view.page(model_view.collect(ws, config, now, silenced=with_silences)))


def column(caller: Caller, name: str, column: str, window: str) -> View:
    """Return the page of a column in the window of a check: reference against window."""
    from keel.reports.model.column import require_column

    view = check(caller, name, window, column=column)
    # before the page is sent bit by bit: its status says whether there is such a column
    require_column(installation.workspace(), installation.model_config(name), column, view.asked["window"])
    return replace(view, here=column)


def check(caller: Caller, name: str, window: str, version: int | None = None, column: str | None = None) -> View:
    """Return the page of a check, or of a column in it. An empty window is that of the newest check."""
    from keel.reports.check import find_check

    security.require_read(caller, name)
    installation.model_config(name)
    number, span = find_check(installation.workspace(), name, window, version)
    asked = {"model": name, "version": number, "window": window_text(span.start, span.end), "column": column}
    return View(f"Check of {span.end:%-d %B %Y %H:%M}", above=(MODELS, _model(name)), asked=asked)


def report(caller: Caller, report_id: str) -> View:
    """Return the page of a stored report: the check it belongs to, the comparison, the experiment, or its members."""
    found = installation.workspace().store.reports.get(report_id)
    if found is None or not security.readable(caller, [found["model"]]):
        raise unknown_report(report_id)
    name, kind = found["model"], found["kind"]
    above = (MODELS, _model(name))
    if kind in {"quality", "drift", "performance"}:
        return check(caller, name, window_text(found["window_start"], found["window_end"]), found["version"])
    if kind == "comparison":
        from keel.reports import comparison

        return View("Comparison", comparison.page(found["body"]), above)
    if kind == "experiment":
        from keel.reports.production import experiment

        return View("Experiment", experiment.page(found["body"]), above)
    if kind == "probation":
        from keel.reports.production import probation

        evaluated = probation.collect(installation.workspace(), name, found["version"])
        if evaluated is not None:
            return View("Probation", probation.page(evaluated), above)
    return View(kind.capitalize(), _members(found), above)


def dag(caller: Caller, dag_id: str) -> View:
    """Return the page for the tab of a DAG: that of the model whose DAG it is; for Keel's own DAGs all models."""
    from keel.reports.status import model_of

    name = dag_id.rpartition(".")[0]
    configs, errors = installation.configurations()
    if security.readable(caller, [each for each in (*configs, *map(model_of, errors)) if each == name]):
        return model(caller, name)
    if name == "keel":
        return overview(caller)
    raise Problem(404, "This DAG is of no model", f"Keel watches no model by the DAG {dag_id[:200]!r}")


def window_text(start: datetime, end: datetime) -> str:
    """Return a window as an address names it, and as `keel.reports.check.find_check` reads it."""
    return f"{start:%Y-%m-%dT%H:%MZ}/{end:%Y-%m-%dT%H:%MZ}"


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
