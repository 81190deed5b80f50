"""Remember up to which row of the ledger the registry follows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; a model without a row is projected by whoever looks first."""
    op.create_table(
        "projections",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
    )
