"""The page of a model's live monitors: what is open, the evidence against the bound, what is promised, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import with_full_stop
from keel.monitoring.alarm_words import name_of, names_of
from keel.monitoring.alarms import HARM_KINDS
from keel.reports import numbers
from keel.reports.charts.bars import greatest
from keel.reports.charts.specs import Level, Point, Sparkline, Trend
from keel.reports.page import Block, Cell, Command, Fact, Figure, Items, Page, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.monitoring.records import AlarmStatus, LiveStatus, MonitorStatus

DRAWN = 5
"""Monitors in the chart: those with the most evidence. The table has all of them."""
CELL_POINTS = 30
"""Values of the trajectory in a line of the table."""
ALARMS = 20
"""Open alarms that are told one by one. The table marks all of them."""
NEAR_SHARE = 0.6
"""Share of the bound's logarithm from which a monitor is called near. It decides nothing."""
TAGS = {
    "off": Tag("off"),
    "no version": Tag("no version"),
    "paused": Tag("paused", Tone.WARN),
    "stalled": Tag("not reading", Tone.WARN),
    "starting": Tag("starting"),
    "reading": Tag("no alarm", Tone.GOOD),
}


def needs_attention(status: LiveStatus) -> bool:
    """Return whether a person should look: an alarm is open, nothing is read, or the monitoring itself is at fault."""
    return bool(status.alarms or status.fault) or status.state == "stalled"


def worst_first(status: LiveStatus) -> list[MonitorStatus]:
    """Return the monitors with an open alarm, then the others, each by how near they are to their bound."""
    alarming = _alarming(status)
    return sorted(
        status.monitors, key=lambda each: ((each.kind, each.subject) not in alarming, -_share(each), each.subject)
    )


def document(status: LiveStatus, now: datetime) -> dict[str, Any]:
    """Return the status as JSON values, the worst monitor first."""
    ordered = status.model_copy(update={"monitors": tuple(worst_first(status))}).to_dict()
    return {
        **ordered,
        "headline": headline(status),
        "needs_attention": needs_attention(status),
        "at": now.isoformat(),
    }


def page(status: LiveStatus, now: datetime, *, drawn: bool = False) -> Page:
    """Return the page. The same status gives the same page.

    drawn: with a chart of the trajectories with the most evidence. The table draws each of them in a line.
    """
    sections = [
        Section("Open alarms", tuple(alarms(status))),
        Section("Evidence against the bound", tuple(evidence(status, drawn))),
        Section("What is promised", tuple(promise(status))),
        Section("Judged alarms", tuple(_judged(status))),
        Section("What to do", tuple(_to_do(status))),
    ]
    tag = Tag("alarm", Tone.BAD) if status.alarms else Tag("fault", Tone.BAD) if status.fault else TAGS[status.state]
    return Page(
        title=f"{status.model}: live monitors",
        eyebrow=" · ".join(_about(status)),
        headline=headline(status),
        tag=tag,
        lead=_lead(status),
        facts=tuple(_facts(status, now)),
        sections=tuple(section for section in sections if section.blocks),
        footer=("Evidence and bounds are decimal logarithms of the e-detector's value. Times are in UTC.",)
        if status.monitors
        else (),
    )


def headline(status: LiveStatus) -> str:
    """Return the one sentence about a model's live monitors."""
    if status.alarms:
        return _headline_of_alarms(status.alarms)
    if status.state == "off":
        return f"The live monitors of {status.model} are off."
    if status.fault:
        return "The live monitors start again, because their saved state cannot be used."
    if status.state == "paused":
        return f"The live monitors of {status.model} are paused."
    if status.state == "stalled":
        return f"Nothing reads the {numbers.count(status.waiting, 'prediction')} that {_are(status.waiting)} waiting."
    if status.state == "no version":
        return f"No version of {status.model} is in production, so nothing is monitored."
    if not status.blocks:
        return f"No block of {status.block_size:,} predictions of version {status.production} is complete yet."
    return f"No alarm is open after {numbers.count(status.blocks, 'block')} of version {status.version}."


def _lead(status: LiveStatus) -> str:
    """Return what the headline leaves out. What waits is among the facts, unless nothing reads it."""
    if status.fault and not status.alarms:
        return with_full_stop(status.fault)
    if status.state in ("stalled", "paused", "off"):
        return with_full_stop(status.sentence)
    return ""


def _headline_of_alarms(alarms: tuple[AlarmStatus, ...]) -> str:
    found = [each.alarm for each in alarms]
    shifts = [each for each in found if each.kind == "shift"]
    parts = []
    if any(each.kind in HARM_KINDS for each in found):
        parts.append("the mean loss has risen")
    if shifts:
        parts.append(f"the values of {names_of(shifts)} have changed")
    if any(each.kind == "fault" for each in found):
        parts.append("the monitoring is at fault")
    since = min(each.since for each in found)
    text = " and ".join(parts)
    return f"{numbers.count(len(found), 'alarm')} {_are(len(found))} open: {text}, since {numbers.time(since)}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _about(status: LiveStatus) -> Iterator[str]:
    yield status.model
    yield "live monitors"
    if status.version is not None:
        since = f" since {numbers.time(status.started_at)}" if status.started_at else ""
        yield f"version {status.version}{since}"


def _facts(status: LiveStatus, now: datetime) -> Iterator[Fact]:
    if status.state in ("off", "no version"):
        return
    if status.monitors:
        worst = worst_first(status)[0]
        tone = Tone.BAD if status.alarms else Tone.WARN if _is_near(worst) else Tone.GOOD
        lines = (f"evidence of {name_of(worst)}, the nearest", "at the bound an alarm opens")
        yield Fact(f"{_drawn_value(worst.evidence) or 0.0:.1f} of {worst.bound:.1f}", lines, tone)
    seen = [f"{numbers.count(status.rows, 'row')} until {numbers.time(status.seen_until)}"] if status.seen_until else []
    yield Fact(numbers.count(status.blocks, "block"), (f"of {status.block_size:,} predictions", *seen))
    missing = status.block_size - status.waiting
    whole = numbers.count(status.waiting // status.block_size, "whole block")
    waits = [f"{missing:,} more make a block" if missing > 0 else whole]
    waits += [f"{numbers.count(status.waiting_labels, 'label')} too"] if status.waiting_labels else []
    yield Fact(f"{status.waiting:,} waiting", tuple(waits), Tone.WARN if status.state == "stalled" else Tone.NEUTRAL)
    if status.last_block_at is not None:
        ago = max(now - status.last_block_at, timedelta(0))
        yield Fact(f"{numbers.duration(ago)} ago", ("the last block was evaluated",))


def alarms(status: LiveStatus) -> Iterator[Block]:
    """Yield the open alarms one by one, with what follows of each."""
    for each in status.alarms[:ALARMS]:
        yield Paragraph(with_full_stop(each.alarm.sentence))
        yield Items(tuple(_about_alarm(each)))
    if (more := len(status.alarms) - ALARMS) > 0:
        yield Paragraph(f"{more:,} more {_are(more)} not told one by one.", quiet=True)


def _about_alarm(each: AlarmStatus) -> Iterator[str]:
    alarm = each.alarm
    if alarm.evidence is not None and alarm.bound is not None:
        rows = f", on {numbers.count(alarm.rows_since, 'row')} since then" if alarm.rows_since else ""
        now = f"{alarm.evidence:.1f} of {alarm.bound:.1f}"
        yield f"Opened {numbers.time(alarm.opened_at)}. Evidence is now {now}{rows}."
    check = f"{alarm.model}.drift_check"
    if each.rings:
        times = "once" if each.rings == 1 else numbers.count(each.rings, "time")
        yield f"It has asked {times}, last {numbers.time(each.last_ring_at)}, for a run of {check}."
    yield f"A run of {check} judges the rows since then and closes the alarm."


def evidence(status: LiveStatus, drawn: bool) -> Iterator[Block]:
    """Yield each monitor's evidence beside its bound, the worst first. drawn: with a chart of those with the most."""
    ordered = worst_first(status)
    if not ordered:
        return
    if drawn and (chart := _chart(ordered, status.times)) is not None:
        yield Figure(
            chart,
            f"The evidence of {numbers.count(len(chart.others) + 1, 'monitor')} with the most of it over time. An "
            "alarm opens where a line reaches its bound. Without a change it stays low.",
        )
    alarming = _alarming(status)
    yield Table(
        "Each monitor's evidence over time, the worst first; a full-height line is the bound",
        ("monitor", "state", "evidence", "bound", "over time", "began about"),
        tuple(_row(each, is_open=(each.kind, each.subject) in alarming) for each in ordered),
        numeric=(2, 3),
        wide=True,
    )


def _chart(ordered: list[MonitorStatus], times: Sequence[datetime]) -> Trend | None:
    chosen = ordered[:DRAWN] if len(times) > 1 else []
    if not chosen:
        return None
    first, *others = ((name_of(each), _points(each, times)) for each in chosen)
    bounds = sorted({round(each.bound, 6) for each in chosen})
    levels = tuple(Level(bound, "bound" if len(bounds) == 1 else f"bound {bound:.1f}") for bound in bounds)
    unit = "log₁₀ of the evidence"
    return Trend("evidence over time", first[1], levels, label=first[0], others=tuple(others), unit=unit)


def _points(each: MonitorStatus, times: Sequence[datetime]) -> tuple[Point, ...]:
    return tuple(Point(at, _drawn_value(value)) for at, value in zip(times, each.trajectory, strict=True))


def _row(each: MonitorStatus, *, is_open: bool) -> tuple[Cell, ...]:
    tag = Tag("alarm", Tone.BAD) if is_open else Tag("near", Tone.WARN) if _is_near(each) else Tag("ok", Tone.GOOD)
    value = _drawn_value(each.evidence)
    return (
        name_of(each),
        tag,
        "none yet" if value is None else f"{value:.1f}",
        f"{each.bound:.1f}",
        Sparkline(_fewer([_drawn_value(value) for value in each.trajectory]), threshold=each.bound, from_zero=True),
        numbers.time(each.since) if each.since and (is_open or _is_near(each)) else "",
    )


def _fewer(values: list[float | None]) -> tuple[float | None, ...]:
    """Return at most `CELL_POINTS` values, with every peak, and the newest value as it is."""
    return (*greatest(values[:-1], CELL_POINTS - 1), *values[-1:])


def promise(status: LiveStatus) -> Iterator[Block]:
    """Yield how often monitors may alarm without a change, and what limits that."""
    if status.promise:
        yield Paragraph(with_full_stop(status.promise))
    if status.notes:
        yield Items(tuple(with_full_stop(note) for note in status.notes))


def _judged(status: LiveStatus) -> Iterator[Block]:
    if status.judged:
        rows = (
            (numbers.time(each.opened_at), name_of(each), numbers.time(each.since), each.judged_by or "")
            for each in status.judged
        )
        head = ("opened", "monitor", "began about", "closed by")
        yield Table("The last alarms that were closed", head, tuple(rows), wide=True)


def _to_do(status: LiveStatus) -> Iterator[Block]:
    yield from to_read(status)
    if status.state == "no version":  # a check needs one
        return
    if status.alarms and status.state == "off":
        yield from _to_check(status.model)
        return
    check, kinds = f"{status.model}.drift_check", {each.alarm.kind for each in status.alarms}
    if kinds - {"fault"}:
        starts = f"{check} then starts" if status.state == "stalled" else f"Nothing: {check} starts"
        yield Paragraph(f"{starts} by itself and says what it found. To see its last result:")
        yield Command(f"keel report {status.model}")
    if status.fault or "fault" in kinds:
        yield Paragraph("The triggerer's log has the whole error. It tries again by itself, after growing waits.")


def to_read(status: LiveStatus) -> Iterator[Block]:
    """Yield what to do so that the monitors read what arrives."""
    check = f"{status.model}.drift_check"
    if status.state == "off":
        yield Paragraph("Remove live: null from the model's model.yaml to turn them on.")
    elif status.state == "no version":
        yield Paragraph("The monitors start with the first version in production:")
        yield Command(f"airflow dags trigger {status.model}.retrain")
    elif status.state == "paused":
        yield Paragraph("A person has paused them. What arrives meanwhile waits, and is read afterwards:")
        yield Command(f"keel live {status.model} --resume")
    elif status.state == "stalled":
        yield Paragraph(
            f"Airflow's triggerer reads new predictions while the DAG {check} is not paused. See whether the triggerer "
            "runs, and unpause the DAG. Nothing is lost: what waits is read then."
        )
        yield Command(f"airflow dags unpause {check}")


def _to_check(model: str) -> Iterator[Block]:
    """Yield how the open alarms of monitors that are off are judged: no monitor is left to ask for a check."""
    check = f"{model}.drift_check"
    yield Paragraph(f"While they are off, no alarm starts {check}. Its next run judges what is open; to start one:")
    yield Command(f"airflow dags trigger {check}")


def _alarming(status: LiveStatus) -> set[tuple[str, str]]:
    return {(each.alarm.kind, each.alarm.subject) for each in status.alarms}


def _share(each: MonitorStatus) -> float:
    """Return the evidence as a share of the bound, of their logarithms; 0 without any."""
    return (_drawn_value(each.evidence) or 0.0) / each.bound if each.bound > 0 else 0.0


def _is_near(each: MonitorStatus) -> bool:
    return _share(each) >= NEAR_SHARE


def _drawn_value(evidence: float | None) -> float | None:
    """Return evidence as it is shown: evidence below 1, of which the logarithm is negative, is none."""
    return None if evidence is None or math.isnan(evidence) else max(evidence, 0.0)
