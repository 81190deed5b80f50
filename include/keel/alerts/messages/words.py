"""What every message calls an alert: as a clause of a sentence, as a noun, and in a word or two of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keel.alerts.records import EPISODE, Change
from keel.config import Kind, Severity
from keel.ledger.wording import with_full_stop
from keel.monitoring.performance_words import capitalised
from keel.reports import numbers
from keel.values.texts import NAME, shown

if TYPE_CHECKING:
    from keel.alerts.records import Alert, News

ORDER = (Change.ESCALATED, Change.FIRING, Change.REMINDER, Change.ACKNOWLEDGED, Change.EVENT, Change.RESOLVED)
"""What is told first, of the same severity."""
NOTHING = "Nothing to do"
"""How the steps begin of a message that asks for nothing; it names no runbook."""
TOP_NAMES = 3
"""Subjects that a sentence names."""
TOP_CLAUSES = 2
"""Kinds that a sentence names."""
LONGEST_CLAUSE = 160
"""Characters of a source's own sentence that a headline repeats."""
BEFORE = " against the window before"
"""How the subject ends of a drift against the window before, in place of the training."""


def ranked(news: Sequence[News]) -> list[News]:
    """Return news as a message tells them: what is not over first, then the worst, then what costs most."""
    return sorted(
        news,
        key=lambda each: (
            each.change is Change.RESOLVED,
            -each.alert.severity.level,
            ORDER.index(each.change),
            -each.alert.rank,
            each.alert.subject,
        ),
    )


def current(news: Sequence[News]) -> list[News]:
    """Return the news of what is not over."""
    return [each for each in news if each.change is not Change.RESOLVED]


def severity_of(news: Sequence[News]) -> Severity:
    """Return the severity of a message: what is over counts as what people know of it, so that they hear the end."""
    return max((_known(each) for each in news), key=lambda severity: severity.level)


def _known(news: News) -> Severity:
    alert = news.alert
    return (alert.told_severity or alert.severity) if news.change is Change.RESOLVED else alert.severity


def sentence_of(alert: Alert) -> str:
    """Return what happened, as the source said it, with its full stop."""
    return with_full_stop(started(alert.sentence, alert.subject) or capitalised(clause([alert])))


def started(sentence: str, name: str = "") -> str:
    """Return a sentence with its first letter in upper case, unless it starts with a column's name.

    >>> started("temp has drifted", "temp"), started("labels are missing")
    ('temp has drifted', 'Labels are missing')
    """
    begins = sentence.startswith(shown(name.removesuffix(BEFORE), NAME)) if name else False
    return sentence if begins or not sentence else capitalised(sentence)


def headline(news: Sequence[News]) -> str:
    """Return what is new as a clause: the worst kind, the next one, and how many more findings there are.

    What is over is told only where nothing else is new. An event is told where no trouble is.
    """
    groups = grouped(news)
    clauses, more = [_told(group) for group in groups[:TOP_CLAUSES]], sum(map(len, groups[TOP_CLAUSES:]))
    if more:
        clauses.append(f"there {'is' if more == 1 else 'are'} {numbers.count(more, 'more finding')}")
    return ", and ".join(filter(None, (", ".join(clauses[:-1]), clauses[-1])))


def worst(news: Sequence[News]) -> str:
    """Return the worst kind of what is new as a clause, for a subject."""
    return _told(grouped(news)[0])


def grouped(news: Sequence[News]) -> list[list[News]]:
    """Return what a headline is about: news of one kind, severity and change together, the worst group first."""
    found = current(news)
    found = [each for each in found if each.change is not Change.EVENT] or found or list(news)
    groups: dict[tuple[Kind, bool, Change], list[News]] = {}
    for each in ranked(found):
        groups.setdefault((each.alert.kind, each.alert.severity.is_trouble, each.change), []).append(each)
    return list(groups.values())


def began_anew(news: News) -> bool:
    """Return whether another occurrence of the same trouble is told, which began while the alert was open."""
    alert = news.alert
    return news.change is Change.REMINDER and alert.evidence.get(EPISODE) not in (None, alert.told_episode)


def _told(group: Sequence[News]) -> str:
    alerts = [each.alert for each in group]
    change = group[0].change
    if change is Change.RESOLVED:
        return _over(group)
    words = clause(alerts)
    person = shown(alerts[0].acknowledged_by or "a person", NAME)
    return {
        Change.REMINDER: f"{'again' if began_anew(group[0]) else 'still'}: {words}",
        Change.ESCALATED: f"worse than before: {words}",
        Change.ACKNOWLEDGED: f"{person} sees to it: {words}",
    }.get(change, words)


def _over(group: Sequence[News]) -> str:
    longest = max((each.lasted for each in group if each.lasted is not None), default=None)
    after = "" if longest is None else f" after {numbers.duration(longest)}"
    alerts = [each.alert for each in group]
    return f"{noun(alerts)} is over{after}"


def clause(alerts: Sequence[Alert]) -> str:
    """Return what happened to alerts of one kind, as a clause without a capital and a full stop."""
    first = alerts[0]
    words = _CLAUSES.get((first.kind, first.severity.is_trouble)) or _CLAUSES.get((first.kind, None), _as_said)
    return words(alerts)


def noun(alerts: Sequence[Alert]) -> str:
    """Return alerts of one kind as a noun, which holds however they have ended."""
    words = _NOUNS.get(alerts[0].kind, str(alerts[0].kind).replace("_", " "))
    names, joined = names_of(alerts), _OF_A_SUBJECT.get(alerts[0].kind)
    return f"{words} {joined} {names}" if names and joined else words


def title(alert: Alert) -> str:
    """Return what an alert is about, in a cell of a table."""
    words = _TITLES.get(alert.kind, str(alert.kind).replace("_", " "))
    name = shown(alert.subject, NAME)
    return f"{words} {name.replace('_', ' ') if alert.kind is Kind.LABEL_QUALITY else name}".strip()


def names_of(alerts: Sequence[Alert]) -> str:
    """Return the subjects of alerts: the first by name, the others counted; empty for those of the model as a whole."""
    names = [shown(each.subject.removesuffix(BEFORE), NAME) for each in alerts if each.subject]
    names = list(dict.fromkeys(names))
    if len(names) > TOP_NAMES:
        return some(names)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def some(names: Sequence[str], most: int = TOP_NAMES) -> str:
    """Return the first names, and how many more there are.

    >>> some(["a", "b"]), some(["a", "b", "c"], 1)
    ('a, b', 'a and 2 more')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def lowered(sentence: str) -> str:
    """Return a sentence as a clause, with its first letter in lower case."""
    return sentence[:1].lower() + sentence[1:]


def _before(alerts: Sequence[Alert]) -> str:
    return BEFORE if all(each.subject.endswith(BEFORE) for each in alerts) else ""


def _outputs(alerts: Sequence[Alert]) -> str:
    return _in_brackets(f"what the model answers has changed{_before(alerts)}")(alerts)


def _inputs(alerts: Sequence[Alert]) -> str:
    names, before = names_of(alerts), _before(alerts)
    count = len({each.subject.removesuffix(BEFORE) for each in alerts if each.subject})
    if not count:
        return "the change of the inputs costs more than is allowed"
    if count == 1:
        return f"the input {names} has changed{before}"
    return f"{count} inputs have changed{before} ({names})"


def _in_brackets(words: str) -> Callable[[Sequence[Alert]], str]:
    def with_names(alerts: Sequence[Alert]) -> str:
        names = names_of(alerts)
        return f"{words} ({names})" if names else _as_said(alerts, words)

    return with_names


def _as_said(alerts: Sequence[Alert], words: str = "") -> str:
    """Return what the source said of a single alert, as a clause; else ``words``."""
    said = alerts[0].sentence.rstrip(".") if len(alerts) == 1 else ""
    if not said or len(said) > LONGEST_CLAUSE:
        return words or said or str(alerts[0].kind).replace("_", " ")
    return lowered(said)


def _about_one(words: str) -> Callable[[Sequence[Alert]], str]:
    return lambda alerts: words.format(names_of(alerts) or "a run")


_CLAUSES: dict[tuple[Kind, bool | None], Callable[[Sequence[Alert]], str]] = {
    (Kind.DATA_DRIFT, None): _inputs,
    (Kind.PREDICTION_DRIFT, None): _outputs,
    (Kind.PERFORMANCE, None): lambda _: "predictions are worse than on the holdout",
    (Kind.DATA_QUALITY, True): _in_brackets("the data is broken"),
    (Kind.DATA_QUALITY, False): _in_brackets("some values are faulty"),
    (Kind.LABEL_QUALITY, True): lambda _: "the labels fail their check",
    (Kind.LABEL_QUALITY, False): lambda alerts: _as_said(alerts, "the labels have changed"),
    (Kind.NO_PREDICTIONS, None): lambda _: "no predictions arrived",
    (Kind.LABELS_MISSING, None): lambda _: "labels are missing",
    (Kind.LIVE_ALARM, None): lambda alerts: _as_said(alerts, f"live alarms are confirmed ({names_of(alerts)})"),
    (Kind.LOST_RECORDS, None): lambda _: "predictions could not be stored",
    (Kind.LEDGER_BROKEN, None): lambda _: "the ledger fails its proof",
    (Kind.PIPELINE_FAILURE, None): _about_one("{} failed"),
    (Kind.CHECK_OVERDUE, None): lambda _: "the check is overdue",
    (Kind.CHANNEL, None): lambda alerts: _as_said(alerts, f"messages by {names_of(alerts)} do not arrive"),
}
"""By kind, and where that matters by whether the severity is at least ``error``. Others are told as the source did."""
_NOUNS = {
    Kind.DATA_DRIFT: "the change",
    Kind.PREDICTION_DRIFT: "the change",
    Kind.DATA_QUALITY: "the fault in the data",
    Kind.LABEL_QUALITY: "the fault of the labels",
    Kind.LIVE_ALARM: "the live alarm",
    Kind.APPROVAL: "the wait for approval",
    Kind.LOST_RECORDS: "the loss of predictions",
    Kind.PERFORMANCE: "the loss of performance",
    Kind.NO_PREDICTIONS: "the lack of predictions",
    Kind.LABELS_MISSING: "the lack of labels",
    Kind.CHECK_OVERDUE: "the wait for the check",
    Kind.LEDGER_BROKEN: "the fault of the ledger",
    Kind.PIPELINE_FAILURE: "the failure",
    Kind.CHANNEL: "the trouble",
}
_OF_A_SUBJECT = {
    Kind.DATA_DRIFT: "of",
    Kind.PREDICTION_DRIFT: "of",
    Kind.DATA_QUALITY: "of",
    Kind.LIVE_ALARM: "of",
    Kind.PIPELINE_FAILURE: "of",
    Kind.CHANNEL: "with",
}
_TITLES = {
    Kind.DATA_DRIFT: "input",
    Kind.PREDICTION_DRIFT: "output",
    Kind.DATA_QUALITY: "data of",
    Kind.LABEL_QUALITY: "labels:",
    Kind.PIPELINE_FAILURE: "run of",
    Kind.LIVE_ALARM: "live alarm on",
}
