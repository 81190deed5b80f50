"""What a reconciliation found: changes outside Keel, and records that the scoring service could not store."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keel.monitoring.records import JsonObject, ReconcileRecord

MAINTENANCE = "maintenance"
"""The source."""


def observe_reconciled(found: ReconcileRecord, *, run_id: str, now: datetime) -> Observation:
    """Return what `keel.rollout.reconcile` found of a model.

    A change outside Keel is an event. Lost records last until a reconciliation finds no more of them. An interrupted
    change that was completed is no finding.

    run_id: the same run observes the same. now: the clock's time.
    """
    changes = [sentence for sentence in found.findings if sentence not in found.undelivered]
    return Observation(
        observation_id=derived_id("observation", "reconciled", found.model, run_id),
        model=found.model,
        source=MAINTENANCE,
        at=now,
        findings=(*changed_outside(changes, found.out_of_band), *lost_records(found.undelivered)),
        examined=(Examined(kind=Kind.LOST_RECORDS),),
        resolution="no further record was lost",
    )


def changed_outside(sentences: Sequence[str], details: Sequence[JsonObject] = ()) -> tuple[Finding, ...]:
    """Return changes outside Keel as events. details: of each, where they are known (`ReconcileRecord.out_of_band`)."""
    known = {str(each.get("sentence")): each for each in details}
    found = {}
    for sentence in sentences:
        detail = {name: value for name, value in known.get(sentence, {}).items() if name != "sentence"}
        subject = str(detail.get("what") or sentence)
        found[subject] = Finding(
            kind=Kind.OUT_OF_BAND,
            subject=subject,
            severity=Severity.WARNING,
            sentence=sentence.strip().removesuffix("."),
            evidence=detail,
        )
    return tuple(found.values())


def lost_records(sentences: Sequence[str]) -> tuple[Finding, ...]:
    """Return records that could not be stored, all of a model as one finding."""
    if not sentences:
        return ()
    more = len(sentences) - 1
    return (
        Finding(
            kind=Kind.LOST_RECORDS,
            severity=Severity.ERROR,
            sentence=f"{sentences[0].strip().removesuffix('.')}{f'; and {more} more' if more else ''}",
            evidence={"records": list(sentences)},
        ),
    )
