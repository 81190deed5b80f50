"""The section of a check's page about the live alarms that were open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring.alarm_words import evidence_in_words, name_of
from keel.monitoring.alarms import Verdict
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.reports.page import Paragraph, Section, Table, Tag, Tone

if TYPE_CHECKING:
    from keel.monitoring.alarms import Judgement
    from keel.reports.check.data import CheckData

TONES = {
    Verdict.CONFIRMED: Tone.BAD,
    Verdict.EXPLAINED: Tone.BAD,
    Verdict.FAULT: Tone.BAD,
    Verdict.SMALL: Tone.WARN,
    Verdict.RETRAINED: Tone.WARN,
    Verdict.INSUFFICIENT: Tone.WARN,
    Verdict.NOT_EXAMINED: Tone.WARN,
    Verdict.NOT_CONFIRMED: Tone.GOOD,
}


def section(data: CheckData) -> tuple[Section, ...]:
    """Return the section about the alarms; none where no alarm was open."""
    if not data.alarms:
        return ()
    text = (
        "A live monitor looks at every block of predictions or labels, and alarms when its evidence of a change "
        "reaches a bound. False alarms are as rare as the model's configuration states, however often it looks."
    )
    head = ("about", "since about", "evidence", "outcome", "what the monitor says")
    table = Table(
        "Alarms that were open when the check began", head, tuple(_row(each) for each in data.alarms), (), True
    )
    verdicts = {each.verdict for each in data.alarms}
    left = [Paragraph(text) for verdict, text in _LEFT.items() if verdict in verdicts]
    return (Section("Live alarms", (Paragraph(text, quiet=True), table, *left)),)


_LEFT = {
    Verdict.INSUFFICIENT: "An alarm with too few predictions since is judged by a later check, when more have arrived.",
    Verdict.NOT_EXAMINED: "An alarm that this window could not show is left to another check.",
}


def _row(judgement: Judgement) -> tuple[str | Tag, ...]:
    alarm, verdict = judgement.alarm, judgement.verdict
    evidence = evidence_in_words(alarm).removeprefix("evidence ")
    return (
        name_of(alarm),
        numbers.time(alarm.since),
        capitalised(evidence) if evidence else "",
        Tag(verdict.words, TONES.get(verdict, Tone.NEUTRAL)),
        capitalised(alarm.sentence),
    )
