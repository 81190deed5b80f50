"""The versions of a model side by side, from the ledger and the stored reports: MLflow is not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.deployments.history import PROMOTABLE, Status
from keel.ledger.wording import as_mapping, as_number, parse_utc
from keel.reports import numbers
from keel.reports.comparison.words import with_current_names
from keel.reports.metric_words import better, metric_name
from keel.reports.model.actions import promote
from keel.reports.model.addresses import report_path
from keel.reports.model.view import VersionLine
from keel.reports.page import Actions, Local, Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.deployments.history import History
    from keel.ledger.entries import Entry
    from keel.monitoring.records import StoredPerformanceReport
    from keel.reports.model.view import ModelView
    from keel.reports.page import Block, Cell

TAGS = {
    Status.PRODUCTION: Tag("in production", Tone.GOOD),
    Status.STAGING: Tag("waits for approval", Tone.WARN),
    Status.REJECTED: Tag("rejected", Tone.WARN),
    Status.QUARANTINED: Tag("quarantined", Tone.BAD),
}
MAX_VERSIONS = 12
"""Versions of the table: the newest, and those that are deployed."""
RESULTS = {"pass": "better", "fail": "not better", "inconclusive": "not shown to be better"}


def version_lines(
    state: History,
    rows: Sequence[Entry],
    performances: Mapping[int, StoredPerformanceReport],
    comparisons: Sequence[Mapping[str, Any]],
) -> tuple[VersionLine, ...]:
    """Return the versions, the newest first, deleted ones left out.

    performances: the newest report by version. comparisons: bodies, the newest first.
    """
    tags = {
        as_mapping(row.body.get("artifacts")).get("version"): as_mapping(
            as_mapping(row.body.get("evidence")).get("tags")
        )
        for row in rows
        if "artifacts" in row.body
    }
    compared: dict[int, Mapping[str, Any]] = {}
    speeds: dict[int, Mapping[str, Any]] = {}
    for body in map(with_current_names, comparisons):
        challenger, speed = body.get("challenger"), as_mapping(body.get("speed"))
        if isinstance(challenger, int):
            compared.setdefault(challenger, body)
        for who in ("challenger", "champion"):
            if isinstance(number := body.get(who), int) and speed.get(who):
                speeds.setdefault(number, as_mapping(speed[who]))
    deployed = {version for version in state.deployment.aliases.values() if version is not None}
    there = [
        version
        for version, status in sorted(state.version_statuses.items(), reverse=True)
        if status.status is not Status.DELETED or version in deployed
    ]
    shown = [version for i, version in enumerate(there) if i < MAX_VERSIONS or version in deployed]
    lines = []
    for version in shown:
        status, tag = state.version_statuses[version], tags.get(version, {})
        trained = (parse_utc(tag.get("keel.training_start")), parse_utc(tag.get("keel.training_end")))
        lines.append(
            VersionLine(
                version,
                status.status,
                status.since,
                trained,
                performances.get(version),
                compared.get(version, {}),
                speeds.get(version, {}),
            )
        )
    return tuple(lines)


def section(view: ModelView) -> Section:
    """Return the section with the versions side by side."""
    if not view.versions:
        return Section("Versions", (Paragraph("No version is registered yet."),))
    metric = metric_name(view.config.performance.metric)
    timed = any(line.speed for line in view.versions)
    head = (
        *("version", "status", "trained on", "on its holdout", "on live labels", "compared"),
        *(("median latency", "size") if timed else ()),
        "",
    )
    rows = tuple(_row(view, line, timed=timed) for line in view.versions)
    caption = f"Versions, the newest first, with their {metric}; {better(view.config.performance.metric)}"
    blocks: list[Block] = [Table(caption, head, rows, (3, 4, *((6, 7) if timed else ())), wide=True, unbroken=(0,))]
    deleted = sum(each.status is Status.DELETED for each in view.state.version_statuses.values())
    more = len(view.state.version_statuses) - deleted - len(view.versions)
    notes = (
        [f"{numbers.count(more, 'older version')} are not shown: keel versions list {view.model}"] if more > 0 else []
    )
    notes += [f"{numbers.count(deleted, 'deleted version')} left out"] if deleted else []
    if notes:
        blocks.append(Paragraph(f"{'; '.join(notes)}.", quiet=True))
    return Section("Versions side by side", tuple(blocks))


def _row(view: ModelView, line: VersionLine, *, timed: bool) -> tuple[Cell, ...]:
    start, end = line.trained_on
    found = line.performance
    metric = view.config.performance.metric
    own = found.reference.get(metric) if found else None
    live = found.long_run if found and found.metric == metric else None
    latency = as_number(line.speed.get("p50_ms"))
    size = as_number(line.speed.get("size_mb"))
    speed: tuple[Cell, ...] = (
        "" if latency is None else numbers.duration(latency / 1000),
        "" if size is None else f"{numbers.number(size)} MB",
    )
    may_be_promoted = line.status in PROMOTABLE and view.state.deployment.production != line.version
    return (
        f"version {line.version}",
        TAGS.get(line.status, Tag(str(line.status))),
        numbers.span(start, end) if start and end else "",
        numbers.number(own.value) if own and own.value is not None else "",
        f"{numbers.number(live.value)} ({live.n:,})" if live else "",
        _compared(line),
        *(speed if timed else ()),
        Actions((promote(view.model, line.version),)) if may_be_promoted else "",
    )


def _compared(line: VersionLine) -> Cell:
    """Return the result of the newest comparison, which leads to all of it."""
    if not line.comparison:
        return ""
    champion, verdict = line.comparison.get("champion"), str(line.comparison.get("verdict"))
    words = f"{RESULTS.get(verdict, verdict)} than version {champion}" if champion is not None else "the first version"
    report = line.comparison.get("report_id")
    return Local(words, report_path(str(report))) if report else words
