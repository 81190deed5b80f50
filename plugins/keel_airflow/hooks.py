"""The hook that opens Keel's workspace with the store and the registry of Airflow's connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from keel.errors import ConnectionUnreadable

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from keel.workspace import Workspace

KEEL_CONN_ID = "keel_store"
MLFLOW_CONN_ID = "mlflow_default"


class KeelHook(BaseHook):
    """Opens Keel's workspace: the store, the model registry, and the folder for other files.

    :param keel_conn_id: connection to the store: of type ``postgres``, or ``sqlite`` with the file as its host or
        schema. Not defined: ``KEEL_STORE_URL``, else an SQLite file under ``KEEL_HOME``.
    :param mlflow_conn_id: connection to MLflow: of type ``http`` (host, port, login, password), or any type with the
        extra ``tracking_uri``. Not defined: ``MLFLOW_TRACKING_URI``, else an SQLite file under ``KEEL_HOME``.
    """

    conn_name_attr = "keel_conn_id"
    default_conn_name = KEEL_CONN_ID
    hook_name = "Keel"

    def __init__(self, *, keel_conn_id: str = KEEL_CONN_ID, mlflow_conn_id: str = MLFLOW_CONN_ID) -> None:
        super().__init__()
        self.keel_conn_id = keel_conn_id
        self.mlflow_conn_id = mlflow_conn_id

    def get_conn(self) -> Workspace:
        """Open the workspace. The caller closes it; use ``with``."""
        from keel.workspace import Workspace

        store, mlflow = find_connection(self.keel_conn_id), find_connection(self.mlflow_conn_id)
        return Workspace.open(
            store_url=database_url(store) if store else None,
            tracking_uri=tracking_uri(mlflow) if mlflow else None,
        )


def find_connection(conn_id: str) -> Connection | None:
    """Return the connection, or None when no secrets backend has one of this name.

    Airflow gives the same answer for a backend that is down. A check then opens the embedded store, finds no production
    version, and fails, as it should. An ``AIRFLOW_CONN_…`` variable and ``KEEL_STORE_URL`` are always available.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


def read_connection(conn_id: str) -> Connection | None:
    """Return the connection, or None when every secrets backend has answered that it has none of this name.

    Airflow passes over a backend that fails, as if it had answered. So all are asked again when none has it.

    Raises
    ------
    ConnectionUnreadable
        A backend is down, or cannot read what it has, such as an ``AIRFLOW_CONN_…`` variable that is no valid JSON.

    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    if found := find_connection(conn_id):
        return found
    for backend in ensure_secrets_backend_loaded():
        try:
            backend.get_connection(conn_id=conn_id)
        except Exception as error:
            if _is_empty_database(error):
                continue
            # Neither its text nor its cause: they may quote the connection.
            where = type(backend).__name__
            raise ConnectionUnreadable(
                f"the connection {conn_id!r} cannot be read: {where} fails with {type(error).__name__}"
            ) from None
    return None


def _is_empty_database(error: Exception) -> bool:
    """Whether Airflow's database has no tables yet: then it has no connections either."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    return isinstance(error, ProgrammingError) or (
        isinstance(error, OperationalError) and "no such table" in str(error.orig)
    )


def database_url(connection: Connection) -> str:
    """Return the SQLAlchemy URL of a connection of type ``postgres`` or ``sqlite``."""
    if connection.conn_type == "sqlite":
        return f"sqlite:///{connection.host or connection.schema}"
    user = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    address = f"{connection.host or ''}{f':{connection.port}' if connection.port else ''}"
    options = f"?{urlencode(connection.extra_dejson)}" if connection.extra_dejson else ""
    authority = f"{user}{password}@{address}" if user else address
    return f"postgresql://{authority}/{connection.schema or ''}{options}"


def tracking_uri(connection: Connection) -> str:
    """Return the tracking URI of a connection, and set its credentials in the environment for MLflow's client."""
    if connection.login:
        os.environ["MLFLOW_TRACKING_USERNAME"] = connection.login
        os.environ["MLFLOW_TRACKING_PASSWORD"] = connection.password or ""
    if uri := connection.extra_dejson.get("tracking_uri"):
        return str(uri)
    if connection.conn_type in {"postgres", "sqlite"}:
        return database_url(connection)
    host = connection.host or "localhost"
    scheme = "https" if "https" in {connection.conn_type, connection.schema} else "http"
    address = host if "://" in host else f"{scheme}://{host}"
    return f"{address}:{connection.port}" if connection.port else address
