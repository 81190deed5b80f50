"""The open alerts of a model, and the silences that keep people from being told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.ledger.entries import Action
from keel.ledger.wording import as_mapping, as_text, parse_utc
from keel.reports import numbers
from keel.reports.model import actions
from keel.reports.model.view import OpenSilence
from keel.reports.page import Actions, Details, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.ledger.entries import Entry
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block, Cell

OPEN_ROWS = 5
"""Alerts that are seen at once: nobody acts on more. Those that another one explains are folded."""
MAX_ROWS = 200
SEVERITIES = {
    "critical": Tag("critical", Tone.BAD),
    "error": Tag("error", Tone.BAD),
    "warning": Tag("warning", Tone.WARN),
    "info": Tag("info"),
}


def open_silences(
    all_models: Iterable[Entry], rows: Iterable[Entry], model: str, now: datetime
) -> tuple[OpenSilence, ...]:
    """Return the silences that are not over, the one that ends first first. Rows of another form are left out.

    all_models, rows: the ledger's rows of no single model, and of this one.
    """
    found: dict[str, OpenSilence] = {}
    for row in (*all_models, *rows):
        body = as_mapping(row.body)
        if row.action == Action.END_SILENCE:
            found.pop(as_text(body.get("silence_id")), None)
        elif row.action == Action.SILENCE and (made := _read(as_mapping(body.get("silence")), model)):
            found[made.silence_id] = made
    return tuple(sorted((each for each in found.values() if each.until > now), key=lambda each: each.until))


def _read(body: Mapping[str, Any], model: str) -> OpenSilence | None:
    until = parse_utc(body.get("until"))
    if until is None or not as_text(body.get("silence_id")):
        return None
    kind, subject, start = (as_text(body.get(name)) for name in ("kind", "subject", "start"))
    what = f"alerts of {kind.replace('_', ' ')}" if kind else "all alerts"
    about = f" about {subject}" if subject else ""
    since = f" from {numbers.time(start)}" if start else ""
    return OpenSilence(
        as_text(body["silence_id"]),
        as_text(body.get("model")) != model,
        f"{what}{about}{since}",
        until,
        as_text(body.get("actor")),
        as_text(body.get("reason")),
    )


def section(view: ModelView) -> Section:
    """Return the section about open alerts."""
    return Section("Open alerts", tuple(_blocks(view)))


def _blocks(view: ModelView) -> Iterator[Block]:
    if not view.alerts:
        yield Paragraph("No alert is open.", quiet=True)
    else:
        first = [each for each in view.alerts if not each["inhibited_by"]][:OPEN_ROWS] or view.alerts[:OPEN_ROWS]
        others = [each for each in view.alerts[:MAX_ROWS] if each not in first]
        caption = f"{len(first)} of {numbers.count(len(view.alerts), 'open alert')}, the worst first"
        yield _table(view, caption if others else f"{numbers.count(len(first), 'open alert')}, the worst first", first)
        if others:
            yield Details(f"{numbers.count(len(others), 'more alert')}", (_table(view, "More open alerts", others),))
    if view.silences:
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (
                f"{each.sentence}{' of all models' if each.all_models else ''}",
                numbers.time(each.until.replace(second=0, microsecond=0)),
                each.actor,
                each.reason,
                "" if each.all_models else Actions((actions.end_silence(view.model, each.silence_id),)),
            )
            for each in view.silences
        )
        yield Table("Silences: nobody is told of these", ("what", "until", "by", "reason", ""), rows, wide=True)


def _table(view: ModelView, caption: str, alerts: Iterable[Mapping[str, Any]]) -> Table:
    head = ("about", "severity", "what", "since", "")
    return Table(caption, head, tuple(_row(view, each) for each in alerts), wide=True)


def _row(view: ModelView, alert: Mapping[str, Any]) -> tuple[Cell, ...]:
    about = alert["kind"].replace("_", " ") + (f": {alert['subject']}" if alert["subject"] else "")
    can = [actions.silence(view.model, alert["kind"], alert["subject"], about)]
    if alert["state"] != "acknowledged":
        can.insert(0, actions.acknowledge(view.model, alert["alert_id"], about))
    return (
        about,
        SEVERITIES.get(alert["severity"], Tag(str(alert["severity"]))),
        str(alert["sentence"]),
        _since(alert),
        Actions(tuple(can)),
    )


def _since(alert: Mapping[str, Any]) -> str:
    """Return since when an alert is open, and what keeps people from being told of it."""
    words = [numbers.time(alert["first_seen"].replace(second=0, microsecond=0))]
    if alert["state"] == "acknowledged":
        words.append(f"acknowledged by {alert['acknowledged_by']}")
    if alert["inhibited_by"]:
        words.append("explained by another alert")
    if alert["silenced_by"]:
        words.append("silenced")
    return ", ".join(words)
