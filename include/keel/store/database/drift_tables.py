"""The measures of drift reports as columns, for the views of BI tools and dashboards.

A drift report of twenty columns is 16 kB of JSON, which a database reads in half a millisecond. A query about a year of
six-hourly checks would take a second, and one about thirty days of fifty models five. `keel.store.records` writes these
rows with the report, in one transaction; the report's body has everything and stays what Keel itself reads.
"""

from __future__ import annotations

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


def window_row(report: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of `drift_windows` of a report. report: its row of ``reports``; body: the parsed one."""
    same = ("report_id", "model", "version", "kind", "window_start", "window_end", "status")
    return {
        **{name: report[name] for name in same},
        "n": body.get("n"),
        **{name: body.get(name) for name in WINDOW_NUMBERS},
        "share_limit": body.get("drift_share"),
        "impact": body.get("impact_total"),
        "sentence": _storable(body.get("sentence")),
    }


def column_rows(report_id: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `drift_columns` of a report, one for each of its columns."""
    columns = body.get("features") or {}
    rows = {_storable(name): column for name, column in columns.items() if isinstance(column, Mapping)}
    return [{"report_id": report_id, "column_name": name, **_column(column)} for name, column in rows.items()]


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    measures, rates = column.get("measures") or {}, column.get("rates") or {}
    found = {
        **{name: column.get(name) for name in ("kind", "role", "status", "severity")},
        **{name: column.get(name) for name in ("p_value", "q_value", "impact", "minimum", "maximum")},
        "psi": measures.get("psi", {}).get("value"),
        "psi_excess": measures.get("psi", {}).get("excess"),
        "ks": measures.get("ks", {}).get("statistic"),
        "chi_square": measures.get("chi_square", {}).get("statistic"),
        "jensen_shannon": measures.get("jensen_shannon", {}).get("value"),
        "wasserstein": measures.get("wasserstein", {}).get("value"),
    }
    for rate, name in RATES.items():
        # an event that neither side has is not in the report
        found[name] = rates.get(rate, {}).get("current", 0.0)
        found[name + "_reference"] = rates.get(rate, {}).get("reference", 0.0)
    return {**found, "missing_rate": column.get("missing_rate", found["missing_rate"])}


def _storable(text: str | None) -> str | None:
    """Return a text that both databases store: without the character 0 and half surrogates."""
    return None if text is None else text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
