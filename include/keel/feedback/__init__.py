"""Submit labels: the true outcomes of predictions, by prediction id or by entity and time.

Each label has exactly one outcome, whenever and however often it is submitted: see `keel.store.predictions.labels` and
docs/feedback.md.
"""

from __future__ import annotations

from keel.feedback.correct import correct_labels
from keel.feedback.identity import as_identity, prediction_id, prediction_ids
from keel.feedback.parse_json import label_table
from keel.feedback.submit import conflicts, submit_labels

__all__ = [
    "as_identity",
    "conflicts",
    "correct_labels",
    "label_table",
    "prediction_id",
    "prediction_ids",
    "submit_labels",
]
