"""Correct wrong labels, with a record of both values, of who corrected them and why.

The first label of a prediction counts, so that results stay as they are. A label that is wrong can be replaced only
here. The prediction's hour is summed again; decisions that were made before stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from keel import deployments
from keel.errors import BadRequest
from keel.ledger import entries as ledger
from keel.store.database.tables import label_corrections, label_sums, labels
from keel.store.database.times import to_micros
from keel.store.predictions.dirty_hours import hour_of
from keel.store.predictions.labels import encode_labels
from keel.training.provenance import table_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.store.predictions.log import PredictionLog
    from keel.workspace import Workspace

PART = 500
"""Ids of one query: SQLite takes some thousand values."""


@dataclass(frozen=True)
class CorrectionResult:
    """The result of a correction. corrected: labels that were replaced. unchanged: labels that were right already."""

    corrected: int
    unchanged: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def correct_labels(
    ws: Workspace, config: ModelConfig, table: pa.Table, *, reason: str, actor: str, now: datetime
) -> CorrectionResult:
    """Replace stored labels, all or none, in one transaction with a ledger row.

    table: as `label_table` returns it. The time of observation is not changed. Of several rows with one id, the last
        is used.
    reason: why, for the ledger; not empty.

    Raises
    ------
    BadRequest
        There is no reason, or an id has no stored label; the message names the first. Nothing is changed.
    SchemaError
        A value is one that the target cannot have; the message names its row.

    """
    if not reason.strip():
        raise BadRequest("a correction needs a reason, which the ledger keeps: --reason")
    rows = encode_labels(table, config.target.kind)
    wanted = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True)) if rows.num_rows else {}
    log, generation = ws.predictions(config), deployments.read(ws.store, config.model).generation
    with ws.store.begin() as connection:
        stored = dict(_stored(connection, config.model, list(wanted)))
        if unknown := [name for name in wanted if name not in stored]:
            raise BadRequest(
                f"{len(unknown):,} of {len(wanted):,} ids have no label to correct, the first is {unknown[0]!r}: "
                "submit a first label without --correct; nothing was corrected"
            )
        wrong = {name: label for name, label in wanted.items() if stored[name] != label}
        if wrong:
            _replace(connection, log, stored, wrong, reason=reason, actor=actor, now=now)
            sentence = f"{len(wrong):,} labels of {config.model} were replaced."
            ledger.append(
                connection,
                model=config.model,
                at=now,
                actor=actor,
                action=ledger.Action.CORRECT_LABELS,
                generation_from=generation,
                generation_to=generation,
                body={
                    "reason": reason,
                    "evidence": {
                        "sentence": sentence,
                        "labels": len(wrong),
                        "corrected_at": now.isoformat(),
                        "sha256": table_digest(rows),
                    },
                },
            )
    return CorrectionResult(len(wrong), len(wanted) - len(wrong))


def _stored(connection: sa.Connection, model: str, ids: list[str]) -> Iterator[tuple[str, float]]:
    for start in range(0, len(ids), PART):
        found = sa.select(labels.c.id, labels.c.label).where(
            labels.c.model == model, labels.c.id.in_(ids[start : start + PART])
        )
        yield from ((name, label) for name, label in connection.execute(found.with_for_update()))


def _replace(
    connection: sa.Connection,
    log: PredictionLog,
    stored: dict[str, float],
    wrong: dict[str, float],
    *,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    shared = {"model": log.model, "corrected_at": to_micros(now), "reason": reason, "actor": actor}
    records = [{**shared, "id": name, "old_label": stored[name], "label": label} for name, label in wrong.items()]
    connection.execute(sa.insert(label_corrections), records)
    mine = sa.and_(labels.c.model == log.model, labels.c.id == sa.bindparam("name"))
    connection.execute(
        sa.update(labels).where(mine).values(label=sa.bindparam("value")),
        [{"name": name, "value": label} for name, label in wrong.items()],
    )
    for version, hour in _hours(connection, log.table, list(wrong)):
        sums = sa.update(label_sums).where(
            label_sums.c.model == log.model, label_sums.c.version == version, label_sums.c.hour == hour
        )
        connection.execute(sums.values(revision=label_sums.c.revision + 1))


def _hours(connection: sa.Connection, table: sa.Table, ids: list[str]) -> set[tuple[int, int]]:
    """Return the versions and hours of predictions, which are to be summed again."""
    found: set[tuple[int, int]] = set()
    for start in range(0, len(ids), PART):
        some = table.c.id.in_(ids[start : start + PART])
        query = sa.select(table.c.version, hour_of(table.c.time)).where(some, table.c.version.is_not(None))
        found |= {(version, hour) for version, hour in connection.execute(query)}
    return found
