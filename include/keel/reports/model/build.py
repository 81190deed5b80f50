"""Put the page of a model together: how it is in a sentence, what to do, then the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.check import performance as of_check
from keel.reports.check import sections as sections_of_check
from keel.reports.check import words
from keel.reports.model import alerts, drift, evidence, performance, timeline, versions
from keel.reports.model.actions import of_model
from keel.reports.page import Command, Fact, Page, Paragraph, Section, Tag, Tone
from keel.window import DAY, HOUR

if TYPE_CHECKING:
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block


def page(view: ModelView) -> Page:
    """Return the page of a model. The same view gives the same page."""
    return Page(
        title=view.model,
        eyebrow=" · ".join(_about(view)),
        headline=_headline(view),
        tag=_tag(view),
        lead=_lead(view),
        facts=tuple(_facts(view)),
        sections=tuple(
            section
            for section in (
                _to_do(view),
                performance.section(view),
                drift.section(view),
                alerts.section(view),
                evidence.live(view),
                evidence.experiment(view),
                versions.section(view),
                timeline.section(view),
            )
            if section.blocks
        ),
        footer=(
            "Numbers are those that checks, comparisons and evaluations stored. Times are in UTC.",
            f"The same for one check as text: keel report {view.model}",
        ),
    )


def _about(view: ModelView) -> Iterator[str]:
    yield view.model
    production = view.state.deployment.production
    if production is not None:
        since = f" since {numbers.time(view.since.replace(second=0, microsecond=0))}" if view.since else ""
        yield f"version {production} in production{since}"
    if view.config.owner:
        yield view.config.owner
    if view.config.description:
        yield view.config.description.rstrip(".")


def _headline(view: ModelView) -> str:
    if view.check is not None:
        return words.headline(view.check)
    if view.state.deployment.production is None:
        return "No version is in production yet."
    return "No check of this model has run yet."


def _tag(view: ModelView) -> Tag:
    if view.state.deployment.production is None:
        return Tag("no version")
    if view.overdue:
        return Tag("check overdue", Tone.WARN)
    return words.status_tag(view.check) if view.check else Tag("not checked")


def _lead(view: ModelView) -> str:
    lead = of_check.lead(view.check) if view.check else ""
    return lead if lead != _headline(view) else ""


def _facts(view: ModelView) -> Iterator[Fact]:
    if view.check is not None:
        yield of_check.fact(view.check)
        yield sections_of_check.columns_fact(view.check)
    yield _alerts_fact(view)
    yield _check_fact(view)
    if view.check is not None:
        yield sections_of_check.to_do_fact(view.check)


def _alerts_fact(view: ModelView) -> Fact:
    if not view.alerts:
        return Fact("No alert", ("none is open",), Tone.GOOD)
    worst = str(view.alerts[0]["severity"])
    taken = sum(each["state"] == "acknowledged" for each in view.alerts)
    lines = [f"the worst is {'an' if worst[0] in 'aei' else 'a'} {worst}"]
    lines += [f"{taken:,} acknowledged"] if taken else []
    tone = Tone.BAD if worst in ("critical", "error") else Tone.WARN if worst == "warning" else Tone.NEUTRAL
    return Fact(numbers.count(len(view.alerts), "open alert"), tuple(lines), tone)


def _check_fact(view: ModelView) -> Fact:
    """Return when the last check ran, and when the next one does."""
    schedule = view.config.check.schedule
    if view.overdue:
        lines = ("its time is over by more than an hour", "see the scheduler, and whether the DAG is paused")
        return Fact("Check overdue", lines, Tone.WARN)
    coming = f"next {numbers.time(view.next_check)}" if view.next_check else ""
    if not coming:
        coming = "no schedule" if schedule is None else "the next waits for a version in production"
    if view.check is None or view.checked_at is None:
        return Fact("No check yet", (coming,))
    window = numbers.span(view.check.window.start, view.check.window.end)
    return Fact(_ago(view.now - view.checked_at), ("the last check ran", f"of {window}", coming))


def _ago(passed: timedelta) -> str:
    """Return how long ago something was, in its greatest unit.

    >>> _ago(timedelta(minutes=26, seconds=6)), _ago(timedelta(days=1, hours=3)), _ago(timedelta(seconds=20))
    ('26 minutes ago', '1 day ago', 'Just now')
    """
    for unit, length in (("day", DAY), ("hour", HOUR), ("minute", timedelta(minutes=1))):
        if passed >= length:
            return f"{numbers.count(passed // length, unit)} ago"
    return "Just now"


def _to_do(view: ModelView) -> Section:
    """Return what the check asks for, what waits for a person, and what can be done here."""
    blocks: list[Block] = [*sections_of_check.next_steps(view.check).blocks] if view.check else []
    blocks += [Paragraph(text) for text in _waiting(view)]
    if view.state.deployment.production is None and not view.state.version_statuses:
        blocks.append(Paragraph("Train the first version:"))
        blocks.append(Command(f"airflow dags trigger {view.model}.retrain"))
    elif view.check is None:
        blocks.append(Paragraph("Nothing was checked yet. The first check shows whether the data has changed."))
    if (can := of_model(view)).actions:
        blocks.append(can)
    return Section("What to do", tuple(blocks))


def _waiting(view: ModelView) -> Iterator[str]:
    state = view.state
    if (staged := state.deployment.staging) is not None:
        yield f"Version {staged} waits for approval in Airflow, under Required Actions."
    if state.probation is not None:
        until = numbers.time(state.probation.until)
        yield capitalised(f"version {state.probation.version} is on probation on the data until {until}.")
