"""A question to a person whether a version shall be promoted, and its answer."""

from __future__ import annotations

from datetime import datetime

from keel.alerts.records import EPISODE, Examined, Finding, Observation
from keel.config import Kind, Severity
from keel.monitoring.storage import derived_id

APPROVAL = "approval"
"""The source."""


def observe_question(
    model: str, *, challenger: int, report_id: str, run_id: str, answer_url: str, until: datetime, now: datetime
) -> Observation:
    """Return that a person is asked to approve a version.

    Parameters
    ----------
    report_id
        Of the comparison that the question is about.
    run_id
        The run that waits for the answer. The same run asks the same question; another one, which is told again.
    answer_url
        Where to answer.
    until
        Without an answer by then, the version is not promoted.
    now
        The clock's time.

    """
    found = Finding(
        kind=Kind.APPROVAL,
        subject=subject_of(challenger),
        severity=Severity.WARNING,
        sentence=f"Version {challenger} waits for your approval until {until:%Y-%m-%d %H:%M} UTC",
        evidence={
            "version": challenger,
            "comparison": report_id,
            "until": until.isoformat(),
            "answer_url": answer_url,
            EPISODE: f"{report_id} {until.isoformat()}",
        },
    )
    return Observation(
        observation_id=derived_id("observation", "asked", model, report_id, run_id),
        model=model,
        source=APPROVAL,
        at=now,
        findings=(found,),
    )


def observe_answer(model: str, *, challenger: int, sentence: str, run_id: str, now: datetime) -> Observation:
    """Return that a question was answered, or that no answer came in time.

    sentence: what was answered, such as that of `keel.rollout.approve`'s outcome. now: the clock's time.
    """
    return Observation(
        observation_id=derived_id("observation", "answered", model, str(challenger), run_id),
        model=model,
        source=APPROVAL,
        at=now,
        examined=(Examined(kind=Kind.APPROVAL, subject=subject_of(challenger)),),
        resolution=sentence.strip().removesuffix("."),
    )


def subject_of(challenger: int) -> str:
    """Return the subject of a question about a version."""
    return f"version {challenger}"
