"""The stages of an A/B experiment: which share of the entities the challenger answers, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Stage:
    """An interval of an experiment with one allocation."""

    share: float
    """The challenger's, in (0, 1)."""
    duration: timedelta | None = None
    """None for the last stage, which lasts until the experiment ends."""
