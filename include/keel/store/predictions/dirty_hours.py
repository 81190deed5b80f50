"""Mark hours that have new rows to count or new labels to sum.

A mark raises the revision of the hour, in the transaction that stores the rows or labels. Counts and sums are stored
with the revision that they include, so that an hour with newer rows stays marked. An hour whose rows have expired is
final and is never marked: new counts would contain the late rows only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.store.database.tables import hours, label_sums, labels, model_tables
from keel.store.database.times import HOUR

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    from keel.store.predictions.arrow_session import ArrowSession
    from keel.store.predictions.layout import Layout

    Insert = sqlite.Insert | postgresql.Insert

NEVER = -(2**62)
"""Earlier than any stored time."""
_KEY = ["model", "version", "hour"]


def hour_of(time: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return the hour that contains ``time``, rounding down before 1970 as well."""
    return time - (time % HOUR + HOUR) % HOUR


def expired_before(model: str) -> sa.ColumnElement[int]:
    """Return the hour before which a model's rows have expired, `NEVER` if none have."""
    known = sa.select(model_tables.c.expired_before).where(model_tables.c.model == model).scalar_subquery()
    return sa.func.coalesce(known, sa.literal(NEVER, sa.BigInteger))


def is_final(model: str, version: sa.ColumnElement[int], hour: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Return whether the counts and sums of an hour are final: its rows have expired.

    `keel.store.predictions.retention` keeps all rows of an hour that is marked. Such an hour is not final.
    """
    marked = [
        sa.exists().where(of.c.model == model, of.c.version == version, of.c.hour == hour, of.c.revision > done)
        for of, done in ((hours, hours.c.counted), (label_sums, label_sums.c.summed))
    ]
    return sa.and_(hour < expired_before(model), *(~mark for mark in marked))


def mark_counts(session: ArrowSession, model: str, stage: sa.Table) -> Insert:
    """Return the statement that marks the hours of staged predictions (id, time, version, …) as not counted."""
    return _mark(session, hours, model, stage.c.c2, stage.c.c1, stage)


def mark_early_labels(session: ArrowSession, model: str, stage: sa.Table) -> Insert:
    """Return the statement that marks the hours of staged predictions whose label arrived before them."""
    waiting = sa.join(stage, labels, sa.and_(labels.c.model == model, labels.c.id == stage.c.c0))
    return _mark(session, label_sums, model, stage.c.c2, stage.c.c1, waiting)


def mark_labels(session: ArrowSession, layout: Layout, stage: sa.Table, new: sa.ColumnElement[bool]) -> Insert:
    """Return the statement that marks the hours of the predictions whose staged labels (id, …) are ``new``."""
    table = layout.table
    labelled = sa.join(stage, table, table.c.id == stage.c.c0)
    return _mark(session, label_sums, layout.model, table.c.version, table.c.time, labelled, new)


def _mark(
    session: ArrowSession,
    marked: sa.Table,
    model: str,
    version: sa.ColumnElement[int],
    time: sa.ColumnElement[int],
    rows: sa.FromClause,
    *conditions: sa.ColumnElement[bool],
) -> Insert:
    hour = hour_of(time)
    done = {"counted": sa.literal(0)} if marked is hours else {"summed": sa.literal(0), "n": sa.literal(0)}
    marks = sa.select(sa.literal(model, sa.Text), version, hour, sa.literal(1), *done.values()).select_from(rows)
    marks = marks.where(version.is_not(None), ~is_final(model, version, hour), *conditions).group_by(version, hour)
    insert = session.insert(marked).from_select([*_KEY, "revision", *done], marks)
    return insert.on_conflict_do_update(index_elements=_KEY, set_={"revision": marked.c.revision + 1})
