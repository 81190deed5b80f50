"""What a reconciliation found: changes outside Keel, and records that the scoring service could not store."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel.alerts.records import EPISODE, Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.monitoring.storage import derived_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keel.monitoring.records import DecisionRecord, JsonObject, ReconcileRecord

MAINTENANCE = "maintenance"
"""The source."""
DEPLOYMENTS = "deployments"
"""What differs where the store's own row is not what the ledger says."""
EXAMINED = (
    Examined(kind=Kind.LOST_RECORDS, resolution="the maintenance found no more"),
    Examined(
        kind=Kind.LEDGER_BROKEN, subject=DEPLOYMENTS, resolution="the store's own row is what the ledger says again"
    ),
)
"""What a reconciliation is able to judge: a row that is right again, and that no further record was lost."""


def observe_reconciled(found: ReconcileRecord, *, run_id: str, now: datetime) -> Observation:
    """Return what `keel.rollout.reconcile` found of a model.

    A change outside Keel is an event; one of the version in production ends what was found of the version before. Lost
    records last until a reconciliation finds no more of them; what is lost until then is told again. An interrupted
    change that was completed is no finding.

    run_id: the same run observes the same. now: the clock's time.
    """
    version = adopted_version(found)
    return Observation(
        observation_id=derived_id("observation", "reconciled", found.model, run_id),
        model=found.model,
        source=MAINTENANCE,
        at=now,
        findings=findings_of(found, run_id),
        examined=EXAMINED,
        resolution="" if version is None else f"version {version} is in production",
        version_changed=version is not None,
    )


def findings_of(found: ReconcileRecord | DecisionRecord, told_by: str) -> tuple[Finding, ...]:
    """Return what was found, of a reconciliation or of the decision that carries it to people.

    told_by: the run or the decision. Each lost record is told by one of them, so another one tells of other records.
    """
    changes = [sentence for sentence in found.findings if sentence not in found.undelivered]
    known = {str(each.get("sentence")): each for each in found.out_of_band}
    outside = {_subject(known, each): _changed_outside(each, known.get(each, {})) for each in changes}
    return (*outside.values(), *_lost_records(found.undelivered, told_by))


def adopted_version(found: ReconcileRecord | DecisionRecord) -> int | None:
    """Return the version that was put into production outside Keel; None where that did not happen."""
    moved = [each["found"] for each in found.out_of_band if each.get("what") == "production" and each.get("found")]
    return int(moved[0]) if moved else None


def _subject(known: Mapping[str, JsonObject], sentence: str) -> str:
    return str(known.get(sentence, {}).get("what") or sentence)


def _changed_outside(sentence: str, detail: JsonObject) -> Finding:
    """Return one difference from the ledger: a change outside Keel, or a row of the store that is wrong by it."""
    broken = detail.get("what") == DEPLOYMENTS
    return Finding(
        kind=Kind.LEDGER_BROKEN if broken else Kind.OUT_OF_BAND,
        subject=str(detail.get("what") or sentence),
        severity=Severity.CRITICAL if broken else Severity.WARNING,
        sentence=sentence.strip().removesuffix("."),
        evidence={name: value for name, value in detail.items() if name != "sentence"},
    )


def _lost_records(sentences: Sequence[str], told_by: str) -> tuple[Finding, ...]:
    """Return records that could not be stored, all of a model as one finding."""
    if not sentences:
        return ()
    more = len(sentences) - 1
    return (
        Finding(
            kind=Kind.LOST_RECORDS,
            severity=Severity.ERROR,
            sentence=f"{sentences[0].strip().removesuffix('.')}{f'; and {more} more' if more else ''}",
            evidence={"records": list(sentences), EPISODE: told_by},
        ),
    )
