"""The overview as a page: one sentence, a table of the models, the worst first, and what to do first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from keel.config import MODEL_NAME
from keel.ledger.wording import as_number
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.charts.specs import Sparkline
from keel.reports.fleet.first_sentence import first_sentence
from keel.reports.fleet.sentences import answered, sentence
from keel.reports.fleet.states import State, present_check
from keel.reports.fleet.words import about, clock
from keel.reports.metric_words import metric_name
from keel.reports.page import Block, Cell, Command, Local, Page, Paragraph, Section, Stacked, Table, Tag
from keel.window import DAY

if TYPE_CHECKING:
    from keel.reports.fleet.data import Fleet, ModelRow
    from keel.reports.fleet.facts import ModelFacts

COLUMNS = (
    "Model",
    "State",
    "In one sentence",
    "Performance",
    "Drift",
    "Open alerts",
    "Experiment",
    "Last check",
    "Next check",
)
SAID = "In one sentence"
SHORT = ("Performance", "Drift", "Last check", "Next check")
"""Columns whose cells do not wrap."""
ALERT_KINDS = 3
"""Kinds of open alerts that a cell names."""
SEVERAL = 2
"""Values that a line needs."""


def page(fleet: Fleet, *, first_steps: bool) -> Page:
    """Return the overview. The path of a model's link is ``models/<model>``.

    first_steps: whether to show how a model is added where none is configured.
    """
    as_of = numbers.time(fleet.now.replace(second=0, microsecond=0))
    return Page(
        title="Models",
        eyebrow=" · ".join((*([numbers.count(len(fleet.rows), "model")] if fleet.rows else []), f"{as_of} UTC")),
        headline=first_sentence(fleet),
        lead=_lead(fleet),
        sections=tuple(_sections(fleet, first_steps=first_steps)),
        footer=("Times are in UTC.",),
    )


def _lead(fleet: Fleet) -> str:
    """Return when the last and the next check are, and whether the live monitors run."""
    if fleet.error:
        return "Serving and checks may go on: this says only that the page cannot read what they store."
    now = fleet.now
    known = [row.facts for row in fleet.rows if row.facts is not None]
    last = max((facts.times.last for facts in known if facts.times.last), default=None)
    # an overdue check is in its row, and is not what comes next
    due = min((facts.times.due for facts in known if facts.times.due and facts.times.due >= now), default=None)
    parts = [f"last check {clock(last, now)}"] if last else []
    parts += [f"next {clock(due, now)}" if parts else f"next check {clock(due, now)}"] if due else []
    said = [f"{capitalised(', '.join(parts))}."] if parts else []
    if alive := [facts.monitored_at for facts in known if facts.monitored_at]:
        of = "" if len(known) == 1 else f" of {numbers.count(len(alive), 'model')}"
        said.append(f"Live monitors{of} last ran {about(now - max(alive))} ago.")
    return " ".join(said)


def _sections(fleet: Fleet, *, first_steps: bool) -> Iterator[Section]:
    if fleet.error:
        steps = Paragraph("See whether the store's server runs, and whether the connection keel_store leads to it.")
        yield Section("What is wrong", (Paragraph(fleet.error), steps))
    elif fleet.rows:
        yield Section("", (_table(fleet),))
    elif first_steps:
        yield Section("First steps", _first_steps())


def _first_steps() -> tuple[Block, ...]:
    return (
        Paragraph("A model is a folder under models/ with a model.yaml, and a pipeline that trains it."),
        Paragraph("To see Keel at work first, on flights of a real year:"),
        Command("make demo"),
        Paragraph("To add a model of your own, follow docs/adding-a-model.md."),
    )


def _table(fleet: Fleet) -> Table:
    """Return the models as a table, without the columns in which no model has anything."""
    cells = [_cells(row, fleet.now) for row in fleet.rows]
    head = tuple(dict.fromkeys(name for each in cells for name in each))
    shown = [name for name in COLUMNS if name in head]
    rows = tuple(tuple(each.get(name, "") for name in shown) for each in cells)
    caption = "Models, the worst first"
    unbroken = tuple(i for i, name in enumerate(shown) if name in SHORT)
    return Table(caption, tuple(shown), rows, wide=True, unbroken=unbroken, sentences=(shown.index(SAID),))


def _cells(row: ModelRow, now: datetime) -> dict[str, Cell]:
    """Return the cells of a model by the title of their column, those without content left out."""
    facts = row.facts
    local = Local(row.model, f"models/{quote(row.model, safe='')}")
    if facts is None:
        has_page = MODEL_NAME.fullmatch(row.model)  # else its configuration is none of a model
        return {"Model": local if has_page else row.model, "State": row.state.tag, SAID: row.error}
    version = facts.deployment.production
    said = sentence(facts, row.state, now)
    cells: dict[str, Cell] = {
        "Model": Stacked(local, f"version {version}" if version is not None else "no version"),
        "State": row.state.tag,
        SAID: Stacked("", said) if row.state is State.FINE else said,
        "Performance": _performance(facts),
        "Drift": _drift(facts),
        "Open alerts": _alerts(facts),
        "Experiment": _experiment(facts, now),
        "Last check": _last_check(facts, now),
        "Next check": _next_check(facts, row.state, now),
    }
    return {name: cell for name, cell in cells.items() if cell != ""}


def _performance(facts: ModelFacts) -> Cell:
    """Return the history of the metric with the holdout as its line, and both numbers."""
    check = present_check(facts)
    report = check.performance if check else None
    if report is None:
        return ""
    now, then = report.current.get(report.metric), report.reference.get(report.metric)
    value, holdout = (numbers.number(each.value) if each else numbers.UNKNOWN for each in (now, then))
    metric = metric_name(report.metric).removesuffix(" score")
    known = now is not None and now.value is not None
    below = f"{metric} {value}, holdout {holdout}" if known else report.status.replace("_", " ")
    values = tuple(each.value if each.metric == report.metric else None for each in facts.history)
    if sum(value is not None for value in values) < SEVERAL:
        return Stacked("", below)
    return Stacked(Sparkline(values, threshold=then.value if then else None), below)


def _drift(facts: ModelFacts) -> Cell:
    check = present_check(facts)
    if check is None or check.drift is None:
        return ""
    if check.drift.status == "insufficient":
        return "too few rows"
    drifted, columns = len(check.drift.names("drift")), len(check.drift.names("ok", "insufficient", "warn", "drift"))
    return Stacked(numbers.share(check.drift.share_drifted, 2), f"{drifted} of {columns}")


def _alerts(facts: ModelFacts) -> Cell:
    if not facts.alerts:
        return ""
    kinds = Counter(str(alert["kind"]).replace("_", " ") for alert in facts.alerts).most_common()
    named = [f"{number} {kind}" for kind, number in kinds[:ALERT_KINDS]]
    if more := sum(number for _, number in kinds[ALERT_KINDS:]):
        named.append(f"{more} more")
    taken = sum(alert["state"] == "acknowledged" for alert in facts.alerts)
    silenced = sum(bool(alert["silenced_by"]) for alert in facts.alerts)
    by_people = [f"{taken} acknowledged"] * bool(taken) + [f"{silenced} silenced"] * bool(silenced)
    return Stacked(", ".join(named), ", ".join(by_people))


def _experiment(facts: ModelFacts, now: datetime) -> Cell:
    running = facts.experiment
    if running is None:
        return ""
    plan = running.plan
    share = answered(running, now)
    n = as_number(running.evaluation.get("n"))
    below = ", ".join(filter(None, (share or "shadow", numbers.count(n, "outcome") if n else "")))
    return Stacked(f"{plan.get('challenger')} against {plan.get('champion')}", below)


def _last_check(facts: ModelFacts, now: datetime) -> Cell:
    last = facts.times.last or facts.checked_at
    return Stacked(f"{about(now - last)} ago", _at(last, now)) if last else "never"


def _next_check(facts: ModelFacts, state: State, now: datetime) -> Cell:
    due = facts.times.due
    if due is None:
        return "" if facts.deployment.production is None else "on request"
    if facts.times.is_overdue(now):
        return Stacked(Tag("overdue", State.OVERDUE.tag.tone), f"since {clock(due, now)}")
    return Stacked(f"in {about(due - now)}" if due > now else "now", _at(due, now))


def _at(moment: datetime, now: datetime) -> str:
    """Return a time, whose day goes without saying within a day beside how far away it is."""
    return f"{moment:%H:%M}" if abs(moment - now) < DAY else clock(moment, now)
