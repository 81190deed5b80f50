"""The sentence at the head of the overview: what is worst, how many models need a person, how many are fine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from keel.monitoring.performance_words import capitalised
from keel.reports.fleet.sentences import worse_since
from keel.reports.fleet.states import State
from keel.reports.fleet.words import in_words, listed

if TYPE_CHECKING:
    from keel.reports.fleet.data import Fleet, ModelRow

NAMED = 2
"""Models that the first clause names; more are counted."""


def first_sentence(fleet: Fleet) -> str:
    """Return how the models are, in one or two short sentences."""
    if fleet.error:
        return "Nothing is known about the models now, because the store does not answer."
    if not fleet.rows:
        return "No model is configured yet."
    if len(fleet.rows) == 1 and fleet.rows[0].state not in _CLAUSES:
        return _only(fleet.rows[0])
    worst = next((state for state in _CLAUSES if any(row.state is state for row in fleet.rows)), None)
    named = [row for row in fleet.rows if row.state is worst]
    others = [row for row in fleet.rows if row.state is not worst]
    first = _CLAUSES[worst](named, fleet) if worst else ""
    return f"{first} {_counts(others, after=bool(first))}".strip()


def _only(row: ModelRow) -> str:
    if row.state.needs_person:
        return f"{row.model} needs a person."
    if row.state is State.NO_VERSION:
        return f"{row.model} has no version in production yet."
    if row.state.is_unknown:
        return f"{row.model} could not be checked yet."
    return f"{row.model} is fine."


def _counts(rows: Sequence[ModelRow], *, after: bool) -> str:
    """Return how many of some models need a person, are fine, and are not known.

    after: whether a clause about other models stands before it.
    """
    person = [row for row in rows if row.state.needs_person]
    unknown = [row for row in rows if row.state.is_unknown]
    fine = len(rows) - len(person) - len(unknown)
    if fine and fine == len(rows):
        the_other = "The other model is" if fine == 1 else f"The other {in_words(fine)} models are"
        return f"{the_other if after else f'All {in_words(fine)} models are'} fine."
    parts = []
    if len(person) == 1:
        parts.append(f"{person[0].model} needs a person")
    elif person:
        parts.append(f"{in_words(len(person))} models need a person")
    if fine:
        noun = "" if person else " model" if fine == 1 else " models"
        parts.append(f"{in_words(fine)}{noun} {'is' if fine == 1 else 'are'} fine")
    if unknown:
        noun = "" if parts else " model" if len(unknown) == 1 else " models"
        parts.append(f"{in_words(len(unknown))}{noun} {'is' if len(unknown) == 1 else 'are'} not checked yet")
    if not parts:
        return ""
    said = f"{'; '.join(parts)}."
    return said if len(person) == 1 else capitalised(said)  # a model's name stays as it is


def _names(rows: Sequence[ModelRow]) -> str:
    return listed([row.model for row in rows]) if len(rows) <= NAMED else f"{in_words(len(rows))} models"


def _worse(rows: Sequence[ModelRow], fleet: Fleet) -> str:
    if len(rows) == 1 and rows[0].facts is not None:
        return f"{rows[0].model} has been getting worse {worse_since(rows[0].facts, fleet.now)}".rstrip() + "."
    return f"{_begin(rows)} have been getting worse."


def _begin(rows: Sequence[ModelRow]) -> str:
    return _names(rows) if len(rows) <= NAMED else capitalised(_names(rows))


_CLAUSES: Mapping[State, Callable[[Sequence[ModelRow], Fleet], str]] = {
    State.WORSE: _worse,
    State.BROKEN_DATA: lambda rows, fleet: f"The data of {_names(rows)} is broken.",
    State.BROKEN_LABELS: lambda rows, fleet: f"The labels of {_names(rows)} are broken.",
    State.NO_PREDICTIONS: lambda rows, fleet: f"No predictions of {_names(rows)} arrive.",
    State.UNREADABLE: lambda rows, fleet: f"{_begin(rows)} cannot be read.",
    State.OVERDUE: lambda rows, fleet: (
        f"The check of {_names(rows)} is overdue." if len(rows) == 1 else f"The checks of {_names(rows)} are overdue."
    ),
}
"""What is worth a clause of its own, the worst first."""
