"""Replay a labelled past as if it were happening: rows become predictions of the version then in production.

Rows before there is a production version become history: labelled, never scored, good for training.
"""

from __future__ import annotations

from keel.replay.past import Replayed, labelled_history, replay
from keel.replay.service import ScoringService, ServiceFailed, replay_through

__all__ = ["Replayed", "ScoringService", "ServiceFailed", "labelled_history", "replay", "replay_through"]
