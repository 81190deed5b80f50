"""The measures of drift reports as columns, for the views of BI tools and dashboards.

A drift report of twenty columns is 16 kB of JSON, which a database reads in half a millisecond. A query about a year of
six-hourly checks would take a second, and one about thirty days of fifty models five. `keel.store.records` writes these
rows with the report, in one transaction; the report's body has everything and stays what Keel itself reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, PrimaryKeyConstraint, Table, Text

from keel.store.database.tables import metadata

KINDS = ("drift", "consecutive")
"""The kinds of reports with such rows."""

WINDOW_NUMBERS = ("share_drifted", "share_limit", "impact", "impact_limit", "alpha", "psi_warn", "psi_alert")
MEASURES = ("p_value", "q_value", "impact", "psi", "psi_excess", "ks", "chi_square", "jensen_shannon", "wasserstein")
RATES = {
    "missing": "missing_rate",
    "new_categories": "new_category_rate",
    "out_of_range": "out_of_range_rate",
    "infinite": "infinite_rate",
    "invalid": "invalid_rate",
}
"""The rates of a report, and their columns; ``…_reference`` are those of the reference."""
PROFILE = ("minimum", "maximum", *(name + end for name in RATES.values() for end in ("", "_reference")))

drift_windows = Table(
    "drift_windows",
    metadata,
    Column("report_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", BigInteger),
    Column("kind", Text, nullable=False),
    Column("window_start", BigInteger),
    Column("window_end", BigInteger),
    Column("status", Text, nullable=False),
    Column("n", BigInteger),
    *(Column(name, Double) for name in WINDOW_NUMBERS),
    Column("sentence", Text),
    Index("drift_windows_by_model", "model", "window_end"),
)

drift_columns = Table(
    "drift_columns",
    metadata,
    Column("report_id", Text, nullable=False),
    Column("column_name", Text, nullable=False),
    *(Column(name, Text) for name in ("kind", "role", "status", "severity")),
    *(Column(name, Double) for name in (*MEASURES, *PROFILE)),
    PrimaryKeyConstraint("report_id", "column_name"),
)


def window_row(report: Mapping[str, Any], body: object) -> dict[str, Any]:
    """Return the row of `drift_windows` of a report. report: its row of ``reports``; body: the parsed one.

    What a body does not have, or has in another form, is NULL: a report of another release stops no migration.
    """
    same = ("report_id", "model", "version", "kind", "window_start", "window_end", "status")
    found = _members(body)
    return {
        **{name: report[name] for name in same},
        "n": _whole(found.get("n")),
        **{name: _number(found.get(name)) for name in WINDOW_NUMBERS},
        "share_limit": _number(found.get("drift_share")),
        "impact": _number(found.get("impact_total")),
        "sentence": _text(found.get("sentence")),
    }


def column_rows(report_id: str, body: object) -> list[dict[str, Any]]:
    """Return the rows of `drift_columns` of a report, one for each of its columns. For its form see `window_row`."""
    columns = _members(_members(body).get("features"))
    rows = {_storable(name): column for name, column in columns.items() if isinstance(column, Mapping)}
    return [{"report_id": report_id, "column_name": name, **_column(column)} for name, column in rows.items()]


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    measures, rates = _members(column.get("measures")), _members(column.get("rates"))

    def measure(name: str, member: str) -> float | None:
        return _number(_members(measures.get(name)).get(member))

    found = {
        **{name: _text(column.get(name)) for name in ("kind", "role", "status", "severity")},
        **{name: _number(column.get(name)) for name in ("p_value", "q_value", "impact", "minimum", "maximum")},
        "psi": measure("psi", "value"),
        "psi_excess": measure("psi", "excess"),
        "ks": measure("ks", "statistic"),
        "chi_square": measure("chi_square", "statistic"),
        "jensen_shannon": measure("jensen_shannon", "value"),
        "wasserstein": measure("wasserstein", "value"),
    }
    for rate, name in RATES.items():
        # an event that neither side has is not in the report
        both, absent = rates.get(rate, {}), 0.0 if isinstance(rates.get(rate, {}), Mapping) else None
        found[name] = _number(_members(both).get("current", absent))
        found[name + "_reference"] = _number(_members(both).get("reference", absent))
    if "missing_rate" in column:
        found["missing_rate"] = _number(column["missing_rate"])
    return found


def _members(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    """Return a number as both databases store it; None for what is none, or has no value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:
        return None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None


def _text(value: object) -> str | None:
    return _storable(value) if isinstance(value, str) else None


def _storable(text: str) -> str:
    """Return a text that both databases store: without the character 0 and half surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
