"""Submit labels, and list those that contradict earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.tables import label_conflicts, labels
from keel.store.database.times import from_micros

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.store import LabelResult
    from keel.workspace import Workspace


def submit_labels(ws: Workspace, config: ModelConfig, table: pa.Table) -> LabelResult:
    """Store labels that `label_table` returned, all or none. Submitting them again changes nothing."""
    return ws.predictions(config).add_labels(table)


def conflicts(ws: Workspace, config: ModelConfig, *, limit: int = 1000) -> list[dict[str, Any]]:
    """Return labels that contradict an earlier one of the same id, the last observed first.

    Each has ``id``, ``label`` and ``observed_at`` of the label that counts, and ``other_label`` and
    ``other_observed_at`` of the later one, which does not count.
    """
    same = sa.and_(labels.c.model == label_conflicts.c.model, labels.c.id == label_conflicts.c.id)
    query = (
        sa.select(
            labels.c.id, labels.c.label, labels.c.observed_at, label_conflicts.c.label, label_conflicts.c.observed_at
        )
        .join_from(label_conflicts, labels, same)
        .where(label_conflicts.c.model == config.model, label_conflicts.c.label != labels.c.label)
        .order_by(label_conflicts.c.observed_at.desc(), label_conflicts.c.id, label_conflicts.c.label)
        .limit(limit)
    )
    with ws.store.connect() as connection:
        found = connection.execute(query).all()
    return [
        {
            "id": name,
            "label": kept,
            "observed_at": from_micros(at),
            "other_label": other,
            "other_observed_at": from_micros(later),
        }
        for name, kept, at, other, later in found
    ]
