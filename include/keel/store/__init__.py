"""Keel's data in one database: predictions, labels, counts, reports, decisions, deployments and the ledger.

The same code works on a SQLite file and on PostgreSQL. Tables of data are read and written through ADBC, single rows
through SQLAlchemy Core.

    with Store.open("sqlite:////var/lib/keel/keel.db") as store:
        log = store.predictions("flight_delay", {"hour": "numeric", "carrier": "categorical"})
        log.append(table)

Every method raises StoreUnavailable if the store cannot be reached, or is locked, full or read-only.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from keel.errors import StoreNotPrepared
from keel.store.accepted import AcceptedTable
from keel.store.alerts import AlertsTable
from keel.store.database.connections import Database, parse_url
from keel.store.database.failures import translated
from keel.store.database.locks import Held, hold
from keel.store.database.migrations import HEAD, current_revision, migrate
from keel.store.database.redaction import redacted_url
from keel.store.database.tables import reports
from keel.store.fleet import FleetTable
from keel.store.integrity import compact, verify
from keel.store.live import LiveTable
from keel.store.outbox import OutboxTable
from keel.store.performance import PerformanceTable
from keel.store.predictions.encoding import AppendResult
from keel.store.predictions.labels import LabelResult
from keel.store.predictions.layout import (
    Layout,
    check_features,
    create_layout,
    find_layout,
    rename_feature,
    stored_features,
)
from keel.store.predictions.log import PredictionLog
from keel.store.quarantines import DATA, Quarantines, release
from keel.store.records import CountsTable, Decisions, Reports

if TYPE_CHECKING:
    from keel.config import FeatureKind
    from keel.store.predictions.target_values import TargetKind

__all__ = ["AppendResult", "LabelResult", "PredictionLog", "Store"]

# Seconds. Longer than any append takes, and short enough for an HTTP request to wait.
DEFAULT_TIMEOUT = 30.0


class _Undo(Exception):
    """Ends a transaction without a commit."""


class Store:
    """An open store. Threads may share it. After a fork the child makes connections of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._layouts: dict[tuple[str, tuple[tuple[str, str], ...]], Layout] = {}
        self._lock = threading.Lock()
        self.counts = CountsTable(database)
        self.accepted = AcceptedTable(database)
        self.performance = PerformanceTable(database)
        self.reports = Reports(database)
        self.decisions = Decisions(database)
        self.live = LiveTable(database)
        self.fleet = FleetTable(database)
        self.alerts = AlertsTable(database)
        self.outbox = OutboxTable(database)
        self._quarantines = Quarantines(database)

    @classmethod
    def open(cls, url: str, *, timeout: float = DEFAULT_TIMEOUT, statement_timeout: float | None = None) -> Self:
        """Open the store at a URL and migrate its schema. Creates a SQLite file and its folder if they are missing.

        Parameters
        ----------
        url
            ``sqlite:////absolute/path.db`` or ``postgresql://user:password@host:5432/database``.
        timeout
            Seconds to wait for a connection or for another writer.
        statement_timeout
            Seconds after which PostgreSQL ends a statement on single rows; None: never. A migration has no limit.

        Raises
        ------
        ConfigError
            For any other URL, and for a schema that a newer Keel has written.
        StoreUnavailable
            The store cannot be reached.

        """
        database = Database(parse_url(url), timeout)
        try:
            with translated(database.url):
                database.prepare_file()
                migrate(database.engine)
        except BaseException:
            database.close()
            raise
        database.statement_timeout = statement_timeout
        return cls(database)

    @classmethod
    def open_existing(
        cls, url: str, *, timeout: float = DEFAULT_TIMEOUT, statement_timeout: float | None = None
    ) -> Self | None:
        """Open the store at a URL as `open` does, but create and migrate nothing. None where there is no store.

        Raises
        ------
        ConfigError
            For any other URL.
        StoreNotPrepared
            For a schema of another release.
        StoreUnavailable
            The store cannot be reached.

        """
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
            return None
        database = Database(parsed, timeout)
        try:
            with database.connect() as connection:
                revision = current_revision(connection)
            if revision not in (None, HEAD):
                raise StoreNotPrepared(
                    f"{redacted_url(parsed)}: its schema {revision} is not that of this Keel, {HEAD}: run keel migrate"
                )
        except BaseException:
            database.close()
            raise
        if revision is None:
            database.close()
            return None
        database.statement_timeout = statement_timeout
        return cls(database)

    @property
    def url(self) -> str:
        """The store's URL without its password, for messages."""
        return redacted_url(self._database.url)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine. Prefer `connect` and `begin`, which also translate errors."""
        return self._database.engine

    def connect(self) -> AbstractContextManager[sa.Connection]:
        """Provide a SQLAlchemy connection for queries."""
        return self._database.connect()

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """Provide a SQLAlchemy connection inside a transaction that is committed at the end.

        On SQLite the transaction takes the write lock when it begins, so that a read before a write is safe. On
        PostgreSQL add ``with_for_update()`` or a condition to such a read.
        """
        return self._database.begin()

    def require_writable(self) -> None:
        """Write a row and take it back; raises StoreUnavailable, or any other error of the store."""
        values = {"report_id": "write test", "model": "", "kind": "", "status": "", "body": "", "created_at": 0}
        with suppress(_Undo), self.begin() as connection:
            connection.execute(sa.insert(reports).values(**values))
            raise _Undo

    def lock(self, name: str) -> AbstractContextManager[Held]:
        """Hold a named lock that all processes on this store share. It is released when its holder ends or is killed.

        The value of the ``with`` block is a function that raises StoreUnavailable if the lock was lost. The lock is not
        re-entrant.

        Raises
        ------
        StoreUnavailable
            Another process holds the lock for as long as this store waits for writers.

        """
        return hold(self._database, name)

    def predictions(
        self, model: str, features: Mapping[str, FeatureKind], *, target: TargetKind | None = None
    ) -> PredictionLog:
        """Return the model's prediction log. Creates its table, and columns for new features, if they are missing.

        target: the kind of target, whose labels the log then takes. None: the kind that the store knows from an earlier
        caller; where it knows none, the log takes all finite labels.

        Raises
        ------
        ConfigError
            A feature has a reserved name, or is stored as the other kind.

        """
        check_features(model, features)
        key = (model, tuple(features.items()))
        with self._lock:
            if key not in self._layouts:
                self._layouts[key] = self._layout(model, features, target)
            layout = self._layouts[key]
        return PredictionLog(self._database, layout, target)

    def stored_predictions(self, model: str, features: Mapping[str, FeatureKind]) -> PredictionLog | None:
        """Return the model's prediction log to read it, with those of the features that are stored; None without one.

        Unlike `predictions`, creates nothing.
        """
        with self.connect() as connection:
            known = stored_features(connection, model)
            layout = find_layout(connection, model, {name: kind for name, kind in features.items() if name in known})
        return PredictionLog(self._database, layout) if layout else None

    def rename_feature(self, model: str, old: str, new: str) -> None:
        """Rename a stored feature, with all its values.

        Use it when Keel reserves a name that a feature has, and for any other change of name. Versions that were
        trained with the old name do not know the new one: train again.

        Raises
        ------
        ConfigError
            ``old`` is not stored, or ``new`` is stored already or reserved.

        """
        with self._lock, self.begin() as connection:
            rename_feature(connection, model, old, new)
            self._layouts.clear()

    def _layout(self, model: str, features: Mapping[str, FeatureKind], target: TargetKind | None) -> Layout:
        with self.connect() as connection:
            if layout := find_layout(connection, model, features):
                return layout
        with self.begin() as connection:
            if not self._database.is_sqlite:
                connection.execute(sa.text("LOCK TABLE model_tables IN SHARE ROW EXCLUSIVE MODE"))
            return create_layout(connection, model, features, target)

    def quarantine(
        self,
        model: str,
        start: datetime,
        end: datetime,
        reason: str,
        created_at: datetime,
        *,
        decided_until: datetime | None = None,
        about: str = DATA,
    ) -> None:
        """Quarantine the rows with start ≤ time < end. Idempotent: earlier quarantines and releases stay as they are.

        decided_until: the end of the window whose check decided so. Default: ``end``.
        about: `keel.store.quarantines.DATA` or ``LABELS``.
        """
        self._quarantines.put(model, start, end, reason, created_at, decided_until, about)

    def quarantines(
        self,
        model: str,
        *,
        about: str | None = None,
        decided_before: datetime | None = None,
        with_released: bool = False,
    ) -> Sequence[dict[str, Any]]:
        """Return the model's quarantines in order of time. See `keel.store.quarantines.Quarantines.list`."""
        return self._quarantines.list(model, about=about, decided_before=decided_before, with_released=with_released)

    def release_quarantine(self, model: str, start: datetime, end: datetime) -> Sequence[dict[str, Any]]:
        """Release the quarantines that lie within start..end, and return them.

        `keel.deployments.data_quarantine.release` does the same and records it in the ledger.
        """
        with self.begin() as connection:
            return release(connection, model, start, end)

    def compact(self) -> tuple[int, int]:
        """Free the space of deleted rows. Returns the store's bytes before and after. See `keel.store.integrity`."""
        return compact(self._database)

    def verify(self, *, thorough: bool = False) -> list[str]:
        """Return a sentence for each fault in the stored data. See `keel.store.integrity.verify`."""
        return verify(self._database, thorough=thorough)

    def restore_views(self) -> list[str]:
        """Create the views of docs/metrics.md again where some are gone, such as with a table. Returns their names."""
        from keel.store.database.migrations import reader

        with self.begin() as connection:
            return reader.restore(connection)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
