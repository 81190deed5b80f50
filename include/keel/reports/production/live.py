"""The page of a model's live monitors: what is open, the evidence against the bound, what is promised, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import with_full_stop
from keel.reports import numbers
from keel.reports.charts.specs import Level, Point, Sparkline, Trend
from keel.reports.page import Block, Cell, Command, Fact, Figure, Items, Page, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.monitoring.records import LiveAlarm, MonitorKind

DRAWN = 5
"""Monitors in the chart: those with the most evidence. The table has all of them."""
CELL_POINTS = 30
"""Values of the trajectory in a line of the table."""
STALLED = timedelta(minutes=5)
"""Whole blocks that wait for longer have nobody who reads them: the triggerer polls every few seconds."""
KINDS = {"harm": "mean loss", "audit": "mean loss, audited", "fault": "fault"}
OPEN, NEAR = "alarm", "near"
NEAR_SHARE = 0.6
"""Share of the bound's logarithm from which a monitor is called near. It decides nothing."""


@dataclass(frozen=True)
class Trajectory:
    """One monitor: its evidence now and over time, as decimal logarithms, against its bound."""

    kind: MonitorKind
    subject: str
    evidence: float | None
    """None before its first block."""
    bound: float
    blocks: int = 0
    since: datetime | None = None
    """Estimated start of the change that the evidence is about."""
    path: tuple[tuple[datetime, float | None], ...] = ()

    @property
    def name(self) -> str:
        """The column, or what else is monitored."""
        return KINDS.get(self.kind, self.subject)

    @property
    def share(self) -> float:
        """Evidence as a share of the bound, of their logarithms; 0 without any."""
        return max(self.evidence or 0.0, 0.0) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True)
class OpenAlarm:
    """An alarm that no check has judged, and how often it rang."""

    alarm: LiveAlarm
    rings: int = 0
    last_ring_at: datetime | None = None


@dataclass(frozen=True)
class LiveData:
    """What is known of a model's live monitors. Times ``…_at`` are the clock's, others the data's."""

    model: str
    now: datetime
    configured: bool = True
    """Whether the configuration has them on."""
    production: int | None = None
    version: int | None = None
    """The version that is monitored; None before the first block was read."""
    started_at: datetime | None = None
    paused: bool = False
    block_size: int = 100
    rows: int = 0
    blocks: int = 0
    seen_until: datetime | None = None
    last_block_at: datetime | None = None
    waiting: int = 0
    """Predictions that no monitor has seen."""
    waiting_labels: int = 0
    monitors: tuple[Trajectory, ...] = ()
    alarms: tuple[OpenAlarm, ...] = ()
    judged: tuple[LiveAlarm, ...] = ()
    """The last alarms that a check has judged, the newest first."""
    promise: str = ""
    notes: tuple[str, ...] = ()
    """What is monitored with less power, or not at all, and why."""
    fault: str = ""

    @property
    def stalled(self) -> bool:
        """Whether whole blocks wait and nothing has read any for longer than a poll takes."""
        if not self.configured or self.paused or self.production is None or self.waiting < self.block_size:
            return False
        return self.last_block_at is None or self.now - self.last_block_at > STALLED

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look: an alarm is open, nothing is read, or the monitoring itself is at fault."""
        return bool(self.alarms or self.fault) or self.stalled

    @property
    def worst_first(self) -> tuple[Trajectory, ...]:
        """Monitors with an open alarm, then the others, each by how near they are to the bound."""
        alarming = {(each.alarm.kind, each.alarm.subject) for each in self.alarms}
        return tuple(
            sorted(
                self.monitors, key=lambda each: ((each.kind, each.subject) not in alarming, -each.share, each.subject)
            )
        )


def document(data: LiveData) -> dict[str, Any]:
    """Return the data as JSON values, the worst monitor first."""
    return {
        "model": data.model,
        "sentence": headline(data),
        "on": data.configured,
        "paused": data.paused,
        "production": data.production,
        "version": data.version,
        "started_at": _iso(data.started_at),
        "block_size": data.block_size,
        "blocks": data.blocks,
        "rows": data.rows,
        "seen_until": _iso(data.seen_until),
        "last_block_at": _iso(data.last_block_at),
        "waiting": data.waiting,
        "waiting_labels": data.waiting_labels,
        "stalled": data.stalled,
        "fault": data.fault or None,
        "promise": data.promise or None,
        "notes": list(data.notes),
        "alarms": [
            {**each.alarm.to_dict(), "rings": each.rings, "last_ring_at": _iso(each.last_ring_at)}
            for each in data.alarms
        ],
        "judged": [each.to_dict() for each in data.judged],
        "monitors": [
            {
                "kind": each.kind,
                "subject": each.subject,
                "evidence": _finite(each.evidence),
                "bound": each.bound,
                "blocks": each.blocks,
                "since": _iso(each.since),
                "trajectory": [[at.isoformat(), _finite(value)] for at, value in each.path],
            }
            for each in data.worst_first
        ],
        "needs_attention": data.needs_attention,
        "at": data.now.isoformat(),
    }


def page(data: LiveData, *, drawn: bool = False) -> Page:
    """Return the page. The same data gives the same page.

    drawn: with a chart of the trajectories with the most evidence, for a page. The table draws each of them in a line.
    """
    sections = [
        Section("Open alarms", tuple(_alarms(data))),
        Section("Evidence against the bound", tuple(_evidence(data, drawn))),
        Section("What is promised", tuple(_promise(data))),
        Section("What to do", tuple(_to_do(data))),
    ]
    return Page(
        title=f"{data.model}: live monitors",
        eyebrow=" · ".join(_about(data)),
        headline=headline(data),
        tag=_tag(data),
        facts=tuple(_facts(data)),
        sections=tuple(section for section in sections if section.blocks),
        footer=("Evidence and bounds are decimal logarithms of the e-detector's value. Times are in UTC.",)
        if data.monitors
        else (),
    )


def headline(data: LiveData) -> str:
    """Return the one sentence about a model's live monitors."""
    if not data.configured:
        return f"The live monitors of {data.model} are off."
    if data.production is None:
        return f"No version of {data.model} is in production, so nothing is monitored."
    if data.alarms:
        return _headline_of_alarms(data.alarms)
    if data.paused:
        return f"The live monitors of {data.model} are paused."
    if data.fault:
        return with_full_stop(data.fault)
    if data.stalled:
        return f"Nothing reads the {numbers.count(data.waiting, 'prediction')} that {_are(data.waiting)} waiting."
    if data.version is None or not data.blocks:
        return f"No block of {data.block_size:,} predictions of version {data.production} is complete yet."
    return f"No alarm is open after {numbers.count(data.blocks, 'block')} of version {data.version}."


def _headline_of_alarms(alarms: tuple[OpenAlarm, ...]) -> str:
    found = [each.alarm for each in alarms]
    shifts = [each.subject for each in found if each.kind == "shift"]
    parts = []
    if any(each.kind in ("harm", "audit") for each in found):
        parts.append("the mean loss has risen")
    if shifts:
        named = ", ".join(shifts[:3]) if len(shifts) <= 3 else f"{', '.join(shifts[:2])} and {len(shifts) - 2} more"
        parts.append(f"the values of {named} have changed")
    if any(each.kind == "fault" for each in found):
        parts.append("the monitoring is at fault")
    since = min(each.since for each in found)
    text = " and ".join(parts)
    return f"{numbers.count(len(found), 'alarm')} {_are(len(found))} open: {text}, since {numbers.time(since)}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _tag(data: LiveData) -> Tag:
    if data.alarms:
        return Tag("alarm", Tone.BAD)
    if data.fault:
        return Tag("fault", Tone.BAD)
    if data.stalled:
        return Tag("not reading", Tone.WARN)
    if not data.configured:
        return Tag("off")
    if data.paused:
        return Tag("paused", Tone.WARN)
    return Tag("no alarm", Tone.GOOD) if data.blocks else Tag("waiting")


def _about(data: LiveData) -> Iterator[str]:
    yield data.model
    yield "live monitors"
    if data.version is not None:
        since = f" since {numbers.time(data.started_at)}" if data.started_at else ""
        yield f"version {data.version}{since}"


def _facts(data: LiveData) -> Iterator[Fact]:
    if not data.configured or data.production is None:
        return
    worst = data.worst_first[0] if data.monitors else None
    if worst is not None:
        tone = Tone.BAD if data.alarms else Tone.WARN if worst.share >= NEAR_SHARE else Tone.GOOD
        value, bound = (f"{each:.1f}" for each in (max(worst.evidence or 0.0, 0.0), worst.bound))
        yield Fact(
            f"{value} of {bound}", (f"evidence of {worst.name}, the highest", "at the bound an alarm opens"), tone
        )
    yield Fact(
        numbers.count(data.blocks, "block"),
        (
            f"of {data.block_size:,} predictions",
            f"{numbers.count(data.rows, 'row')} until {numbers.time(data.seen_until)}",
        )
        if data.seen_until
        else (f"of {data.block_size:,} predictions",),
    )
    missing = data.block_size - data.waiting
    wait = (
        f"{missing:,} more make a block"
        if missing > 0
        else numbers.count(data.waiting // data.block_size, "whole block")
    )
    labels = (f"{numbers.count(data.waiting_labels, 'label')} too",) if data.waiting_labels else ()
    yield Fact(f"{data.waiting:,} waiting", (wait, *labels), Tone.WARN if data.stalled else Tone.NEUTRAL)
    if data.last_block_at is not None:
        ago = data.now - data.last_block_at
        yield Fact(f"{numbers.duration(max(ago, timedelta(0)))} ago", ("the last block was evaluated",))


def _alarms(data: LiveData) -> Iterator[Block]:
    for each in data.alarms:
        yield Paragraph(with_full_stop(each.alarm.sentence))
        yield Items(tuple(_about_alarm(each)))


def _about_alarm(each: OpenAlarm) -> Iterator[str]:
    alarm = each.alarm
    if alarm.kind == "fault":
        yield f"Since {numbers.time(alarm.since)}."
    else:
        rows = f", {numbers.count(alarm.rows_since, 'row')} until now" if alarm.rows_since else ""
        yield f"Began about {numbers.time(alarm.since)}{rows}; the alarm opened {numbers.time(alarm.opened_at)}."
    if alarm.evidence is not None and alarm.bound is not None:
        yield f"Evidence {alarm.evidence:.1f}, bound {alarm.bound:.1f}."
    check = f"{alarm.model}.drift_check"
    if each.rings:
        rang = f"{numbers.count(each.rings, 'time')}, last {numbers.time(each.last_ring_at)}"
        yield f"It has asked for a run of {check} {rang}. That run judges the rows since then and closes the alarm."
    else:
        yield f"It asks for a run of {check}, which judges the rows since then and closes the alarm."


def _evidence(data: LiveData, drawn: bool) -> Iterator[Block]:
    ordered = data.worst_first
    if not ordered:
        return
    if drawn and (chart := _chart(ordered)) is not None:
        yield Figure(
            chart,
            f"The evidence of {numbers.count(len(chart.others) + 1, 'monitor')} with the most of it over time. An "
            "alarm opens where a line reaches its bound. Without a change it stays low.",
        )
    yield Table(
        "Each monitor's evidence over time, the worst first; a full-height line is the bound",
        ("monitor", "", "evidence", "bound", "over time", "began about"),
        tuple(_row(each, data) for each in ordered),
        numeric=(2, 3),
        wide=True,
    )


def _chart(ordered: tuple[Trajectory, ...]) -> Trend | None:
    chosen = [each for each in ordered if len(each.path) > 1][:DRAWN]
    if not chosen:
        return None
    first, *others = ((each.name, _points(each)) for each in chosen)
    bounds = sorted({round(each.bound, 6) for each in chosen})
    levels = tuple(Level(bound, "bound" if len(bounds) == 1 else f"bound {bound:.1f}") for bound in bounds)
    return Trend(
        "evidence over time", first[1], levels, label=first[0], others=tuple(others), unit="log₁₀ of the evidence"
    )


def _points(each: Trajectory) -> tuple[Point, ...]:
    return tuple(Point(at, None if value is None else max(value, 0.0)) for at, value in each.path)


def _row(each: Trajectory, data: LiveData) -> tuple[Cell, ...]:
    is_open = any((a.alarm.kind, a.alarm.subject) == (each.kind, each.subject) for a in data.alarms)
    state = (
        Tag(OPEN, Tone.BAD) if is_open else Tag(NEAR, Tone.WARN) if each.share >= NEAR_SHARE else Tag("ok", Tone.GOOD)
    )
    values = _fewer(tuple(None if value is None else max(value, 0.0) for _, value in each.path))
    rising = is_open or each.share >= NEAR_SHARE
    return (
        each.name,
        state,
        numbers.UNKNOWN if _finite(each.evidence) is None else f"{max(each.evidence or 0.0, 0.0):.1f}",
        f"{each.bound:.1f}",
        Sparkline(values, threshold=each.bound, from_zero=True),
        numbers.time(each.since) if rising and each.since else "",
    )


def _fewer(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Return at most `CELL_POINTS` values: the greatest of each part, so that no peak is lost, and the newest."""
    if len(values) <= CELL_POINTS:
        return values
    last, rest, count = values[-1], values[:-1], CELL_POINTS - 1
    parts = [rest[i * len(rest) // count : (i + 1) * len(rest) // count] for i in range(count)]
    known = [[value for value in part if value is not None] for part in parts]
    return (*(max(part) if part else None for part in known), last)


def _promise(data: LiveData) -> Iterator[Block]:
    if data.promise:
        yield Paragraph(with_full_stop(data.promise))
    if data.notes:
        yield Items(tuple(with_full_stop(note) for note in data.notes))
    if data.judged:
        yield Table(
            "The last alarms that a check has judged",
            ("opened", "monitor", "began about", "judged by"),
            tuple(
                (
                    numbers.time(each.opened_at),
                    KINDS.get(each.kind, each.subject),
                    numbers.time(each.since),
                    each.judged_by or "",
                )
                for each in data.judged
            ),
            wide=True,
        )


def _to_do(data: LiveData) -> Iterator[Block]:
    check = f"{data.model}.drift_check"
    if not data.configured:
        yield Paragraph("Remove live: null from the model's model.yaml to turn them on.")
        return
    if data.production is None:
        yield Paragraph("The monitors start with the first version in production:")
        yield Command(f"airflow dags trigger {data.model}.retrain")
        return
    if data.paused:
        yield Paragraph("A person has paused them. What arrives meanwhile waits, and is read afterwards:")
        yield Command(f"keel live {data.model} --resume")
    if data.stalled:
        yield Paragraph(
            f"Airflow's triggerer reads new predictions while the DAG {check} is not paused. See whether the triggerer "
            "runs, and unpause the DAG. Nothing is lost: what waits is read then."
        )
        yield Command(f"airflow dags unpause {check}")
    if any(each.alarm.kind != "fault" for each in data.alarms):
        yield Paragraph(f"Nothing: {check} starts by itself and says what it found. To see its last result:")
        yield Command(f"keel report {data.model}")
    if data.fault or any(each.alarm.kind == "fault" for each in data.alarms):
        yield Paragraph("The triggerer's log has the whole error. It tries again by itself, after growing waits.")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
