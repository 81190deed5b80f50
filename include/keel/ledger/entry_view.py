"""A row of the ledger with its parts in reach, for whoever tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keel.ledger.wording import ended, mapping, text, version

if TYPE_CHECKING:
    from keel.ledger.entries import Entry

NOBODY = frozenset({"", "airflow", "None"})
"""How an actor is called where the schedule has acted."""


@dataclass(frozen=True)
class LedgerEntryView:
    """A row with its parts by name, each empty where the row has no such part."""

    entry: Entry

    def part(self, name: str) -> Mapping[str, Any]:
        """Return a part of the body that is itself made of parts."""
        return mapping(mapping(self.entry.body).get(name))

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What the row rests on."""
        return self.part("evidence")

    @property
    def sentence(self) -> str:
        """What whoever wrote the row said of it."""
        return ended(text(self.evidence.get("sentence")))

    @property
    def who(self) -> str:
        """Who acted; empty for the schedule."""
        return "" if self.entry.actor in NOBODY else self.entry.actor

    @property
    def by(self) -> str:
        """Who acted, to add to a sentence."""
        return f" by {self.who}" if self.who else ""

    @property
    def why(self) -> str:
        """Why, where the row says so apart from its sentence; else its sentence."""
        given = [self.evidence.get("reason"), *(mapping(s).get("reason") for s in self.part("statuses").values())]
        reason = next((text(each) for each in given if text(each)), "")
        return f"Why: {ended(reason)}" if reason else self.sentence

    @property
    def about(self) -> str:
        """Name the version that the row is about."""
        evidence, artifacts = self.evidence, self.part("artifacts")
        named = (evidence.get("challenger"), artifacts.get("version"), evidence.get("version"), *self.part("statuses"))
        return next((version(each) for each in named if each is not None), "a version")

    @property
    def is_inconclusive(self) -> bool:
        """Whether a comparison came to no answer; versions before 0.1.0 said so in the reason alone."""
        found = self.evidence
        return found.get("verdict") == "inconclusive" or text(found.get("reason")).startswith("inconclusive")
