"""A check as one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel.reports.check.data import KINDS
from keel.reports.check.remedies import to_do
from keel.reports.check.words import headline, status_tag

if TYPE_CHECKING:
    from keel.monitoring.records import Record
    from keel.reports.check.data import CheckData

RECORDS = (*KINDS, "decision", "outcome", "comparison")


def document(data: CheckData) -> dict[str, Any]:
    """Return what the page of a check is made of, as JSON values: the stored records as they are, and what they say."""
    what = to_do(data)
    records: dict[str, Record | None] = {name: getattr(data, name) for name in RECORDS}
    return {
        "model": data.model,
        "version": data.version,
        "window": data.window.to_dict(),
        "status": status_tag(data).text,
        "sentence": headline(data),
        "needs_attention": what.needed,
        "to_do": {
            "what": what.value,
            "why": list(what.lines),
            "steps": [{"text": step.text, "command": step.command} for step in what.steps],
        },
        **{name: record.to_dict() if record else None for name, record in records.items()},
        "alarms": [{**each.alarm.to_dict(), "verdict": str(each.verdict)} for each in data.alarms],
        "open_alerts": data.open_alerts or None,
        "ledger": [{"seq": row.seq, "sentence": row.sentence} for row in data.ledger],
        "performance_over_time": [
            {**part.__dict__, "start": part.start.isoformat(), "end": part.end.isoformat()} for part in data.series
        ],
    }
