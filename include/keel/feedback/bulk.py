"""A whole file or table of labels handed in: all of it checked first, then stored in parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from keel.errors import BadRequest
from keel.feedback.parse_columns import Reading, labels_of
from keel.feedback.submit import submit_labels
from keel.sources import PART_ROWS
from keel.store.predictions.labels import LabelResult

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.sources import Names, Source
    from keel.workspace import Workspace


@dataclass(frozen=True)
class SubmittedSource:
    """What became of a source: its rows are those without a label and the stored, duplicates and conflicts.

    orphans: of the stored, those whose prediction is not there (yet). expired: of the stored, those that came too late:
    the rows of their hour have been deleted.
    """

    source: str
    rows: int
    without_label: int
    stored: int
    duplicates: int
    conflicts: int
    unmatched: int
    expired: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def submit_source(
    ws: Workspace,
    config: ModelConfig,
    source: Source,
    names: Names,
    how: Reading,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> SubmittedSource:
    """Hand in all labels of a source; again changes nothing.

    The source is read once, checked, and laid aside on disk; only when all of it can be used is anything stored. It is
    stored in parts of their own transactions: who is interrupted starts again, and what was stored is a duplicate.
    tell: called with a short message of what goes on.

    Raises
    ------
    ConfigError
        As `Names.among` and the source do.
    BadRequest
        Naming the source, row and column of the first value that cannot be used; nothing is stored.

    """
    chosen = names.among(source)
    with tempfile.TemporaryFile(prefix="keel-labels-") as kept:
        rows, labels = _lay_aside(source, chosen, how, kept, tell)
        kept.seek(0)
        total = LabelResult(0, 0, 0, 0)
        done = 0
        for part in _parts(kept) if labels else ():
            total = _sum(total, submit_labels(ws, config, part))
            done += part.num_rows
            tell(f"{done:,} of {labels:,} labels stored")
    return SubmittedSource(source.name, rows, rows - labels, **asdict(total))


def _lay_aside(
    source: Source, chosen: dict[str, str], how: Reading, kept: IO[bytes], tell: Callable[[str], None]
) -> tuple[int, int]:
    """Write the checked labels into a file; return how many rows were read, and how many labels they are."""
    rows = labels = 0
    writer = None
    named = {own: ours for ours, own in chosen.items()}
    how = Reading(how.config, how.now, chosen, how.zone, how.skip_missing)
    for part in source.read(list(named)):
        renamed = part.select(list(named)).rename_columns(list(named.values()))
        try:
            table = labels_of(renamed, how, rows + 1)
        except BadRequest as error:
            raise BadRequest(f"{source.name}: {error}; nothing was stored") from None
        writer = writer or pa.ipc.new_stream(kept, table.schema)
        writer.write_table(table, max_chunksize=PART_ROWS)
        rows, labels = rows + part.num_rows, labels + table.num_rows
        tell(f"{rows:,} rows read")
    if writer is not None:
        writer.close()
    return rows, labels


def _parts(kept: IO[bytes]) -> Iterator[pa.Table]:
    """Yield what was laid aside, in parts of about `PART_ROWS` rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in pa.ipc.open_stream(kept):
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= PART_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _sum(one: LabelResult, other: LabelResult) -> LabelResult:
    return LabelResult(*(a + b for a, b in zip(asdict(one).values(), asdict(other).values(), strict=True)))
