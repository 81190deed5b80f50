"""Submit a file or table of labels: check all of it first, then store it in parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from keel.errors import BadRequest
from keel.feedback.correct import CorrectionResult, correct_labels
from keel.feedback.parse_columns import ReadOptions, parse_labels
from keel.feedback.submit import submit_labels
from keel.sources import PART_ROWS
from keel.store.predictions.labels import LabelResult

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.sources import Names, Source
    from keel.workspace import Workspace


@dataclass(frozen=True)
class SubmittedSource:
    """The result of submitting a source. Its rows are without_label + stored + duplicates + conflicts.

    unmatched: stored labels whose prediction is not in the store (yet). expired: stored labels that arrived after the
    rows of their hour were deleted.
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
    options: ReadOptions,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> SubmittedSource:
    """Submit all labels of a source, or none if a row is invalid. Submitting them again changes nothing.

    The source is read once, checked and written to a temporary file. Labels are stored only if all are valid, in parts
    with a transaction each. If it is interrupted, submit the source again: stored labels are then duplicates.

    progress: called with a short message about the progress.

    Raises
    ------
    ConfigError
        A column is missing, or the source cannot be read.
    BadRequest
        A value is invalid. The message names source, row and column; nothing is stored.

    """
    chosen = names.among(source)
    with tempfile.TemporaryFile(prefix="keel-labels-") as checked:
        rows, labels = _check(source, chosen, options, checked, progress)
        checked.seek(0)
        total = LabelResult(0, 0, 0, 0)
        done = 0
        for part in _parts(checked) if labels else ():
            total = _sum(total, submit_labels(ws, config, part))
            done += part.num_rows
            progress(f"{done:,} of {labels:,} labels stored")
    return SubmittedSource(source.name, rows, rows - labels, **asdict(total))


def correct_source(
    ws: Workspace,
    config: ModelConfig,
    source: Source,
    names: Names,
    options: ReadOptions,
    *,
    reason: str,
    actor: str,
    progress: Callable[[str], None] = lambda _: None,
) -> CorrectionResult:
    """Correct all labels of a source, in one transaction, or none if a row is invalid or has no label to correct.

    Raises
    ------
    ConfigError, BadRequest
        As `submit_source`, and BadRequest for an id without a stored label.

    """
    chosen = names.among(source)
    with tempfile.TemporaryFile(prefix="keel-labels-") as checked:
        _, labels = _check(source, chosen, options, checked, progress)
        checked.seek(0)
        if not labels:
            raise BadRequest(f"{source.name}: has no label; nothing was corrected")
        table = pa.concat_tables(list(_parts(checked)))
    return correct_labels(ws, config, table, reason=reason, actor=actor, now=options.now)


def _check(
    source: Source, chosen: dict[str, str], options: ReadOptions, file: IO[bytes], progress: Callable[[str], None]
) -> tuple[int, int]:
    """Check a source and write its labels to a file. Returns the number of rows and of labels."""
    rows = labels = 0
    writer = None
    named = {own: ours for ours, own in chosen.items()}
    options = replace(options, source_names=chosen)
    for part in source.read(list(named)):
        renamed = part.select(list(named)).rename_columns(list(named.values()))
        try:
            table = parse_labels(renamed, options, rows + 1)
        except BadRequest as error:
            raise BadRequest(f"{source.name}: {error}; nothing was stored") from None
        writer = writer or pa.ipc.new_stream(file, table.schema)
        writer.write_table(table, max_chunksize=PART_ROWS)
        rows, labels = rows + part.num_rows, labels + table.num_rows
        progress(f"{rows:,} rows read")
    if writer is not None:
        writer.close()
    return rows, labels


def _parts(file: IO[bytes]) -> Iterator[pa.Table]:
    """Yield the checked labels in parts of about `PART_ROWS` rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in pa.ipc.open_stream(file):
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= PART_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _sum(one: LabelResult, other: LabelResult) -> LabelResult:
    return LabelResult(*(a + b for a, b in zip(asdict(one).values(), asdict(other).values(), strict=True)))
