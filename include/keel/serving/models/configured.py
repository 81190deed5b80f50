"""The configured models: which are served, which cannot be and why; read again while the service runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.config import MODELS_FOLDER, read_models
from keel.errors import ConfigError, UnknownModel

if TYPE_CHECKING:
    from keel.config import ModelConfig

    Read = Callable[[], tuple[dict[str, ModelConfig], Sequence[ConfigError]]]

log = logging.getLogger(__name__)


class ConfiguredModels:
    """The models of one service. A mistake in one ``model.yaml`` does not keep the others from being served.

    A model whose folder appears later is served without a restart. A changed configuration of a served model needs one,
    and so does a removed one: an answer must not depend on when a file was read.

    Attributes
    ----------
    valid
        All models with a valid configuration; models are added to it, none is removed.
    served
        Those that this service serves, by name; it is only ever replaced.
    broken
        What is wrong with the other files.
    read_at
        When the files were read last.

    """

    def __init__(self, wanted: Sequence[str], *, read: Read | None = None) -> None:
        """Read the files. wanted: names of models; empty: all that are configured.

        Raises ConfigError or UnknownModel if a wanted model, or any at all, cannot be served.
        """
        self.wanted, self._read = tuple(wanted), read or read_models
        self.changed: tuple[str, ...] = ()
        self._files = self._seen = _stamps()
        found, broken = self._read()
        self.broken, self.read_at = tuple(map(str, broken)), datetime.now(UTC)
        self.valid: dict[str, ModelConfig] = dict(found)
        for name in self.wanted:
            if name not in found:
                raise self._unknown(name, found)
        if not found:
            none = "no model is configured, so there is none to serve: see docs/adding-a-model.md"
            raise ConfigError("\n".join(["no model can be served, as no model.yaml is valid:", *self.broken])
                              if self.broken else none)  # fmt: skip
        self.served: Mapping[str, ModelConfig] = {name: found[name] for name in self.wanted or found}
        self.only = next(iter(self.served)) if len(self.served) == 1 else None
        """The model of requests that name none. One that appears later does not turn them away."""

    def log_broken(self) -> None:
        """Log what is wrong with the files that are not valid."""
        for error in self.broken:
            log.error("not served: %s", error)

    def read_again(self) -> list[ModelConfig]:
        """Read the files again if one has changed. Return the models that are to be served and are not yet.

        A file counts if it is as at the last look; before that it may be half-written.
        """
        before, self._seen = self._seen, _stamps()
        if self._seen != self._files and self._seen == before:
            self._files = self._seen
            found, broken = self._read()
            self.read_at = datetime.now(UTC)
            if (now := tuple(map(str, broken))) != self.broken:
                self.broken = now
                self.log_broken()
            self._note_changes(found)
            self.valid.update({name: config for name, config in found.items() if name not in self.served})
        return [] if self.wanted else [config for name, config in self.valid.items() if name not in self.served]

    def serve(self, config: ModelConfig) -> None:
        """Serve one more model."""
        self.served = {**self.served, config.model: config}

    def unknown(self, name: str) -> UnknownModel:
        """Return the error for a name that is not served, which says why, and when the files were read."""
        return self._unknown(name, self.served)

    def state(self) -> dict[str, Any]:
        """Return what is not as configured, as JSON-able values for ``/version``."""
        return {"read_at": self.read_at, "broken": list(self.broken), "changed": list(self.changed)}

    def _unknown(self, name: str, known: Mapping[str, ModelConfig]) -> UnknownModel:
        error = UnknownModel(name, known)
        own = [text for text in self.broken if f"{os.sep}{name}{os.sep}model.yaml" in text]
        if own:
            note = f"its model.yaml is not valid: {own[0]}"
        elif self.wanted and name in self.valid:
            note = f"this service was started for {', '.join(self.wanted)} only (--model)"
        else:
            note = f"models were read at {self.read_at:%Y-%m-%dT%H:%M:%SZ}, and are read again when a file changes"
        error.args = (f"{error}; {note}",)
        return error

    def _note_changes(self, found: Mapping[str, ModelConfig]) -> None:
        changed = tuple(name for name, config in self.served.items() if found.get(name) != config)
        for name in changed:
            if name not in self.changed:
                log.warning("%s: its configuration has changed or is gone; restart the service to use that", name)
        self.changed = changed


def _stamps() -> dict[Path, tuple[int, int, int]]:
    """Return what shows a change of each ``model.yaml``."""
    root = Path(os.environ.get("KEEL_MODELS_FOLDER") or MODELS_FOLDER)
    found = {}
    for path in root.glob("*/model.yaml"):
        try:
            status = path.stat()
        except OSError:  # it has just gone
            continue
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found
