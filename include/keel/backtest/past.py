"""The past as a backtest replays it: rows by their time, and labels by the time at which they were observed.

It is read once from the model's prediction log, or from what its pipeline offers, and kept as Arrow files. So every
policy sees the same past, and an interrupted backtest goes on with the past it began with.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from keel.errors import ConfigError
from keel.store import Store
from keel.store.predictions.target_values import are_possible
from keel.training.history import between, labelled_history
from keel.training.provenance import table_digest
from keel.window import DAY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.backtest.plan import Plan
    from keel.store import PredictionLog
    from keel.store.predictions.target_values import TargetKind

    Times = NDArray[np.datetime64]

Source = Literal["auto", "store", "pipeline"]
SOURCES: dict[str, str] = {
    "store": "the model's prediction log",
    "pipeline": "the labelled history that the model's pipeline offers",
}
KIND = pa.timestamp("us", "UTC")
OUTPUTS = ("version", "score", "prediction")
Chunk = tuple[list[pa.Table], pa.Table]
"""Rows, a table for each shape that was logged, and their labels with ``id``, ``label`` and ``observed_at``."""


class Recorded(NamedTuple):
    """Where a past was read from, and what it is."""

    source: str
    """A key of `SOURCES`."""
    digest: str
    impossible_labels: int
    """Labels that the target cannot have, which are left out. Release 0.1.0 stored them."""


@dataclass(frozen=True)
class Past:
    """Rows and labels in a folder, memory-mapped. Ids occur once."""

    shapes: tuple[pa.Table, ...]
    """``id``, ``time`` and features, by time; a table for each shape that was logged."""
    labels: pa.Table
    """``id``, ``label`` and ``observed_at``, by that time."""

    @classmethod
    def open(cls, folder: Path) -> Past:
        """Open the past that `record_past` wrote."""
        shapes = tuple(_mapped(path) for path in sorted(folder.glob("rows-*.arrow")))
        return cls(shapes, _mapped(folder / "labels.arrow"))

    def rows(self, start: datetime | None, end: datetime) -> list[pa.Table]:
        """Return the rows with start ≤ time < end, None: from the first on. A table for each shape that has some."""
        found = [_slice(table, "time", start, end) for table in self.shapes]
        return [table for table in found if table.num_rows]

    def observed(self, start: datetime | None, end: datetime) -> pa.Table:
        """Return the labels with start ≤ observed_at < end; None: from the first on."""
        return _slice(self.labels, "observed_at", start, end)

    def labels_of(self, ids: pa.ChunkedArray) -> NDArray[np.float64]:
        """Return the label of each id, as it is known today; NaN without one."""
        place = pc.index_in(ids, value_set=self.labels["id"].combine_chunks())
        found = self.labels["label"].take(place)
        return np.asarray(found.to_numpy(), dtype=np.float64)


def record_past(plan: Plan, folder: Path, *, source: Source, store_url: str | None) -> Recorded:
    """Write the plan's past into a new folder.

    store_url: of the model's own store, which is only read; None where there is none.

    Raises
    ------
    ConfigError
        There are no rows in the span, or no labels for them.

    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = Store.open_existing(store_url) if store_url and source != "pipeline" else None
    with ExitStack() as stack:
        log = stack.enter_context(store).stored_predictions(plan.config.model, plan.config.features) if store else None
        if log is not None and source == "auto" and not log.label_counts(plan.start, plan.end)[1]:
            log = None
        if log is None and source == "store":
            raise ConfigError(f"{plan.config.model}: the store has no predictions of this model to replay")
        chunks = _pipeline_chunks(plan) if log is None else _store_chunks(plan, log)
        written = _write(folder, chunks, since=plan.start, target=plan.config.target.kind)
    name = "pipeline" if log is None else "store"
    what = f"{plan.config.model}: {SOURCES[name]} has no"
    span = f"from {plan.start:%Y-%m-%d} to {plan.end:%Y-%m-%d}"
    if not written.rows:
        raise ConfigError(f"{what} rows {span}")
    if not written.labels:
        raise ConfigError(f"{what} labels {span}: nothing can be compared")
    return Recorded(name, written.digest, written.impossible_labels)


def _store_chunks(plan: Plan, log: PredictionLog) -> Iterator[Chunk]:
    """Read the log by days, so that a large one never lies in memory as a whole."""
    start = plan.history_start
    while start < plan.end:
        end = min(start + DAY, plan.end)
        rows = [table.drop_columns(list(OUTPUTS)) for table in log.read(start, end) if table.num_rows]
        labelled = log.labelled(
            start, end, exclude_quarantined=False, features=False, by_arrival=plan.config.target.label_delay
        )
        yield rows, labelled.select(["id", "label", "observed_at"])
        start = end


def _pipeline_chunks(plan: Plan) -> Iterator[Chunk]:
    config = plan.config
    rows = between(labelled_history(config), plan.history_start, plan.end)
    rows = rows.sort_by([("time", "ascending"), ("id", "ascending")])
    rows = _first_of_each_id(rows)
    known = rows.filter(pc.is_valid(rows["label"]))
    observed = pc.add(known["time"], pa.scalar(config.target.label_delay))
    labels = pa.table({"id": known["id"], "label": known["label"], "observed_at": observed})
    names = [name for name in ("id", "time", *config.features) if name in rows.column_names]
    yield [rows.select(names)], labels


def _first_of_each_id(rows: pa.Table) -> pa.Table:
    """Drop later rows with an id that occurred before, as the store does."""
    first = np.unique(rows["id"].to_numpy(), return_index=True)[1]
    return rows if len(first) == rows.num_rows else rows.take(np.sort(first))


class _Written(NamedTuple):
    digest: str
    rows: int
    labels: int
    impossible_labels: int


def _write(folder: Path, chunks: Iterator[Chunk], *, since: datetime, target: TargetKind) -> _Written:
    """Write chunks; return their digest, and the number of rows from ``since`` on and of those with a label."""
    digest, count, labelled, impossible, labels = hashlib.sha256(), 0, 0, 0, []
    with ExitStack() as stack:
        writers: dict[pa.Schema, pa.ipc.RecordBatchFileWriter] = {}
        for tables, known in chunks:
            for table in tables:
                schema = table.schema.remove_metadata()
                if schema not in writers:
                    path = str(folder / f"rows-{len(writers):03d}.arrow")
                    writers[schema] = stack.enter_context(pa.ipc.new_file(path, schema))
                writers[schema].write_table(table.replace_schema_metadata(None))
                digest.update(table_digest(table).encode())
            digest.update(table_digest(known).encode())
            possible = known.filter(are_possible(known["label"], target))
            impossible += known.num_rows - possible.num_rows
            labels.append(possible)
            for table in tables:
                ids = table.filter(pc.greater_equal(table["time"], pa.scalar(since, KIND)))["id"]
                count += len(ids)
                labelled += pc.sum(pc.is_in(ids, value_set=possible["id"].combine_chunks())).as_py() or 0
    together = pa.concat_tables(labels).sort_by([("observed_at", "ascending"), ("id", "ascending")])
    with pa.ipc.new_file(str(folder / "labels.arrow"), together.schema) as writer:
        writer.write_table(together)
    return _Written(digest.hexdigest(), count, labelled, impossible)


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _slice(table: pa.Table, column: str, start: datetime | None, end: datetime) -> pa.Table:
    """Return the rows with start ≤ column < end of a table that is sorted by it."""
    times = table[column].to_numpy().astype("datetime64[us]")
    first, last = (
        0 if time is None else int(np.searchsorted(times, np.datetime64(time.replace(tzinfo=None), "us")))
        for time in (start, end)
    )
    return table.slice(first, last - first)
