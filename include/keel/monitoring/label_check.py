"""Check the labels in the store, and quarantine a stretch whose labels are broken.

A check quarantines what its window finds. Training, a comparison, a probation and an experiment cannot wait for the
next check, so they call `quarantine_broken_labels` on the time that they are about to use.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from keel import deployments
from keel.deployments.data_quarantine import format_intervals
from keel.errors import ArtifactChanged, ConfigError, UnknownVersion
from keel.ledger import entries as ledger
from keel.monitoring.labels import LabelFinding, LabelStatus, LabelStretch, time_of
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import DecisionRecord, HoursAndRows, Outcome, StoredLabelsReport
from keel.monitoring.storage import read_report
from keel.monitoring.window_counts import HourStatus, hour_status
from keel.stats.json_numbers import finite_or_none
from keel.stats.label_profile import MIN_LABELS, LabelBaseline
from keel.store.predictions.target_values import are_possible
from keel.store.quarantines import DATA, LABELS
from keel.window import HOUR, Window, ceil_hour, floor_hour, now_utc, outside, parse_time

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

KEEL = "keel"
"""The actor of a quarantine that no run was started for."""


def label_baseline(ws: Workspace, config: ModelConfig, version: int) -> LabelBaseline | None:
    """Return the labels that a version was trained and measured on, which are registered with it.

    A version of an earlier release has none registered; they are measured on the rows that are still in the store. That
    release also stored labels that a binary target cannot have, which are left out.
    """
    reference = ws.registry.reference(config.model, version)
    if stored := reference.get("labels"):
        return LabelBaseline.from_dict(stored)
    start, end = parse_time(reference["training"]["start"]), parse_time(reference["holdout"]["end"])
    assert start is not None
    assert end is not None
    rows = ws.predictions(config).labelled(start, end, features=False)
    rows = rows.filter(are_possible(rows["label"], config.target.kind))
    return LabelBaseline.measure(
        rows["time"].to_numpy().astype("datetime64[us]"), rows["label"].to_numpy(zero_copy_only=False)
    )


def read_labels(
    ws: Workspace,
    config: ModelConfig,
    version: int,
    window: Window,
    *,
    decided_before: datetime | None = None,
    history: bool = True,
) -> LabelStretch:
    """Read the labels of a window, of all versions: they come from one feed.

    history: whether rows without a version belong to it.

    Labels whose quarantine is active are tested again, so that a fault that lasts stays one. Data that a window with an
    end earlier than ``decided_before`` quarantined is not, and neither are labels that a person released. To release
    data says nothing about its labels.
    """
    baseline = label_baseline(ws, config, version)
    hours = ws.predictions(config).label_hours(
        window.start,
        window.end,
        delay=config.target.label_delay,
        centre=baseline.mean if baseline else 0.0,
        history=history,
    )
    stored = ws.store.quarantines(config.model, with_released=True)
    skipped = [
        row
        for row in stored
        if (row["about"] == LABELS and row["released"])
        or (
            row["about"] == DATA
            and not row["released"]
            and (decided_before is None or row["decided_until"] < decided_before)
        )
    ]
    stamps = [window.start + i * HOUR for i in range((window.end - window.start) // HOUR)]
    excluded = [at.replace(tzinfo=None) for at in stamps if hour_status(at, skipped) is not HourStatus.NORMAL]
    out = np.array(excluded, "datetime64[h]")
    return LabelStretch(
        window=window,
        hours=hours.take(~np.isin(hours.hour, out)),
        baseline=baseline,
        binary=config.target.kind == "binary",
        min_coverage=config.performance.min_label_rate,
        excluded=out,
    )


def label_report(
    ws: Workspace, config: ModelConfig, version: int, window: Window, *, decided_before: datetime
) -> StoredLabelsReport:
    """Check the labels of a window, and describe them for the report of the check that ends at ``decided_before``."""
    labels = read_labels(ws, config, version, window, decided_before=decided_before, history=False)
    findings, n, h = labels.findings(), labels.labels, labels.hours
    earlier = ws.store.quarantines(config.model, about=LABELS, decided_before=decided_before)
    spans = _not_yet(findings, [(row["start"], row["end"]) for row in earlier])
    status = findings[0].status if findings else LabelStatus.OK
    if status is LabelStatus.BROKEN and not spans:
        status = LabelStatus.QUARANTINED
    if status is LabelStatus.OK and (labels.baseline is None or n < MIN_LABELS):
        status = LabelStatus.INSUFFICIENT
    held = np.array([hour_status(time_of(at), earlier) is HourStatus.QUARANTINED for at in h.hour], dtype=bool)
    due = int(h.rows.sum())
    reference = labels.baseline.to_dict() if labels.baseline else None
    return StoredLabelsReport.from_dict(
        {
            "status": status.value,
            "n": n,
            "due": due,
            "coverage": n / due if due else None,
            "mean": finite_or_none(labels.mean),
            "deviation": finite_or_none(labels.deviation),
            "late_share": float(h.late.sum()) / n if n else None,
            "mean_delay_hours": float(h.delay.sum()) / n / 3600 if n else None,
            "reference": reference,
            "findings": [finding.to_dict() for finding in findings],
            "spans": spans,
            "quarantined": HoursAndRows(hours=int(held.sum()), rows=int(h.labelled[held].sum())),
            "window": window,
        }
    )


def quarantine_broken_labels(
    ws: Workspace,
    config: ModelConfig,
    start: datetime,
    end: datetime,
    *,
    run_id: str,
    actor: str = KEEL,
    now: datetime | None = None,
) -> list[Window]:
    """Quarantine the stretches between two times whose labels are broken, as a check would; return the new ones.

    They are compared with the labels of the version in production. Without one there is nothing to compare with.
    now: the time of the quarantine. Default: the clock.
    """
    version = deployments.read(ws.store, config.model).production
    window = Window(floor_hour(start), max(ceil_hour(end), floor_hour(start) + HOUR))
    if version is None or not ws.predictions(config).count(window.start, window.end):
        return []
    try:
        findings = read_labels(ws, config, version, window).findings()
    except (
        ArtifactChanged,
        ConfigError,
        UnknownVersion,
    ):  # a version whose files are gone is no reference; what follows says so
        return []
    stored = ws.store.quarantines(config.model, about=LABELS)
    spans = _not_yet(findings, [(row["start"], row["end"]) for row in stored])
    if spans:
        reason = sentence_of(findings)
        until = window.end + config.target.label_delay
        put_label_quarantine(ws, config, spans, reason, until=until, actor=actor, run_id=run_id, now=now or now_utc())
    return spans


def quarantine_decided_labels(
    ws: Workspace, config: ModelConfig, decision: DecisionRecord, *, actor: str, run_id: str, now: datetime
) -> Outcome:
    """Quarantine the stretches that the decision's report of the labels names."""
    report = read_report(ws, StoredLabelsReport, config.model, decision.version, decision.window)
    spans = report.spans if report else ()
    if not spans:
        return Outcome.of("released", decision, f"No labels of {config.model} were quarantined: none is broken.")
    sentence = put_label_quarantine(
        ws,
        config,
        spans,
        decision.sentence,
        until=decision.window.end,
        actor=actor,
        run_id=run_id,
        now=now,
        decision_id=decision.decision_id,
    )
    return Outcome.of("labels_quarantined", decision, sentence, quarantined=spans)


def put_label_quarantine(
    ws: Workspace,
    config: ModelConfig,
    spans: Sequence[Window],
    reason: str,
    *,
    until: datetime,
    actor: str,
    run_id: str,
    now: datetime,
    decision_id: str = "",
) -> str:
    """Quarantine the labels of some spans, record it in the ledger, and return the sentence. Idempotent."""
    for span in spans:
        ws.store.quarantine(config.model, span.start, span.end, reason, now, decided_until=until, about=LABELS)
    sentence = (
        f"Quarantined the labels of {config.model} from {spans[0].start:%Y-%m-%d %H:%M} to "
        f"{spans[-1].end:%Y-%m-%d %H:%M} UTC{'' if len(spans) == 1 else f', in {len(spans)} spans'}. Nothing rests on "
        f"them until a person releases them: keel quarantine release {config.model} --start … --end …"
    )
    identity: dict[str, Any] = {"about": LABELS, "quarantined": [span.to_dict() for span in spans]}
    if decision_id:
        identity["decision_id"] = decision_id
    deployments.append_once(
        ws.store,
        config.model,
        actor=actor,
        action=ledger.Action.QUARANTINE,
        identity={"evidence": identity},
        body={"run_id": run_id, "evidence": {**identity, "sentence": sentence, "reason": reason}},
        now=now,
    )
    return sentence


def held_labels(ws: Workspace, config: ModelConfig, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the active quarantines of labels that share some time with start..end."""
    found = ws.store.quarantines(config.model, about=LABELS)
    return [row for row in found if row["start"] < end and row["end"] > start]


def about_held_labels(ws: Workspace, config: ModelConfig, start: datetime, end: datetime) -> str:
    """Return a clause about the labels between two times that are quarantined, with the way out; empty without any."""
    held = held_labels(ws, config, start, end)
    if not held:
        return ""
    return (
        f"labels of {format_intervals(held)} are quarantined ({held[-1]['reason']}); once they are right: "
        f"keel quarantine release {config.model} --start … --end …"
    )


def sentence_of(findings: Sequence[LabelFinding]) -> str:
    """Return the faults that break a stretch, or those that warn, in one sentence."""
    worst = [finding for finding in findings if finding.status is findings[0].status] if findings else []
    more = f" And {len(worst) - 1} more." if len(worst) > 1 else ""
    return f"{capitalised(worst[0].sentence)}.{more}" if worst else ""


def _not_yet(findings: Sequence[LabelFinding], taken: Sequence[tuple[datetime, datetime]]) -> list[Window]:
    """Return the spans of the faults that break a stretch, joined, without what is taken."""
    joined: list[tuple[datetime, datetime]] = []
    for start, end in sorted((f.start, f.end) for f in findings if f.status is LabelStatus.BROKEN):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [Window(*part) for span in joined for part in outside(*span, taken)]
