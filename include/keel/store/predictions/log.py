"""A model's prediction log: features, outputs and labels of its predictions.

A prediction is stored once: the first row with an id stays, later ones are duplicates. A row belongs to the hour of its
time. Storing new rows marks that hour as dirty for their version in the same transaction, so that it is counted again,
and as stale if labels arrived before them (`keel.store.performance`). Rows without a version are labelled history that
was never scored. They are used for training and not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.planner_hints import within
from keel.store.database.tables import hours, labels, quarantines
from keel.store.database.times import HOUR, from_micros, hour_micros, to_micros
from keel.store.predictions import arrivals, casting
from keel.store.predictions import experiment_rows as outcomes
from keel.store.predictions.arrow_session import ArrowSession, reading, writing
from keel.store.predictions.dirty_hours import mark_counts, mark_early_labels
from keel.store.predictions.encoding import AppendResult, decode_packed, encode
from keel.store.predictions.hourly_counts import hourly_rows
from keel.store.predictions.label_hours import label_hours
from keel.store.predictions.labels import LabelResult, store_labels
from keel.store.predictions.layout import ALLOCATION, ARRIVAL, OUTPUTS, Layout
from keel.store.predictions.retention import delete_unmatched_labels, expire
from keel.store.predictions.row_labels import row_labels
from keel.store.predictions.target_values import target_of

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.sql import ClauseElement

    from keel.config import FeatureKind
    from keel.stats.label_profile import LabelHours
    from keel.store.database.connections import Database
    from keel.store.predictions.target_values import TargetKind

    Select = sa.Select[*tuple[Any, ...]]

OF_LABEL = frozenset({"label", "observed_at"})
IDS_OF_A_QUERY = 500


class PredictionLog:
    """The predictions and labels of one model. `Store.predictions` makes it."""

    def __init__(self, database: Database, layout: Layout, target: TargetKind | None = None) -> None:
        self._database = database
        self._layout = layout
        self._target = target

    @property
    def model(self) -> str:
        """The model's name."""
        return self._layout.model

    @property
    def table(self) -> sa.Table:
        """The model's table of predictions, for queries."""
        return self._layout.table

    @property
    def features(self) -> dict[str, FeatureKind]:
        """The features and their kinds."""
        return dict(self._layout.kinds)

    def append(self, table: pa.Table) -> AppendResult:
        """Store the rows with a new id and mark their hours as dirty, all or nothing.

        table: ``id`` and ``time`` (timestamp with a zone, no nulls); optionally ``version``, ``score``,
        ``prediction``, ``arm``, ``allocation``, ``entity``, ``experiment``, ``shadow_version``, ``shadow_score``,
        ``shadow_prediction``, and the features. NaN is stored as missing, infinities as they are.
        A value that does not fit its column is stored as it is, and `read` returns it as text. A feature that the table
        lacks is also absent in what `read` returns.
        Raises SchemaError, with nothing stored, for a table without usable ids, times or versions.
        """
        rows, result = encode(table, self._layout)
        if rows.num_rows == 0:
            return result
        with writing(self._database, self.model) as session:
            stored = self._store(session, rows)
        return AppendResult(
            stored, table.num_rows - stored, result.missing_columns, result.extra_columns, result.invalid
        )

    def _store(self, session: ArrowSession, rows: pa.Table) -> int:
        stage, target = session.stage(arrivals.with_offsets(rows)), self._layout.table

        def statements() -> list[ClauseElement]:
            known = sa.exists().where(target.c.id == stage.c.c0)
            columns = [self._layout.column(name).name for name in (*rows.column_names, ARRIVAL)]
            *values, offset = stage.c
            numbered = sa.select(*values, arrivals.number(self.model, offset)).where(sa.true())
            insert = session.insert(target).from_select(columns, numbered)
            return [
                sa.delete(stage).where(known),
                sa.select(sa.func.count()).select_from(stage),
                insert.on_conflict_do_nothing(index_elements=["id"]),
                mark_counts(session, self.model, stage),
                mark_early_labels(session, self.model, stage),
                arrivals.advance(session, self.model, stage, offset),
            ]

        drop_known, count, *store = session.texts(self._layout, "append", statements)
        session.run(drop_known)
        stored = session.scalar(count)
        for statement in store if stored else ():
            session.run(statement)
        session.drop_stage()
        return stored

    def dirty_hours(self, until: datetime) -> list[tuple[int, datetime, int]]:
        """Return (version, hour, revision) of hours that began before ``until`` and have uncounted rows."""
        mine = sa.and_(hours.c.model == self.model, hours.c.hour < to_micros(until), hours.c.revision > hours.c.counted)
        query = sa.select(hours.c.version, hours.c.hour, hours.c.revision).where(mine)
        with self._database.connect() as connection:
            found = connection.execute(query.order_by(hours.c.version, hours.c.hour)).all()
        return [(version, from_micros(hour), revision) for version, hour, revision in found]

    def mark_counted(self, version: int, counted: Sequence[tuple[datetime, int]]) -> None:
        """Record that hours, each (hour, revision), were counted as of a revision, in one transaction. Idempotent.

        Rows that arrived after that revision keep the hour dirty.
        """
        if not counted:
            return
        hour: sa.BindParameter[int] = sa.bindparam("at", type_=sa.BigInteger)
        revision: sa.BindParameter[int] = sa.bindparam("seen", type_=sa.BigInteger)
        key = sa.and_(hours.c.model == self.model, hours.c.version == version, hours.c.hour == hour)
        statement = sa.update(hours).where(key, hours.c.counted < revision, hours.c.revision >= revision)
        with self._database.begin() as connection:
            connection.execute(
                statement.values(counted=revision), [{"at": hour_micros(at), "seen": seen} for at, seen in counted]
            )

    def read_hour(self, version: int, hour: datetime) -> list[pa.Table]:
        """Return the rows of one version and hour. See `read`."""
        start = hour_micros(hour)
        return self._read(start, start + HOUR, version)

    def read(self, start: datetime, end: datetime, version: int | None = None) -> list[pa.Table]:
        """Return the rows with start ≤ time < end, of all versions or one, as at least one table.

        Columns ``id, time, version, score, prediction`` and the features, ordered by time and id. There is one table
        per shape that was appended: without the features that were absent, and with text in the columns where a value
        did not fit. Usually there is one table.
        """
        return self._read(to_micros(start), to_micros(end), version)

    def _read(self, start: int, end: int, version: int | None) -> list[pa.Table]:
        table = self._layout.table
        names = ["id", "time", "version", *OUTPUTS, "absent", "invalid", *self._layout.kinds]
        query = (
            sa.select(*self._columns(names))
            .where(window(table, start, end, version))
            .order_by(table.c.time, self._by_id())
        )
        return casting.restore_shapes(self._fetch(query, names))

    def labelled(
        self,
        start: datetime,
        end: datetime,
        *,
        version: int | None = None,
        exclude_quarantined: bool = True,
        decided_before: datetime | None = None,
        features: bool = True,
        by_arrival: timedelta | None = None,
    ) -> pa.Table:
        """Return the rows with start ≤ time < end that have a label, as one table ordered by time and id.

        Columns ``id, time, version, score, prediction, label`` and the features, all in their own types: invalid and
        absent values are null.

        exclude_quarantined: leave out rows inside a quarantine.
        decided_before: exclude only quarantines that a window with an earlier end decided on.
        features: without them only the first six columns are read.
        by_arrival: the label delay. The rows are then in the order in which their labels matured (`matured_at`), and
        ``observed_at`` follows ``label``. A later call with a later ``end`` appends rows to those of an earlier call,
        unless a label is stored later than its ``observed_at``.
        """
        table = self._layout.table
        outputs = ["id", "time", "version", *OUTPUTS, "label", *(() if by_arrival is None else ("observed_at",))]
        names = [*outputs, *(self._layout.kinds if features else ())]
        query = sa.select(*self._columns(names)).join_from(table, labels, self._has_label())
        query = query.where(window(table, to_micros(start), to_micros(end), version))
        if exclude_quarantined:
            inside = sa.and_(quarantines.c.start_at <= table.c.time, table.c.time < quarantines.c.end_at)
            active = sa.and_(quarantines.c.model == self.model, sa.not_(quarantines.c.released))
            if decided_before is not None:
                active = sa.and_(active, quarantines.c.decided_until < to_micros(decided_before))
            query = query.where(~sa.exists().where(active, inside))
        arrival = [] if by_arrival is None else [matured_at(table, by_arrival)]
        return self._fetch(query.order_by(*arrival, table.c.time, self._by_id()), names)

    def allocations(self, start: datetime, end: datetime) -> pa.Table:
        """Return ``id, time, version, arm, allocation`` of rows with start ≤ time < end that have an arm.

        allocation: the probability with which the arm was chosen, null if the caller did not give it.
        """
        table = self._layout.table
        names = ["id", "time", "version", *ALLOCATION]
        query = sa.select(*self._columns(names)).where(
            window(table, to_micros(start), to_micros(end), None), table.c.arm.is_not(None)
        )
        return self._fetch(query.order_by(table.c.time, self._by_id()), names)

    def experiment_rows(
        self, experiment: str, start: datetime, end: datetime, outputs: Sequence[str]
    ) -> tuple[pa.Table, pa.Table]:
        """Return the first row of each entity. See `keel.store.predictions.experiment_rows.experiment_rows`."""
        return outcomes.experiment_rows(self._database, self._layout, experiment, start, end, outputs)

    def last_arrival(self) -> int:
        """Return the last arrival number of the model's predictions and labels, 0 before the first."""
        return arrivals.last_arrival(self._database, self.model)

    def waiting(self, version: int, *, after: int, labels_after: int | None) -> tuple[int, int]:
        """Return how many rows and labels came later. See `keel.store.predictions.arrivals.waiting`."""
        return arrivals.waiting(self._database, self._layout, version, after=after, labels_after=labels_after)

    def count_arrived(self, version: int, *, after: int, limit: int) -> int:
        """Return how many rows came later. See `keel.store.predictions.arrivals.count_arrived`."""
        return arrivals.count_arrived(self._database, self._layout, version, after=after, limit=limit)

    def arrived(self, version: int, *, after: int, limit: int) -> pa.Table:
        """Return rows in order of arrival. See `keel.store.predictions.arrivals.arrived`."""
        return arrivals.arrived(self._database, self._layout, version, after=after, limit=limit)

    def settled(
        self,
        version: int,
        *,
        after: int,
        mature: datetime,
        labels_until: int,
        limit: int,
        mature_until: int = 0,
        unlabelled: bool = False,
    ) -> tuple[int, pa.Table]:
        """Return matured rows and their labels. See `keel.store.predictions.arrivals.settled`."""
        return arrivals.settled(
            self._database, self._layout, version,
            after=after, mature=mature, labels_until=labels_until, limit=limit, mature_until=mature_until,
            unlabelled=unlabelled,
        )  # fmt: skip

    def late_labels(
        self, version: int, *, predictions_until: int, after: int, limit: int, predictions_after: int = 0
    ) -> tuple[int, pa.Table]:
        """Return labels of rows that have settled. See `keel.store.predictions.arrivals.late_labels`."""
        return arrivals.late_labels(
            self._database, self._layout, version,
            predictions_until=predictions_until, after=after, limit=limit, predictions_after=predictions_after,
        )  # fmt: skip

    def count(self, start: datetime, end: datetime, version: int | None = None) -> int:
        """Return the number of rows with start ≤ time < end."""
        table = self._layout.table
        inside = window(table, to_micros(start), to_micros(end), version)
        with self._database.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(inside)).scalar_one())

    def hourly_rows(
        self, start: datetime, end: datetime, version: int | None = None
    ) -> dict[tuple[int, datetime], int]:
        """Return the number of rows by (version, hour), start ≤ hour < end, also of counted hours that expired."""
        return hourly_rows(self._database, self._layout, start, end, version)

    def known_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` under which a row is stored."""
        column, found = self._layout.table.c.id, set()
        with self._database.connect() as connection:
            for start in range(0, len(ids), IDS_OF_A_QUERY):
                part = ids[start : start + IDS_OF_A_QUERY]
                found |= set(connection.execute(sa.select(column).where(column.in_(part))).scalars())
        return found

    def times(self) -> tuple[datetime, datetime] | None:
        """Return the first and last time, or None without rows."""
        time = self._layout.table.c.time
        with self._database.connect() as connection:
            first, last = connection.execute(sa.select(sa.func.min(time), sa.func.max(time))).one()
        return None if first is None else (from_micros(first), from_micros(last))

    def add_labels(self, table: pa.Table) -> LabelResult:
        """Store labels that the target can have. See `keel.store.predictions.labels.store_labels`."""
        return store_labels(self._database, self._layout, table, target_of(self._database, self.model, self._target))

    def label_rate(self, start: datetime, end: datetime, version: int | None = None) -> float | None:
        """Return the share of rows with start ≤ time < end that have a label, or None without rows."""
        rows, labelled = self.label_counts(start, end, version)
        return labelled / rows if rows else None

    def label_hours(
        self, start: datetime, end: datetime, *, delay: timedelta, centre: float = 0.0, history: bool = True
    ) -> LabelHours:
        """Return sums over the labels of each hour. See `keel.store.predictions.label_hours.label_hours`."""
        return label_hours(self._database, self._layout, start, end, delay=delay, centre=centre, history=history)

    def label_counts(self, start: datetime, end: datetime, version: int | None = None) -> tuple[int, int]:
        """Return the number of rows with start ≤ time < end, and of those with a label, quarantined or not."""
        table = self._layout.table
        counts = sa.select(sa.func.count(), sa.func.count(labels.c.id))
        query = counts.select_from(sa.outerjoin(table, labels, self._has_label()))
        with self._database.connect() as connection:
            inside = window(table, to_micros(start), to_micros(end), version)
            rows, labelled = connection.execute(query.where(inside)).one()
        return int(rows), int(labelled)

    def row_labels(self, start: datetime, end: datetime) -> pa.Table:
        """Return rows with and without labels. See `keel.store.predictions.row_labels.row_labels`."""
        return row_labels(self._database, self._layout, start, end)

    def expire(self, before: datetime) -> int:
        """Delete rows of hours that ended by ``before``, with their labels. Returns the number of rows.

        Counts and sums stay. Rows that are not counted, or have labels that are not summed, are kept: see
        `keel.store.predictions.retention`. Labels that arrive later find no row, so ``before`` must lie further back
        than labels are late.
        """
        return expire(self._database, self._layout, before)

    def delete_unmatched_labels(self, before: datetime) -> int:
        """Delete labels without a prediction that were observed before a time. Returns their number."""
        return delete_unmatched_labels(self._database, self._layout, before)

    def _columns(self, names: list[str]) -> list[sa.Label[object]]:
        stored = self._layout.stored_names(names)
        columns = [labels.c[name] if name in OF_LABEL else self._layout.column(name) for name in stored]
        return [column.label(f"c{i}") for i, column in enumerate(columns)]

    def _fetch(self, query: Select, names: list[str]) -> pa.Table:
        with reading(self._database) as session:
            stored = session.fetch(query)
        return decode_packed(stored, names, self._layout)

    def _has_label(self) -> sa.ColumnElement[bool]:
        return sa.and_(labels.c.model == self.model, labels.c.id == self._layout.table.c.id)

    def _by_id(self) -> sa.ColumnElement[str]:
        # SQLite's order, whatever the server's locale
        column: sa.ColumnElement[str] = self._layout.table.c.id
        return column if self._database.is_sqlite else sa.collate(column, "C")


def matured_at(table: sa.Table, delay: timedelta) -> sa.Case[int]:
    """Return when a row's label matured: when it was observed, but not before the label delay has passed."""
    earliest = table.c.time + delay // timedelta(microseconds=1)
    return sa.case((labels.c.observed_at > earliest, labels.c.observed_at), else_=earliest)


def window(table: sa.Table, start: int, end: int, version: int | None) -> sa.ColumnElement[bool]:
    """Return the condition start ≤ time < end, and the version if given."""
    inside = within(table.c.time, start, end)
    return inside if version is None else sa.and_(inside, table.c.version == version)
