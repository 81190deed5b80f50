"""Airflow's simple auth manager, and one model whose DAGs only operators may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager, SimpleAuthManagerRole

from tests.support.web.filled_home import GUARDED

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


class GuardedAuthManager(SimpleAuthManager):
    """As FAB and Keycloak can, it grants access by DAG: the simple one grants the same for all."""

    def is_authorized_dag(
        self, *, method: Any, user: SimpleAuthManagerUser, access_entity: Any = None, details: DagDetails | None = None
    ) -> bool:
        """Return what the simple auth manager does, and False for the guarded model where the user is no operator."""
        allowed = super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
        guarded = bool(details and details.id and details.id.startswith(f"{GUARDED}."))
        return allowed and (not guarded or self._role_of(user) >= SimpleAuthManagerRole.OP.order)

    @staticmethod
    def _role_of(user: SimpleAuthManagerUser) -> int:
        return int(SimpleAuthManagerRole[(user.role or "VIEWER").upper()].order)
