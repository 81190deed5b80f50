"""The slots of features that have no column of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. A model's table gets the columns of packed features with the first of them."""
    op.create_table(
        "packed_features",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("model", "feature", "kind")),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "feature"),
        sa.UniqueConstraint("model", "kind", "slot"),
    )
