"""What a row of the ledger says, in sentences that need no knowledge of Keel.

One small function tells each action. None of them trusts a row: what it lacks or holds in another form, as rows of
older versions do, is left out, and an action that nobody knows is told by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keel.ledger import wording
from keel.ledger.entries import Action, Entry
from keel.ledger.entry_view import NOBODY, LedgerEntryView
from keel.ledger.wording import chance, day, ended, is_met, mapping, span, stretches, text, values_of, version

TURNED_DOWN = ("fail", "keep_champion")
"""What a comparison says of a challenger that stays out, now and in rows of before."""


ENDINGS = {
    "promote": "{} is shown to be better",
    "roll_back": "{} is shown to be worse",
    "no_difference": "no difference is shown",
    "mismatch": "what was measured cannot be believed",
    "void": "it could come to no verdict any more",
    "stopped": "without a verdict",
}
"""How an experiment ends, by what the row says; of the challenger."""

Tale = Callable[[LedgerEntryView], Iterator[str]]


def tell(entry: Entry) -> str:
    """Return what happened, on one line."""
    told = (sentence for sentence in TALES.get(entry.action, _as_it_is)(LedgerEntryView(entry)) if sentence)
    # A text in a row may hold anything, such as what moves a terminal's cursor.
    plain = " ".join(f"{sentence[0].upper()}{sentence[1:]}" for sentence in told)
    return "".join(character if character.isprintable() else " " for character in plain)


def _register(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.about} was trained and registered as a candidate."
    yield _started(said)
    yield said.why
    tags, files = mapping(said.evidence.get("tags")), mapping(said.part("artifacts").get("files"))
    learned, until = span(tags.get("keel.training_start"), tags.get("keel.training_end")), tags.get("keel.holdout_end")
    if learned:
        kept = f"; the data from then to {day(until)} was kept from it, to judge it by" if day(until) else ""
        yield f"It learned from the data of {learned}{kept}."
    yield f"Its {len(files)} files are pinned by their hashes: nothing else is ever loaded as it." if files else ""


def _keep_champion(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.about} was {'not taken' if said.is_inconclusive else 'turned down'}."
    yield _started(said)
    yield from _comparison(said)
    yield from _places(said, said.evidence.get("champion"))


def _stage(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.about} was offered for production, and waits for a person's yes."
    yield _started(said)
    yield from _comparison(said)
    yield from _places(said)


def _approve(said: LedgerEntryView) -> Iterator[str]:
    approval = said.part("approval")
    who = text(approval.get("approver")) or said.who or "somebody"
    champion = approval.get("champion")
    instead = f", in place of {version(champion)}" if champion is not None else ""
    yield f"{version(approval.get('challenger'))} was approved for production by {who}{instead}."
    yield _requested(approval)


def _decline(said: LedgerEntryView) -> Iterator[str]:
    approval = said.part("approval")
    who, challenger = text(approval.get("approver")), version(approval.get("challenger"))
    yield (
        f"{challenger} was declined by {who}."
        if who
        else f"{challenger} is not approved: nobody answered in time, which is a no."
    )
    yield _requested(approval)
    yield from _places(said, approval.get("champion"))


def _promote(said: LedgerEntryView) -> Iterator[str]:
    before, after = (said.part(name).get("production") for name in ("from", "to"))
    instead = f" in place of {version(before)}" if before is not None else ", the first to do so"
    yield f"{version(after)} went into production{instead}."
    yield _started(said)
    yield from _comparison(said)
    if approver := text(said.part("approval").get("approver")):
        requested = _requested(said.part("approval")).removeprefix("It was").removesuffix(".")
        yield f"It was approved by {approver}{f', and{requested}' if requested else ''}."
    yield _on_probation(said)
    yield from _places(said)


def _confirm(said: LedgerEntryView) -> Iterator[str]:
    survived = mapping(said.evidence.get("watched")).get("verdict", "survived") == "survived"
    if text(said.evidence.get("reason")) or not survived:
        yield f"the probation of {said.about.lower()} was ended{said.by}, and it stays in production."
    else:
        yield f"{said.about} has passed its probation, and stays in production."
        yield _started(said)
    yield said.why.removeprefix("The version has survived its probation: ")


def _rollback(said: LedgerEntryView) -> Iterator[str]:
    bad, good = (said.part(name).get("production") for name in ("from", "to"))
    yield f"{version(bad)} was taken back{said.by}, and {version(good)} serves again."
    yield said.why
    if mapping(said.part("statuses").get(str(bad))).get("status") == "quarantined":
        yield f"{version(bad)} is quarantined: it cannot come back until a person releases it."
    yield _on_probation(said, version(good))
    yield from _places(said)


def _out_of_band(said: LedgerEntryView) -> Iterator[str]:
    yield "the registry was found changed by hand, past Keel."
    yield said.sentence
    yield from _places(said)


def _experiment_start(said: LedgerEntryView) -> Iterator[str]:
    plan = said.part("experiment")
    champion, challenger = version(plan.get("champion")), version(plan.get("challenger"))
    yield f"{challenger} is tried in production beside {champion}."
    yield _started(said)
    yield said.why
    if plan.get("mode") == "shadow":
        yield f"It is asked whatever {champion} is asked, and answers nobody."
    else:
        yield f"Who gets its answer is drawn once for each entity: {wording.shares(plan.get('stages'))}."
    yield wording.rules(plan)


def _experiment_end(said: LedgerEntryView) -> Iterator[str]:
    found, plan = said.evidence, mapping(said.evidence.get("plan"))
    how, challenger = text(found.get("outcome")), version(plan.get("challenger"))
    champion = version(plan.get("champion"))
    ending = ENDINGS.get(how, how or "the row does not say how").format(challenger)
    ended_so = f"was stopped{said.by}, {ending}" if how == "stopped" else f"ended: {ending}"
    yield f"the experiment with {challenger} beside {champion} {ended_so}."
    yield said.why if how == "stopped" else said.sentence.removeprefix(f"{text(plan.get('experiment_id'))}: ")
    yield f"{champion} answers everybody again." if plan and how not in ("promote", "void") else ""


def _quarantine(said: LedgerEntryView) -> Iterator[str]:
    yield f"data was set aside as broken{said.by}: {stretches(said.evidence.get('quarantined'))}."
    yield "Nothing learns from it, and no later check looks at it, until a person gives it back."


def _release_quarantine(said: LedgerEntryView) -> Iterator[str]:
    yield f"data that had been set aside was given back{said.by}: {stretches(said.evidence.get('released'))}."
    yield "It is used again, and is not set aside a second time."


def _release_version(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.about} was released{said.by}."
    yield said.why
    statuses = (text(mapping(station).get("status")) for station in said.part("statuses").values())
    yield f"Its status is {next(statuses, '') or 'not said'} now." if said.part("statuses") else ""


def _delete_version(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.about} was deleted{said.by}: its files are gone, its history stays."
    yield said.why


def _as_it_is(said: LedgerEntryView) -> Iterator[str]:
    yield f"{said.entry.action.replace('_', ' ')}{said.by}."
    yield said.why
    yield from _places(said)


TALES: Mapping[str, Tale] = {
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
    Action.RELEASE_VERSION: _release_version,
    Action.DELETE_VERSION: _delete_version,
}


def _on_probation(said: LedgerEntryView, who: str = "it") -> str:
    probation = said.part("probation")
    watched = span(probation.get("since"), probation.get("until"))
    if not watched:
        return ""
    return f"{who} is on probation on the data of {watched}: shown to do harm there, it is taken back."


def _comparison(said: LedgerEntryView) -> Iterator[str]:
    """Tell what a comparison measured, and what follows; its own sentence where it measured nothing."""
    found, measured = said.evidence, values_of(said.evidence)
    reason = ended(text(found.get("reason")).removeprefix("inconclusive").lstrip(": "))
    yield measured
    yield chance(found)
    if said.is_inconclusive:
        yield f"Nothing could be concluded: {reason or 'the row does not say why.'}"
    elif not measured:
        yield reason or said.sentence
    elif is_met(found) and found.get("verdict") in TURNED_DOWN:
        yield f"All the same it did not pass: {reason or 'the row does not say why.'}"
    if forced_by := text(found.get("forced_by")):
        why = text(found.get("sentence")).partition(f"{forced_by} forces it: ")[2]
        yield f"It was forced by {forced_by}, whatever the comparison says{f': {ended(why)}' if why else '.'}"


def _places(said: LedgerEntryView, stays: object = None) -> Iterator[str]:
    """Tell what was in production before and after a change, or what ``stays`` there."""
    before, after = said.part("from"), said.part("to")
    if not after:
        yield f"{version(stays)} stays in production." if stays is not None else ""
        return
    if before.get("production") == after.get("production"):
        yield f"In production is {version(after.get('production'))}, as before."
    else:
        yield f"In production before: {version(before.get('production'))}; after: {version(after.get('production'))}."
    if before.get("previous") != after.get("previous"):
        previous = after.get("previous")
        yield f"{version(previous)} is kept to go back to."


def _started(said: LedgerEntryView) -> str:
    who = text(said.evidence.get("requested_by")) or said.who
    return f"The run was started by {who}." if who not in NOBODY else ""


def _requested(approval: Mapping[str, Any]) -> str:
    people = approval.get("requesters")
    names = [each for each in people if isinstance(each, str)] if isinstance(people, list) else []
    return f"It was asked for by {' and '.join(names)}." if names else ""
