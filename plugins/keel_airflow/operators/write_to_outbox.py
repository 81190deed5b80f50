"""Keep a message as a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class WriteToOutboxOperator(KeelOperator):
    """Writes the message as an ``.eml`` file, which any mail program opens.

    :param message: what `ComposeMessageOperator` returned. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "message")

    def __init__(
        self,
        *,
        message: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the file's path."""
        from keel.alerts.outbox import write_eml

        with self.keel() as (workspace, _):
            path = write_eml(workspace.outbox, self.message, sender=self.message["sender"], now=datetime.now(UTC))
        return {"path": str(path)}
