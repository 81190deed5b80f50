"""Quarantines of labels beside those of data, and corrected labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add ``about`` to the quarantines and their key, and create the table of corrections."""
    op.rename_table("quarantines", "quarantines_before_0005")
    if op.get_bind().dialect.name == "postgresql":  # an index keeps its name, which the new table needs
        op.execute("ALTER INDEX IF EXISTS quarantines_pkey RENAME TO quarantines_before_0005_pkey")
    op.create_table(
        "quarantines",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_until", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False, server_default="data"),
        sa.PrimaryKeyConstraint("model", "start_at", "end_at", "about"),
    )
    kept = "model, start_at, end_at, decided_until, reason, released, created_at"
    op.execute(f"INSERT INTO quarantines ({kept}) SELECT {kept} FROM quarantines_before_0005")
    op.drop_table("quarantines_before_0005")
    op.create_table(
        "label_corrections",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("corrected_at", sa.BigInteger(), nullable=False),
        sa.Column("old_label", sa.Double(), nullable=False),
        sa.Column("label", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "id", "corrected_at"),
    )
