"""What is newest of many models at once, for a page that shows all of them.

Every method is one query, whatever the number of models and however long their history: it finds the newest rows of
each model along an index, and reads no others.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel.store.database.alert_tables import alerts
from keel.store.database.live_tables import live_alarms, live_monitors
from keel.store.database.tables import decisions, experiments, label_sums, ledger, quarantines, reports
from keel.store.database.times import from_micros, to_micros
from keel.store.records import as_record

if TYPE_CHECKING:
    from sqlalchemy.sql.selectable import CTE

    from keel.store.database.connections import Database

Rows = list[dict[str, Any]]
Kind = sa.Text | sa.BigInteger
_TIMES = frozenset({"window_start", "window_end", "created_at", "since", "first_seen"})
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Thinned:
    """Which of a model's windows to read: at most one for each ``gap``, of about the length of the newest."""

    model: str
    since: datetime
    """Of the ends, like ``until``."""
    until: datetime
    gap: timedelta
    length: timedelta


class FleetTable:
    """Reads of many models at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_reports(self, models: Collection[str], kinds: Collection[str], *, windows: int) -> Rows:
        """Return the reports of each model and kind whose window ends last, with their bodies as text.

        windows: ``since`` of a row is the earliest end, of its model and kind, of at most so many lengths of its window
        before its own end.
        """
        if not models or not kinds:
            return []
        model, kind = self._listed("model", models), self._listed("kind", kinds)
        r, earlier = reports.c, reports.alias().c
        newest = sa.select(sa.func.max(earlier.window_end))
        newest = newest.where(earlier.model == model.c.model, earlier.kind == kind.c.kind)
        each = model.join(kind, sa.true())
        ending = sa.select(model.c.model, kind.c.kind, newest.scalar_subquery().label("ending"))
        # without the offset, SQLite would join all reports of a model with each kind
        ends = ending.select_from(each).offset(0).cte()
        first = sa.select(sa.func.min(earlier.window_end)).where(
            earlier.model == r.model,
            earlier.kind == r.kind,
            earlier.window_end >= r.window_end - windows * (r.window_end - r.window_start),
        )
        same = sa.and_(r.model == ends.c.model, r.kind == ends.c.kind, r.window_end == ends.c.ending)
        query = sa.select(reports, first.scalar_subquery().label("since")).join_from(ends, reports, same)
        return [_with_times(row) for row in self._rows(query) if row["since"] is not None]

    def thinned_reports(self, kind: str, wanted: Collection[Thinned]) -> Rows:
        """Return ``model, version, window_end, status`` and ``body``, a text, of some reports, by the window's end."""
        if not wanted:
            return []
        numbers = dict.fromkeys(("since", "until", "gap", "least", "most"), sa.BigInteger())
        part = self._table([_as_numbers(each) for each in wanted], {"model": sa.Text(), **numbers})
        r = reports.c
        mine = sa.and_(
            r.model == part.c.model,
            r.kind == kind,
            r.window_end >= part.c.since,
            r.window_end <= part.c.until,
        )
        picked = sa.select(r.model, sa.func.max(r.window_end).label("ending"), part.c.least, part.c.most)
        picked = picked.join_from(part, reports, mine)
        bucket = sa.cast(part.c.until - r.window_end, sa.BigInteger).op("/")(part.c.gap)
        chosen = picked.group_by(r.model, bucket, part.c.least, part.c.most).cte()
        length = r.window_end - r.window_start  # asked of the few that are read: the index does not have it
        alike = sa.and_(length > chosen.c.least, length < chosen.c.most)
        same = sa.and_(r.model == chosen.c.model, r.kind == kind, r.window_end == chosen.c.ending, alike)
        query = sa.select(r.model, r.version, r.window_end, r.status, r.body).join_from(chosen, reports, same)
        return [_with_times(row) for row in self._rows(query.order_by(r.window_end))]

    def decisions(self, decision_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return decisions by their ids, with parsed body and outcome; an unknown id is in none."""
        query = sa.select(decisions).where(decisions.c.decision_id.in_(decision_ids))
        with self._database.connect() as connection:
            return {row.decision_id: as_record(row) for row in connection.execute(query)}

    def last_checks(self, models: Collection[str]) -> dict[str, datetime]:
        """Return when the last decision of a check of each model was first stored; a model without one is in none."""
        if not models:
            return {}
        model, d = self._listed("model", models), decisions.c
        mine = sa.and_(d.model == model.c.model, d.decision_id.startswith("decision-", autoescape=True))
        last = sa.select(d.created_at).where(mine).order_by(d.created_at.desc()).limit(1).scalar_subquery()
        rows = self._rows(sa.select(model.c.model, last.label("last")))
        return {row["model"]: from_micros(row["last"]) for row in rows if row["last"] is not None}

    def deployment_rows(self, models: Collection[str], *, newest: int | None = None) -> Rows:
        """Return the ledger's rows that changed the deployment or a probation of models, in order, as they are stored.

        newest: of each model only from so many changes of the deployment on.

        Raises
        ------
        UnicodeDecodeError
            A row was changed after it was written.

        """
        changed = ledger.c.generation_to != ledger.c.generation_from
        query = sa.select(ledger)
        if newest is not None and models:
            model, earlier = self._listed("model", models), ledger.alias()
            e = earlier.c
            since = sa.select(e.seq).where(e.model == model.c.model, e.generation_to != e.generation_from)
            nth = since.order_by(e.seq.desc()).limit(1).offset(newest - 1).scalar_subquery()
            first = sa.select(model.c.model, sa.func.coalesce(nth, 0).label("first")).cte()
            same = sa.and_(ledger.c.model == first.c.model, ledger.c.seq >= first.c.first)
            query = query.join_from(first, ledger, same)
        else:
            query = query.where(ledger.c.model.in_(models))
        return self._rows(query.where(sa.or_(changed, ledger.c.action == "confirm")).order_by(ledger.c.seq))

    def open_alerts(self) -> Rows:
        """Return the alerts that are not over, of every model, by the time they were first seen, without evidence."""
        a = alerts.c
        told = a.model, a.kind, a.subject, a.severity, a.state, a.rank, a.first_seen, a.acknowledged_by, a.silenced_by
        query = sa.select(*told).where(a.resolved_at.is_(None)).order_by(a.first_seen, a.alert_id)
        return [_with_times(row) for row in self._rows(query)]

    def open_alarms(self) -> Rows:
        """Return ``model, kind, subject`` and ``since`` of the live alarms that no check has judged, of every model."""
        a = live_alarms.c
        query = sa.select(a.model, a.kind, a.subject, a.since).where(a.judged_by.is_(None))
        return [_with_times(row) for row in self._rows(query.order_by(a.opened_at, a.alarm_id))]

    def monitors(self, models: Collection[str]) -> dict[str, datetime]:
        """Return when the live monitors of models last stored their state, but for those that are paused."""
        m = live_monitors.c
        query = sa.select(m.model, m.updated_at).where(m.model.in_(models), sa.not_(m.paused))
        return {row["model"]: from_micros(row["updated_at"]) for row in self._rows(query)}

    def quarantined(self) -> list[tuple[str, str]]:
        """Return ``model`` and ``about`` of every quarantine that is not released."""
        q = quarantines.c
        rows = self._rows(sa.select(q.model, q.about).where(sa.not_(q.released)).order_by(q.start_at, q.about))
        return [(row["model"], row["about"]) for row in rows]

    def experiments(self) -> Rows:
        """Return ``model`` and the parsed ``plan`` of every running experiment."""
        e = experiments.c
        rows = self._rows(sa.select(e.model, e.plan).where(e.status == "running"))
        return [{**row, "plan": json.loads(row["plan"])} for row in rows]

    def newest_labels(self, models: Collection[str]) -> dict[str, datetime]:
        """Return the latest hour whose predictions have a label; a model without any is in none."""
        query = sa.select(label_sums.c.model, sa.func.max(label_sums.c.hour).label("hour"))
        rows = self._rows(query.where(label_sums.c.model.in_(models)).group_by(label_sums.c.model))
        return {row["model"]: from_micros(int(row["hour"])) for row in rows}

    def _listed(self, name: str, values: Collection[str]) -> CTE:
        """Return a table of one column of texts."""
        return self._table([{name: value} for value in dict.fromkeys(values)], {name: sa.Text()})

    def _table(self, rows: Sequence[Mapping[str, str | int]], kinds: Mapping[str, Kind]) -> CTE:
        """Return rows as a table of the query.

        They are one parameter, as JSON: the statement is the same whatever their number, and is compiled once.
        """
        given = sa.bindparam(None, json.dumps(rows), type_=sa.Text)
        if self._database.is_sqlite:
            value = sa.func.json_each(given).table_valued("value").c.value
            columns = [sa.func.json_extract(value, f"$.{name}", type_=kind).label(name) for name, kind in kinds.items()]
            # without the offset, SQLite would read the JSON again for each row that is joined
            return sa.select(*columns).offset(0).cte()
        fields = [sa.column(name, kind) for name, kind in kinds.items()]
        table = sa.func.json_to_recordset(sa.cast(given, sa.JSON)).table_valued(*fields)
        table = table.render_derived(with_types=True)
        return sa.select(*(table.c[name] for name in kinds)).cte()

    def _rows(self, query: sa.Select[Any]) -> Rows:
        with self._database.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: from_micros(value) if name in _TIMES and value is not None else value for name, value in row.items()}


def _as_numbers(each: Thinned) -> dict[str, str | int]:
    length = each.length // _MICROSECOND
    times = {"since": to_micros(each.since), "until": to_micros(each.until), "gap": max(each.gap // _MICROSECOND, 1)}
    return {"model": each.model, **times, "least": length // 2, "most": 2 * length}
