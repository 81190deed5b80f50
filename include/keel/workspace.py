"""The parts of an installation: its store, its registry and its home folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from keel.deployments.artifact_checksums import LedgerPins
from keel.errors import ConfigError, StoreNotPrepared
from keel.registry.registry import Registry
from keel.store import DEFAULT_TIMEOUT, Store
from keel.store.database.connections import parse_url
from keel.store.database.redaction import redacted_url

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.store.predictions.log import PredictionLog

PROJECT = Path(__file__).resolve().parents[2]


def home_of(environ: Mapping[str, str]) -> Path:
    """Return the folder of the installation that an environment names. It need not exist."""
    return Path(environ.get("KEEL_HOME") or PROJECT / ".keel").resolve()


def store_url_of(environ: Mapping[str, str], home: Path) -> str:
    """Return the URL of the store that an environment names, or of the one in the installation's folder."""
    return environ.get("KEEL_STORE_URL") or f"sqlite:///{home / 'keel.db'}"


@dataclass(frozen=True)
class Workspace:
    """An open store and registry. A context manager that closes the store."""

    home: Path
    store: Store
    registry: Registry

    @classmethod
    def open(
        cls,
        *,
        home: Path | str | None = None,
        store_url: str | None = None,
        tracking_uri: str | None = None,
        store_timeout: float = DEFAULT_TIMEOUT,
        statement_timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
        prepare: bool = True,
    ) -> Workspace:
        """Open an installation.

        Each argument that is missing comes from the environment (``KEEL_HOME``, ``KEEL_STORE_URL``,
        ``MLFLOW_TRACKING_URI``). Without those, SQLite files under ``.keel`` in the project are used.

        store_timeout, statement_timeout: seconds to wait for the store, as of `keel.store.Store.open`.
        prepare: create the home and the store if they are missing, and migrate the store.

        Raises
        ------
        StoreNotPrepared
            Without ``prepare``: there is no store, or it has the schema of another release.
        StoreUnavailable
            The store cannot be reached.
        ConfigError
            The home cannot be used, or the store's URL cannot be read.

        """
        environ = os.environ if environment is None else environment
        folder = Path(home).resolve() if home else home_of(environ)
        try:
            if prepare:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"KEEL_HOME: {folder} cannot be used as a folder: {error.strerror}") from None
        uri = tracking_uri or environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        # A server stores artifacts itself; a database needs a folder for them.
        artifacts = None if uri.startswith("http") else folder / "mlartifacts"
        url = store_url or store_url_of(environ, folder)
        opened = Store.open if prepare else Store.open_existing
        store = opened(url, timeout=store_timeout, statement_timeout=statement_timeout)
        if store is None:
            raise StoreNotPrepared(f"{redacted_url(parse_url(url))}: there is no store yet: run keel migrate")
        pages = environ.get("KEEL_MLFLOW_URL") or None
        return cls(folder, store, Registry(uri, artifacts=artifacts, pin=LedgerPins(store), pages=pages))

    def predictions(self, config: ModelConfig) -> PredictionLog:
        """Return the model's prediction log."""
        return self.store.predictions(config.model, dict(config.features), target=config.target.kind)

    @property
    def outbox(self) -> Path:
        """The folder for mails where no mail server is configured."""
        return self.home / "outbox"

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()
