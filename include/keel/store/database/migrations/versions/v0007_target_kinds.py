"""The kind of each model's target, which decides which labels are possible."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add ``target`` to the models. It is null until labels are stored by a caller that knows it."""
    op.add_column("model_tables", sa.Column("target", sa.Text()))
