"""The page of a probation: what the labels show of a version, the evidence against its limits, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.ledger.wording import with_full_stop
from keel.monitoring.records import StoredProbationReport
from keel.reports import numbers
from keel.reports.charts.specs import Interval, Intervals, Level, Point, Trend
from keel.reports.page import Block, Command, Fact, Figure, Items, Page, Paragraph, Section, Table, Tag, Tone
from keel.window import floor_hour

if TYPE_CHECKING:
    from typing import Any

    from keel.ledger.entries import Entry
    from keel.workspace import Workspace

TAGS = {
    "harm": Tag("harm", Tone.BAD),
    "broken_promise": Tag("below its baseline", Tone.WARN),
    "survived": Tag("passed", Tone.GOOD),
    "watching": Tag("on probation"),
    "inconclusive": Tag("not enough evidence", Tone.WARN),
}
TESTS = {"harm": "worse than the version before it", "baseline": "does not meet its holdout baseline"}
ENOUGH = 1.0
"""Share of the needed evidence at which a test is significant."""
MAX_POINTS = 400
"""Evaluations that are drawn; of more, every n-th and the newest."""


@dataclass(frozen=True)
class ProbationData:
    """The evaluations of one probation."""

    model: str
    version: int
    report: StoredProbationReport
    """The newest."""
    since: datetime
    evaluated_at: datetime
    """The end of the data that the newest evaluation looked at."""
    path: tuple[tuple[datetime, StoredProbationReport], ...] = ()
    """All stored evaluations, the oldest first."""
    until: datetime | None = None
    """When the probation ends by itself, without an extension; None where the ledger does not have it."""
    on_probation: bool = False


def collect(ws: Workspace, model: str, version: int | None = None) -> ProbationData | None:
    """Return the newest probation of a version, or of the model; None where none was evaluated."""
    from keel.deployments.history import fold
    from keel.ledger import entries as ledger

    stored = ws.store.reports.list(model, "probation", version=version, limit=None)
    if not stored:
        return None
    newest = max(stored, key=lambda report: (report["window_start"], report["window_end"]))
    same = [
        report
        for report in stored
        if (report["version"], report["window_start"]) == (newest["version"], newest["window_start"])
    ]
    path = sorted(((each["window_end"], each["body"]) for each in same), key=lambda pair: pair[0])
    rows = list(ledger.entries(ws.store, model))
    current = fold(model, rows).probation
    on_probation = current is not None and current.version == newest["version"]
    return ProbationData(
        model,
        newest["version"],
        StoredProbationReport.from_dict(newest["body"]),
        newest["window_start"],
        newest["window_end"],
        tuple((at, StoredProbationReport.from_dict(body)) for at, body in path),
        _until(rows, newest["version"], newest["window_start"]),
        on_probation,
    )


def _until(rows: Iterable[Entry], version: int, since: datetime) -> datetime | None:
    """Return when the probation of a version that began in the hour ``since`` ends, by the ledger."""
    until = None
    for row in rows:
        began = row.body.get("probation")
        if began and began["version"] == version and floor_hour(datetime.fromisoformat(began["since"])) == since:
            until = datetime.fromisoformat(began["until"])
    return until


def _end(data: ProbationData) -> datetime:
    """Return the end of the predictions that count: no later than the probation's, however late it was evaluated."""
    extended = [report.extended_until for _, report in data.path] + [data.report.extended_until]
    ends = [end for end in (data.until, *extended) if end is not None]
    return min(data.evaluated_at, max(ends)) if ends else data.evaluated_at


def page(data: ProbationData) -> Page:
    """Return the page of a probation. The same records give the same page."""
    report = data.report
    return Page(
        title=f"{data.model}: probation of version {data.version}",
        eyebrow=" · ".join(
            (
                data.model,
                f"probation of version {data.version}",
                numbers.count(report.n, "labelled prediction"),
                numbers.span(data.since, _end(data)),
            )
        ),
        headline=_headline(data),
        tag=TAGS.get(report.verdict, Tag(report.verdict.replace("_", " "))),
        lead=with_full_stop(report.sentence),
        facts=tuple(_facts(data)),
        sections=(
            *_losses(data),
            Section("The evidence", tuple(_evidence(data))),
            Section("What follows", tuple(_follows(data))),
        ),
        footer=(
            "The tests bet on blocks of 50 labelled predictions or more and two hours or longer, in the order in which "
            "labels arrive. Evidence of 100 to 1 against a harmless version has a chance of at most 1%.",
            "Times are in UTC.",
        ),
    )


def _before(data: ProbationData) -> str:
    previous = data.report.previous
    return "no version" if previous is None else f"version {previous}"


def _headline(data: ProbationData) -> str:
    version = f"Version {data.version}"
    match data.report.verdict:
        case "harm":
            return f"{version} is worse than {_before(data)}, the version before it."
        case "broken_promise":
            return f"{version} is worse than its baseline, but not shown to be worse than {_before(data)}."
        case "survived":
            return f"{version} passed its probation."
        case "watching":
            return f"{version} is on probation, and nothing shows harm so far."
        case "inconclusive":
            return f"There is not enough evidence to call version {data.version} harmless."
    return with_full_stop(data.report.sentence)


def _facts(data: ProbationData) -> Iterator[Fact]:
    report = data.report
    if report.current_loss is not None:
        now, was, limit = numbers.alike(report.current_loss, report.previous_loss, report.baseline_limit)
        lines = [f"mean {report.loss} of version {data.version}"]
        lines += [f"{_before(data)}: {was}"] if report.previous_loss is not None else []
        lines += [f"its holdout allows {limit}"] if report.baseline_limit is not None else []
        yield Fact(now, tuple(lines))
    if report.harm:
        yield _test_fact(report.harm, TESTS["harm"], Tone.BAD)
    if report.baseline:
        yield _test_fact(report.baseline, TESTS["baseline"], Tone.WARN)
    yield _next(data)


def _test_fact(test: Mapping[str, Any], says: str, tone: Tone) -> Fact:
    crossed = test.get("crossed_at") is not None
    lines = (
        f"highest evidence so far that it {says if says.startswith('does') else f'is {says}'}",
        f"{test['threshold']:,.0f} to 1 is enough",
    )
    return Fact(f"{numbers.number(test['evidence'])} to 1", lines, tone if crossed else Tone.GOOD)


def _next(data: ProbationData) -> Fact:
    match data.report.verdict:
        case "harm":
            back = data.report.previous
            return Fact(
                "Rolled back",
                (f"to version {back}" if back is not None else "there is no version before it",),
                Tone.BAD,
            )
        case "broken_promise":
            return Fact("Find the cause", (f"{_before(data)} would be no better",), Tone.WARN)
        case "survived":
            return Fact("Nothing to do", (f"version {data.version} stays",))
    if not data.on_probation:
        return Fact("Nothing to do", ("the probation has ended",))
    until = data.report.extended_until or data.until
    end = f"until {numbers.time(until)}" if until else "until it is evaluated again"
    return Fact("Nothing to do", (f"Keel evaluates it {end}",))


def _losses(data: ProbationData) -> Iterator[Section]:
    report = data.report
    if report.current_loss is None:
        return
    rows = [Interval(f"version {data.version}", report.current_loss)]
    if report.previous_loss is not None:
        rows.append(Interval(f"{_before(data)}, before it", report.previous_loss))
    limit = report.baseline_limit
    chart = Intervals(
        "mean loss on the same predictions",
        tuple(rows),
        limit,
        "its holdout allows" if limit is not None else "",
        report.loss or "",
    )
    text = f"On the same {numbers.count(report.n, 'labelled prediction')}, lower is better."
    if limit is not None:
        allowed = numbers.alike(report.current_loss, report.previous_loss, limit)[-1]
        text += f" The holdout of version {data.version}, and the tolerated increase, allow {allowed}."
    blocks: list[Block] = [Figure(chart, text)]
    if report.pairs_lost is not None:
        fewer = "fewer" if report.pairs_lost > 0 else "more"
        lost = numbers.number(abs(report.pairs_lost) * 100, 2)
        blocks.append(
            Paragraph(
                f"Of 100 pairs of a positive and a negative row it ranks {lost} {fewer} correctly than {_before(data)}."
            )
        )
    if report.n_unusable:
        blocks.append(Paragraph(f"{numbers.count(report.n_unusable, 'prediction')} could not be used.", quiet=True))
    yield Section("What the labels show", tuple(blocks))


def _evidence(data: ProbationData) -> Iterator[Block]:
    tests = {name: getattr(data.report, name) for name in TESTS if getattr(data.report, name)}
    if not tests:
        yield Paragraph("Nothing could be tested yet.")
    else:
        yield from _path(data, tests)
        yield Table(
            "The two tests",
            ("That it is …", "Highest evidence", "Enough", "Blocks", ""),
            tuple(
                (
                    TESTS[name],
                    f"{numbers.number(test['evidence'])} to 1",
                    f"{test['threshold']:,.0f} to 1",
                    numbers.count(test.get("blocks")),
                    "not shown" if test.get("crossed_at") is None else f"shown after {test['crossed_at']:,}",
                )
                for name, test in tests.items()
            ),
            numeric=(1, 2, 3),
            wide=True,
        )
    if data.report.missing:
        yield Paragraph("What is missing to call the version harmless:")
        yield Items(data.report.missing)


def _path(data: ProbationData, tests: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the evidence over time, where it was evaluated several times."""
    step = max(1, math.ceil(len(data.path) / MAX_POINTS))
    path = data.path[::-step][::-1]  # counted from the end, so that the newest is there
    if len(path) < 2:
        return
    series = [(TESTS[name], tuple(_point(at, getattr(report, name)) for at, report in path)) for name in tests]
    (label, points), others = series[0], tuple(series[1:])
    chart = Trend(
        "evidence over time",
        points,
        (Level(ENOUGH, "enough to act"),),
        label=label,
        others=others,
        unit="share of the evidence needed",
    )
    yield Figure(
        chart,
        f"The evidence at {numbers.count(len(data.path), 'evaluation')}, as a share of what is needed on a logarithmic "
        "scale: 0 is none, and at 1 Keel acts. It counts from the first labelled prediction and never restarts.",
    )


def _point(at: datetime, test: Mapping[str, Any] | None) -> Point:
    if not test or test["evidence"] <= 0:
        return Point(at, None)
    return Point(at, math.log(max(test["evidence"], 1.0)) / math.log(test["threshold"]))


def _follows(data: ProbationData) -> Iterator[Block]:
    match data.report.verdict:
        case "harm":
            yield Paragraph(f"Keel rolls back to {_before(data)} and quarantines version {data.version}.")
        case "broken_promise":
            yield Paragraph(
                f"Nothing shows that {_before(data)} would do better, so that version {data.version} stays. Look for "
                "what has changed since its holdout:"
            )
            yield Command(f"keel report {data.model}")
        case "survived":
            yield Paragraph(f"Version {data.version} stays in production. The checks go on monitoring it.")
        case _ if not data.on_probation:
            yield Paragraph(f"The probation of version {data.version} has ended. The checks go on.")
        case _:
            yield Paragraph(
                f"The DAG {data.model}.watch_deployment evaluates it hourly, and rolls it back if harm is shown. To "
                "end the probation now, whatever the evidence:"
            )
            yield Command(f"keel versions end-probation {data.model} {data.version} --reason …")
