"""An index on decisions by the end of their window, which the cooldowns ask for."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("decisions_by_window", "decisions", ["model", "action", "window_end"])
