"""Tables of drift measures, which views for BI tools and Grafana read, and the indexes that these need."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from keel.store.database import drift_tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

REPORTS_AT_ONCE = 200


def upgrade() -> None:
    """Create the tables, and fill them from the stored reports."""
    op.create_index("reports_by_window", "reports", ["model", "kind", "window_end"])
    _fill_tables(op.get_bind(), *_create_tables())


def _create_tables() -> tuple[sa.Table, sa.Table]:
    text, whole, number = sa.Text(), sa.BigInteger(), sa.Double[float]()
    windows = op.create_table(
        "drift_windows",
        sa.Column("report_id", text, primary_key=True),
        sa.Column("model", text, nullable=False),
        sa.Column("version", whole),
        sa.Column("kind", text, nullable=False),
        sa.Column("window_start", whole),
        sa.Column("window_end", whole),
        sa.Column("status", text, nullable=False),
        sa.Column("n", whole),
        *(
            sa.Column(name, number)
            for name in ("share_drifted", "share_limit", "impact", "impact_limit", "alpha", "psi_warn", "psi_alert")
        ),
        sa.Column("sentence", text),
    )
    op.create_index("drift_windows_by_model", "drift_windows", ["model", "window_end"])
    measures = ("p_value", "q_value", "impact", "psi", "psi_excess", "ks", "chi_square", "jensen_shannon")
    rates = ("missing_rate", "new_category_rate", "out_of_range_rate", "infinite_rate", "invalid_rate")
    both = (name + end for name in rates for end in ("", "_reference"))
    columns = op.create_table(
        "drift_columns",
        sa.Column("report_id", text, nullable=False),
        sa.Column("column_name", text, nullable=False),
        *(sa.Column(name, text) for name in ("kind", "role", "status", "severity")),
        *(sa.Column(name, number) for name in (*measures, "wasserstein", "minimum", "maximum", *both)),
        sa.PrimaryKeyConstraint("report_id", "column_name"),
    )
    return windows, columns


def _fill_tables(connection: sa.Connection, windows: sa.Table, columns: sa.Table) -> None:
    reports = sa.table(
        "reports",
        *map(sa.column, ("report_id", "model", "version", "kind", "window_start", "window_end", "status", "body")),
    )
    drift = reports.c.kind.in_(drift_tables.KINDS)
    identities = connection.execute(sa.select(reports.c.report_id).where(drift)).scalars().all()
    for first in range(0, len(identities), REPORTS_AT_ONCE):
        some = identities[first : first + REPORTS_AT_ONCE]
        found: dict[sa.Table, list[dict[str, Any]]] = {windows: [], columns: []}
        for row in connection.execute(sa.select(reports).where(reports.c.report_id.in_(some))).mappings():
            body = _parsed(row["body"])
            found[windows].append(drift_tables.window_row(dict(row), body))
            found[columns] += drift_tables.column_rows(row["report_id"], body)
        for table, rows in found.items():
            names = table.columns.keys()  # a later release may write columns that this revision does not have
            if rows:
                connection.execute(sa.insert(table), [{name: each.get(name) for name in names} for each in rows])


def _parsed(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None  # a report that cannot be read has no measures
