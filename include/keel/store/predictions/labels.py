"""Store labels, which belong to predictions by id. Each label has exactly one outcome.

====================================  ================================================================================
the first label of an id              stored; it joins its prediction, however late it arrives
a label before its prediction         stored and counted as *unmatched*; it joins when the prediction is stored
a label for an hour that has expired  stored and counted as *expired*; no sum changes, and the next expiry deletes it
the same label again                  a *duplicate*: the ``observed_at`` of the first stays
another label for the same id         a *conflict*: the first counts, the other goes to ``label_conflicts``
====================================  ================================================================================

Labels do not change counts of predictions, so they make no hour dirty. They change the performance in the hour of their
prediction and mark it as stale in the same transaction (`keel.store.performance`). A label that arrives before its
prediction marks the hour when the prediction is stored.

A stored label takes an arrival number, as predictions do (`keel.store.predictions.arrivals`). Duplicates and conflicts
store no label and take none. A corrected label keeps its number: it is no new arrival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from keel.errors import SchemaError
from keel.store.database.tables import label_conflicts, labels
from keel.store.predictions import arrivals, casting
from keel.store.predictions.arrow_session import ArrowSession, writing
from keel.store.predictions.dirty_hours import NEVER, expired_before, hour_of, is_final, mark_labels
from keel.store.predictions.target_values import are_possible, wanted

if TYPE_CHECKING:
    from sqlalchemy.sql import ClauseElement

    from keel.store.database.connections import Database
    from keel.store.predictions.layout import Layout
    from keel.store.predictions.target_values import TargetKind

_COLUMNS = ["model", "id", "label", "observed_at"]
_OFFSET = "c4"


@dataclass(frozen=True)
class LabelResult:
    """The result of storing a batch. Its rows are stored + duplicates + conflicts.

    unmatched: stored labels without a prediction. expired: stored labels that arrived after the rows of their hour were
    deleted. A label whose prediction is gone counts as expired if it was observed before the oldest rows in the store.
    """

    stored: int
    duplicates: int
    conflicts: int
    unmatched: int
    expired: int = 0


def store_labels(database: Database, layout: Layout, table: pa.Table, target: TargetKind | None = None) -> LabelResult:
    """Store labels, all or none. Storing the same labels again changes nothing.

    table: ``id``, ``label`` (which the target can have) and ``observed_at`` (timestamp with a zone), without nulls.
    target: the kind of target; None: unknown, any finite number is taken.
    Raises SchemaError, with nothing stored, for any other table. It names the row (from 0) and the value.
    """
    rows = encode_labels(table, target)
    if rows.num_rows == 0:
        return LabelResult(0, 0, 0, 0)
    with writing(database, layout.model) as session:
        return insert_labels(session, layout, rows)


def encode_labels(table: pa.Table, target: TargetKind | None = None) -> pa.Table:
    """Return id, label, observed_at in microseconds, and whether the row is the first of its id (1 or 0)."""
    if not isinstance(table, pa.Table):
        raise SchemaError(f"labels must be a pyarrow Table, not {type(table).__name__}")
    if table.num_rows == 0:
        return table.select([])
    ids = casting.to_ids(table)
    cast = casting.to_numeric(casting.take(table, "label"))
    if cast.invalid:
        row, text = next(iter(cast.invalid.items()))
        raise SchemaError(f"column 'label' has {text!r} in row {row}, which is not a number")
    values = casting.refuse_nulls(cast.values, "label")
    row = pc.index(are_possible(values, target), False).as_py()
    if row >= 0:
        raise SchemaError(
            f"column 'label' has {values[row].as_py():g} in row {row} (id {ids[row].as_py()!r}), and must be "
            f"{wanted(target)}; nothing was stored"
        )
    first = pa.array(casting.first_occurrences(ids)).cast(pa.int64())
    columns = {"id": ids, "label": values, "observed_at": casting.to_times(table, "observed_at"), "first": first}
    return pa.table(columns)


def insert_labels(session: ArrowSession, layout: Layout, rows: pa.Table) -> LabelResult:
    """Insert encoded labels in the session's transaction."""
    stage = session.stage(arrivals.with_offsets(rows))
    texts = session.texts(layout, "labels", lambda: _statements(session, layout, stage))
    *count_new, mark, store, advance, count_conflicts, store_conflicts = texts
    stored, unmatched, expired = map(session.scalar, count_new)
    for statement in (mark, store, advance) if stored else ():
        session.run(statement)
    conflicts = session.scalar(count_conflicts)
    if conflicts:
        session.run(store_conflicts)
    session.drop_stage()
    return LabelResult(stored, rows.num_rows - stored - conflicts, conflicts, unmatched, expired)


def _statements(session: ArrowSession, layout: Layout, stage: sa.Table) -> list[ClauseElement]:
    """Return the statements on staged labels (id, label, observed_at, first of its id, offset), in their order."""
    model, predictions = sa.literal(layout.model, sa.Text), layout.table
    known = sa.exists().where(labels.c.model == layout.model, labels.c.id == stage.c.c0)
    new = sa.and_(stage.c.c3 == 1, ~known)
    count = sa.select(sa.func.count()).select_from(stage)
    values = sa.select(model, stage.c.c0, stage.c.c1, stage.c.c2)
    other = sa.and_(labels.c.model == layout.model, labels.c.id == stage.c.c0, labels.c.label != stage.c.c1)
    different = values.join_from(stage, labels, other).where(sa.true())
    mine, before = predictions.c.id == stage.c.c0, expired_before(layout.model)
    final = is_final(layout.model, predictions.c.version, hour_of(predictions.c.time))
    too_late = sa.exists().where(mine, predictions.c.version.is_not(None), final)
    gone = ~sa.exists().where(mine)
    return [
        count.where(new),
        count.where(new, gone, stage.c.c2 >= before),
        count.where(before > NEVER, new, sa.or_(too_late, sa.and_(gone, stage.c.c2 < before))),
        mark_labels(session, layout, stage, new),
        session.insert(labels).from_select(
            [*_COLUMNS, "arrival"], values.add_columns(arrivals.number(layout.model, stage.c[_OFFSET])).where(new)
        ),
        arrivals.advance(session, layout.model, stage, stage.c[_OFFSET]),
        sa.select(sa.func.count()).select_from(stage).join(labels, other),
        session.insert(label_conflicts).from_select(_COLUMNS, different).on_conflict_do_nothing(),
    ]
