"""Describe a ledger row in plain sentences, for people who do not know Keel, such as auditors.

Each action has a function that yields the sentences of a row. The functions do not trust the row: a part that is
missing or has another form, as in rows of older releases, is left out. An unknown action is described by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keel.ledger import wording
from keel.ledger.entries import Action, Entry
from keel.ledger.entry_view import SCHEDULED_ACTORS, LedgerEntryView
from keel.ledger.wording import as_mapping, as_text, format_interval, format_intervals, name_version, with_full_stop

FAILED = ("fail", "keep_champion")
"""Verdicts of a comparison that keep the champion; the second is that of rows before 0.1.0."""
EXPERIMENT_OUTCOMES = {
    "promote": "{} was shown to be better",
    "roll_back": "{} was shown to be worse",
    "no_difference": "no difference was shown",
    "mismatch": "its measurements were not valid",
    "void": "it could not reach a verdict any more",
    "stopped": "without a verdict",
}
"""How an experiment ended, by the outcome in the row; the placeholder is the challenger."""
PASSED_PROBATION = ("The version passed its probation: ", "The version has survived its probation: ")
"""How the evidence of a passed probation begins, in this release and in 0.1.0."""

Describer = Callable[[LedgerEntryView], Iterator[str]]


def describe(entry: Entry) -> str:
    """Return what a row records, on one line."""
    sentences = (sentence for sentence in DESCRIBERS.get(entry.action, _unknown)(LedgerEntryView(entry)) if sentence)
    line = " ".join(f"{sentence[0].upper()}{sentence[1:]}" for sentence in sentences)
    # A row's text may hold any character, such as one that moves a terminal's cursor.
    return "".join(character if character.isprintable() else " " for character in line)


def _register(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.version} was trained and registered as a candidate."
    yield _started(row)
    yield row.reason
    tags, files = as_mapping(row.evidence.get("tags")), as_mapping(row.part("artifacts").get("files"))
    trained_on = format_interval(tags.get("keel.training_start"), tags.get("keel.training_end"))
    holdout_end = wording.format_time(tags.get("keel.holdout_end"))
    if trained_on:
        holdout = f" The data from then to {holdout_end} is its holdout." if holdout_end else ""
        yield f"It was trained on the data of {trained_on}.{holdout}"
    yield f"The checksums of its {len(files)} files were recorded: Keel loads no other files as it." if files else ""


def _keep_champion(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.version} was {'not promoted' if row.is_inconclusive else 'rejected'}."
    yield _started(row)
    yield from _comparison(row)
    yield from _in_production(row, row.evidence.get("champion"))


def _stage(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.version} was staged and waits for approval."
    yield _started(row)
    yield from _comparison(row)
    yield from _in_production(row)


def _approve(row: LedgerEntryView) -> Iterator[str]:
    approval = row.part("approval")
    approver = as_text(approval.get("approver")) or row.person or "an unknown user"
    champion = approval.get("champion")
    replaces = f", in place of {name_version(champion)}" if champion is not None else ""
    yield f"{name_version(approval.get('challenger'))} was approved for production by {approver}{replaces}."
    yield _requested(approval)


def _decline(row: LedgerEntryView) -> Iterator[str]:
    approval = row.part("approval")
    approver, challenger = as_text(approval.get("approver")), name_version(approval.get("challenger"))
    yield (
        f"{challenger} was declined by {approver}."
        if approver
        else f"{challenger} was declined: the time for approval ran out."
    )
    yield _requested(approval)
    yield from _in_production(row, approval.get("champion"))


def _promote(row: LedgerEntryView) -> Iterator[str]:
    before, after = (row.part(name).get("production") for name in ("from", "to"))
    replaces = f" in place of {name_version(before)}" if before is not None else " as the first version"
    yield f"{name_version(after)} was promoted to production{replaces}."
    yield _started(row)
    yield from _comparison(row)
    if approver := as_text(row.part("approval").get("approver")):
        requesters = _requesters(row.part("approval"))
        yield f"It was approved by {approver}{f' and requested by {requesters}' if requesters else ''}."
    yield _on_probation(row)
    yield from _in_production(row)


def _confirm(row: LedgerEntryView) -> Iterator[str]:
    passed = as_mapping(row.evidence.get("watched")).get("verdict", "survived") == "survived"
    if as_text(row.evidence.get("reason")) or not passed:
        yield f"the probation of {row.version} was ended{row.by}; the version stays in production."
    else:
        yield f"{row.version} passed its probation and stays in production."
        yield _started(row)
    reason = row.reason
    for beginning in PASSED_PROBATION:
        reason = reason.removeprefix(beginning)
    yield reason


def _rollback(row: LedgerEntryView) -> Iterator[str]:
    bad, good = (row.part(name).get("production") for name in ("from", "to"))
    yield f"{name_version(bad)} was rolled back{row.by}; {name_version(good)} is in production again."
    yield row.reason
    if as_mapping(row.part("statuses").get(str(bad))).get("status") == "quarantined":
        yield f"{name_version(bad)} was quarantined: it cannot be promoted until a person reinstates it."
    yield _on_probation(row, name_version(good))
    yield from _in_production(row)


def _out_of_band(row: LedgerEntryView) -> Iterator[str]:
    yield "MLflow was changed outside Keel."
    yield row.sentence
    yield from _in_production(row)


def _experiment_start(row: LedgerEntryView) -> Iterator[str]:
    plan = row.part("experiment")
    champion, challenger = name_version(plan.get("champion")), name_version(plan.get("challenger"))
    yield f"an experiment of {challenger} against {champion} was started in production."
    yield _started(row)
    yield row.reason
    if plan.get("mode") == "shadow":
        yield f"{challenger} scores every request in shadow mode; {champion} answers all of them."
    else:
        yield f"{challenger} answers {wording.format_allocation(plan.get('stages'))}, assigned at random."
    yield wording.describe_rules(plan)


def _experiment_end(row: LedgerEntryView) -> Iterator[str]:
    evidence, plan = row.evidence, as_mapping(row.evidence.get("plan"))
    outcome, challenger = as_text(evidence.get("outcome")), name_version(plan.get("challenger"))
    champion = name_version(plan.get("champion"))
    result = EXPERIMENT_OUTCOMES.get(outcome, outcome or "the row has no outcome").format(challenger)
    ended = f"was stopped{row.by}, {result}" if outcome == "stopped" else f"ended: {result}"
    yield f"the experiment of {challenger} against {champion} {ended}."
    experiment_id = as_text(plan.get("experiment_id"))
    yield row.reason if outcome == "stopped" else row.sentence.removeprefix(f"{experiment_id}: ")
    yield f"{champion} answers all requests again." if plan and outcome not in ("promote", "void") else ""


def _quarantine(row: LedgerEntryView) -> Iterator[str]:
    intervals = format_intervals(row.evidence.get("quarantined"))
    if row.evidence.get("about") == "labels":
        yield f"labels were quarantined{row.by}: {intervals}."
        yield as_text(row.evidence.get("reason"))
        yield "Nothing rests on them until a person releases them."
        return
    yield f"data was quarantined as broken{row.by}: {intervals}."
    yield "Training and later checks exclude it until a person releases it."


def _release_quarantine(row: LedgerEntryView) -> Iterator[str]:
    yield f"quarantined data was released{row.by}: {format_intervals(row.evidence.get('released'))}."
    yield "Training and checks use it again, and it is not quarantined a second time."


def _correct_labels(row: LedgerEntryView) -> Iterator[str]:
    yield f"wrong labels were corrected{row.by}."
    yield row.sentence
    yield f"Reason: {as_text(as_mapping(row.entry.body).get('reason'))}"


def _release_version(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.version} was reinstated{row.by}."
    yield row.reason
    statuses = (as_text(as_mapping(status).get("status")) for status in row.part("statuses").values())
    yield f"Its status is {next(statuses, '') or 'unknown'} now." if row.part("statuses") else ""


def _delete_version(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.version} was deleted{row.by}: its files are gone, its ledger rows stay."
    yield row.reason


def _silence(row: LedgerEntryView) -> Iterator[str]:
    silence = row.part("silence")
    kind, subject = as_text(silence.get("kind")).replace("_", " "), as_text(silence.get("subject"))
    start, until = (wording.format_time(silence.get(name)) for name in ("start", "until"))
    what = f"{f'alerts of {kind}' if kind else 'all alerts'}{f' about {subject}' if subject else ''}"
    whose = "" if row.entry.model else " of all models"
    lasting = f"{f' from {start}' if start else ''}{f' until {until} (UTC)' if until else ''}"
    yield f"{what}{whose} were silenced{row.by}{lasting}: nobody is told of them."
    yield row.reason


def _end_silence(row: LedgerEntryView) -> Iterator[str]:
    yield f"a silence was ended{row.by} before its time."
    yield row.sentence


def _accept_drift(row: LedgerEntryView) -> Iterator[str]:
    names = row.evidence.get("columns")
    columns = ", ".join(each for each in names if isinstance(each, str)) if isinstance(names, list) else ""
    window = as_mapping(row.evidence.get("window"))
    interval = format_interval(window.get("start"), window.get("end"))
    yield f"the drift of {columns or 'a column'} was accepted{row.by}."
    yield f"Its values{f' of {interval}' if interval else ''} are its reference until another version is in production."
    yield row.reason


def _withdraw_acceptance(row: LedgerEntryView) -> Iterator[str]:
    yield f"the acceptance of a drift was withdrawn{row.by}."
    yield row.sentence
    yield row.reason


def _unknown(row: LedgerEntryView) -> Iterator[str]:
    yield f"{row.entry.action.replace('_', ' ')}{row.by}."
    yield row.reason
    yield from _in_production(row)


DESCRIBERS: Mapping[str, Describer] = {
    Action.REGISTER: _register,
    Action.KEEP_CHAMPION: _keep_champion,
    Action.STAGE: _stage,
    Action.APPROVE: _approve,
    Action.DECLINE: _decline,
    Action.PROMOTE: _promote,
    Action.CONFIRM: _confirm,
    Action.ROLLBACK: _rollback,
    Action.OUT_OF_BAND: _out_of_band,
    Action.EXPERIMENT_START: _experiment_start,
    Action.EXPERIMENT_END: _experiment_end,
    Action.QUARANTINE: _quarantine,
    Action.RELEASE_QUARANTINE: _release_quarantine,
    Action.CORRECT_LABELS: _correct_labels,
    Action.RELEASE_VERSION: _release_version,
    Action.DELETE_VERSION: _delete_version,
    Action.SILENCE: _silence,
    Action.END_SILENCE: _end_silence,
    Action.ACCEPT_DRIFT: _accept_drift,
    Action.WITHDRAW_ACCEPTANCE: _withdraw_acceptance,
}


def _on_probation(row: LedgerEntryView, version: str = "it") -> str:
    probation = row.part("probation")
    interval = format_interval(probation.get("since"), probation.get("until"))
    if not interval:
        return ""
    return f"{version} is on probation on the data of {interval}: Keel rolls it back if that data shows harm."


def _comparison(row: LedgerEntryView) -> Iterator[str]:
    """Yield the numbers of a comparison and its result; its own sentence if it has no numbers."""
    evidence, values = row.evidence, wording.describe_values(row.evidence)
    reason = with_full_stop(as_text(evidence.get("reason")).removeprefix("inconclusive").lstrip(": "))
    yield values
    yield wording.describe_difference(evidence)
    if row.is_inconclusive:
        yield f"The comparison was inconclusive: {reason or 'the row has no reason.'}"
    elif not values:
        yield reason or row.sentence
    elif wording.exceeds_margin(evidence) and evidence.get("verdict") in FAILED:
        yield f"It failed for another reason: {reason or 'the row has none.'}"
    if forced_by := as_text(evidence.get("forced_by")):
        sentence = as_text(evidence.get("sentence"))
        why = re.search(rf"{re.escape(forced_by)} forces (?:it|the promotion): (.+)", sentence, flags=re.DOTALL)
        yield f"The promotion was forced by {forced_by}{f': {with_full_stop(why[1])}' if why else '.'}"


def _in_production(row: LedgerEntryView, stays: object = None) -> Iterator[str]:
    """Yield the versions in production before and after a change; without a change the one that ``stays``."""
    before, after = row.part("from"), row.part("to")
    if not after:
        yield f"{name_version(stays)} stays in production." if stays is not None else ""
        return
    old, new = name_version(before.get("production")), name_version(after.get("production"))
    if before.get("production") == after.get("production"):
        yield f"In production is {new}, as before."
    else:
        yield f"In production before: {old}; after: {new}."
    previous = after.get("previous")
    if before.get("previous") != previous:
        yield "There is no version to roll back to." if previous is None else f"A rollback goes to version {previous}."


def _started(row: LedgerEntryView) -> str:
    person = as_text(row.evidence.get("requested_by")) or row.person
    return f"The run was started by {person}." if person not in SCHEDULED_ACTORS else ""


def _requested(approval: Mapping[str, Any]) -> str:
    requesters = _requesters(approval)
    return f"It was requested by {requesters}." if requesters else ""


def _requesters(approval: Mapping[str, Any]) -> str:
    people = approval.get("requesters")
    return " and ".join(each for each in people if isinstance(each, str)) if isinstance(people, list) else ""
