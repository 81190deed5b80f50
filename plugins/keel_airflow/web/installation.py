"""The installation that the API server answers about: one open workspace, shared by all threads.

It is opened by the first request, and stays open. No request creates or migrates a store: ``keel migrate`` does. A
store that does not answer within `TIMEOUT` is a problem, 503; the next request tries again.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from keel.errors import ConfigError, KeelError, StoreNotPrepared, StoreUnavailable
from keel_airflow.web.problems import Problem
from keel_airflow.web.security import unknown_model

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

TIMEOUT = 5.0
"""Seconds to wait for the store, or for another writer in it. A person is waiting for the answer."""
REPEAT = 1.0
"""Seconds in which a failed opening is not repeated, so that requests do not queue up for the same failure."""

_lock = threading.Lock()
_open: Workspace | None = None
_store_url: str | None = None
_failed: tuple[float, KeelError] | None = None
_configurations: tuple[object, dict[str, ModelConfig], list[ConfigError]] | None = None


def workspace() -> Workspace:
    """Return the open workspace. Nobody closes it.

    Raises
    ------
    StoreUnavailable
        The store cannot be reached.
    StoreNotPrepared
        There is no store yet, or it is that of another release.
    Problem
        503: the installation is not configured rightly.

    """
    if _open is not None:
        return _open
    if not _lock.acquire(timeout=TIMEOUT):
        raise StoreUnavailable("the store is being opened and does not answer")
    try:
        return _opened()
    except StoreNotPrepared:
        raise
    except ConfigError as error:
        raise Problem(503, "Keel is not configured rightly", str(error), retry_after=60) from None
    finally:
        _lock.release()


def _opened() -> Workspace:
    global _failed, _open, _store_url
    if _open is not None:
        return _open
    if _failed is not None and time.monotonic() - _failed[0] < REPEAT:
        raise _failed[1].with_traceback(None)
    from keel.workspace import Workspace
    from keel_airflow.hooks import KEEL_CONN_ID, MLFLOW_CONN_ID, database_url, read_connection, tracking_uri

    try:
        # A secrets backend that is down must not make this process open another store for as long as it runs.
        store, mlflow = read_connection(KEEL_CONN_ID), read_connection(MLFLOW_CONN_ID)
        _store_url = database_url(store) if store else None
        _open = Workspace.open(
            store_url=_store_url,
            tracking_uri=tracking_uri(mlflow) if mlflow else None,
            store_timeout=TIMEOUT,
            statement_timeout=TIMEOUT,
            prepare=False,
        )
    except KeelError as error:
        _failed = time.monotonic(), error
        raise
    return _open


def addresses() -> dict[str, str]:
    """Return where the installation is, with its passwords, for another process that opens it; raises as `workspace`.

    They are ``home``, ``store_url`` and ``tracking_uri``, as `keel.workspace.Workspace.open` takes them.
    """
    from keel.workspace import store_url_of

    ws = workspace()
    return {
        "home": str(ws.home),
        "store_url": _store_url or store_url_of(os.environ, ws.home),
        "tracking_uri": ws.registry.tracking_uri,
    }


def close() -> None:
    """Close the workspace, if it is open. The next request opens it anew."""
    global _failed, _open
    with _lock:
        if _open is not None:
            _open.store.close()
        _open = _failed = None


def model_config(name: str) -> ModelConfig:
    """Return the configuration of a model. Check the permission first.

    Raises
    ------
    Problem
        404: no file configures the model. 409: its file is not valid.

    """
    from keel.reports.status import model_of

    configs, invalid = configurations()
    if name in configs:
        return configs[name]
    for error in invalid:
        if model_of(error) == name:
            raise Problem(409, "The model's configuration is not valid", _without_folder(error))
    raise unknown_model(name)


def configurations() -> tuple[dict[str, ModelConfig], list[ConfigError]]:
    """Return the valid configurations by name, and the errors of the others. Files are read again when they change."""
    global _configurations
    from keel.config import read_models

    state = _state_of_files()
    known = _configurations
    if known is None or known[0] != state:
        known = state, *read_models()
        _configurations = known
    return dict(known[1]), list(known[2])


def _state_of_files() -> object:
    """Return what the configurations depend on: each file's time and size, and the environment."""
    from keel.config import ENVIRONMENT_PREFIX, models_folder

    files = []
    for path in sorted(models_folder().glob("*/model.yaml")):
        try:
            status = path.stat()
        except OSError:
            continue
        files.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    variables = {k: v for k, v in os.environ.items() if k.startswith((ENVIRONMENT_PREFIX, "KEEL_MODELS_FOLDER"))}
    return files, variables


def _without_folder(error: ConfigError) -> str:
    from keel.config import models_folder

    return str(error).replace(f"{models_folder()}{os.sep}", "")
