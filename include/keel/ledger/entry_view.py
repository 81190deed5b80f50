"""A view of a ledger row, for describing it in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import as_mapping, as_text, name_version, with_full_stop

if TYPE_CHECKING:
    from keel.ledger.entries import Entry

SCHEDULED_ACTORS = frozenset({"", "airflow", "None"})
"""Actors of rows that a scheduled run wrote, rather than a person's."""


@dataclass(frozen=True)
class LedgerEntryView:
    """A row and its parts by name; a part that the row does not have is empty."""

    entry: Entry

    def part(self, name: str) -> Mapping[str, Any]:
        """Return a part of the body that is a mapping."""
        return as_mapping(as_mapping(self.entry.body).get(name))

    @property
    def evidence(self) -> Mapping[str, Any]:
        """The evidence of the row."""
        return self.part("evidence")

    @property
    def sentence(self) -> str:
        """The sentence in the row's evidence."""
        return with_full_stop(as_text(self.evidence.get("sentence")))

    @property
    def person(self) -> str:
        """The person who acted; empty for a scheduled run."""
        return "" if self.entry.actor in SCHEDULED_ACTORS else self.entry.actor

    @property
    def by(self) -> str:
        """The person who acted, to add to a sentence."""
        return f" by {self.person}" if self.person else ""

    @property
    def reason(self) -> str:
        """The reason, if the row has one apart from its sentence; else the sentence."""
        given = [self.evidence.get("reason"), *(as_mapping(s).get("reason") for s in self.part("statuses").values())]
        reason = next((as_text(each) for each in given if as_text(each)), "")
        return f"Reason: {with_full_stop(reason)}" if reason else self.sentence

    @property
    def version(self) -> str:
        """The version that the row is about, as text."""
        evidence, artifacts = self.evidence, self.part("artifacts")
        named = (evidence.get("challenger"), artifacts.get("version"), evidence.get("version"), *self.part("statuses"))
        return next((name_version(each) for each in named if each is not None), "a version")

    @property
    def is_inconclusive(self) -> bool:
        """Whether a comparison was inconclusive; rows before 0.1.0 have that in the reason alone."""
        evidence = self.evidence
        return evidence.get("verdict") == "inconclusive" or as_text(evidence.get("reason")).startswith("inconclusive")
