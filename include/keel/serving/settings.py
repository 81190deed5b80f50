"""How the scoring service runs: from options of the command line, else the environment, else defaults."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keel.errors import ConfigError, suggestion
from keel.serving.prediction_log.spool import Durability

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090
MAX_BODY = 16 * 2**20
"""Bytes of a request; 10,000 rows of fifty numbers are about 5 MB as JSON."""
SPOOL_BYTES = 2**30
"""Room for the hours that a store may be down: about three million rows of ten features."""
RECEIVE_SECONDS = 30.0
"""For a head, and again for a body; 16 MiB in that time are 4.5 Mbit/s."""
CONNECTIONS = 1_000
POLL_SECONDS = 2.0
STOP_SECONDS = 10.0
"""What a stopping service gives requests in flight, and then again the way from the spool to the store."""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_MAX_WORKERS = 64
_MAX_CONNECTIONS = 100_000


@dataclass(frozen=True)
class Settings:
    """How one scoring service runs.

    models: whose predictions it answers; empty: all that are configured. home: as for `keel.workspace.Workspace`.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 1
    models: tuple[str, ...] = ()
    home: Path | None = None
    keys_file: Path | None = None
    spool: Path | None = None
    durability: Durability = Durability.FSYNC
    spool_bytes: int = SPOOL_BYTES
    max_body: int = MAX_BODY
    receive_seconds: float = RECEIVE_SECONDS
    connections: int = CONNECTIONS
    """Of one process."""
    poll_seconds: float = POLL_SECONDS
    stop_seconds: float = STOP_SECONDS
    worker: int = 0
    """Which of several processes this is; the first does what one of them has to do."""

    def __post_init__(self) -> None:
        """Refuse what cannot run, and what would let anybody on the network ask for predictions without a key."""
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"KEEL_SERVING_PORT: {self.port} is no port: 0 (any free one) to 65535")
        if not 1 <= self.workers <= _MAX_WORKERS:
            raise ConfigError(f"--workers: {self.workers} must lie between 1 and {_MAX_WORKERS}")
        if not 0.05 <= self.poll_seconds <= 3600:
            raise ConfigError(f"KEEL_SERVING_POLL: {self.poll_seconds} s must lie between 0.05 and 3600")
        if not 0.05 <= self.receive_seconds <= 3600:
            raise ConfigError(f"KEEL_SERVING_RECEIVE: {self.receive_seconds} s must lie between 0.05 and 3600")
        if not 1 <= self.connections <= _MAX_CONNECTIONS:
            raise ConfigError(
                f"KEEL_SERVING_CONNECTIONS: {self.connections} must lie between 1 and {_MAX_CONNECTIONS:,}"
            )
        if self.keys_file is None and not self.on_loopback:
            raise ConfigError(
                f"without keys the service listens on this machine's loopback address only, not on {self.host}: "
                "write lines of 'name:key' into a file and set KEEL_API_KEYS_FILE to its path, "
                f"or leave the host at {DEFAULT_HOST}"
            )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect to ``host``."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Settings:
        """Return the settings that ``environment`` (the process's own by default) describes.

        options: fields that win over it, unless they are None.
        Raises ConfigError, naming the variable, for a value that cannot be used.
        """
        environ = os.environ if environment is None else environment
        found: dict[str, Any] = {}
        for name, (field, read) in _VARIABLES.items():
            if text := environ.get(name, "").strip():
                found[field] = read(name, text)
        return cls(**{**found, **{field: value for field, value in options.items() if value is not None}})

    def spool_folder(self, home: Path) -> Path:
        """Return the folder of this installation's spools."""
        return self.spool or home / "spool"


def _bytes(name: str, text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", text.lower())
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if size < 1024:
        raise ConfigError(f"{name}: {text!r} is no size: bytes, or a number with k, M or G, such as 16M; 1k at least")
    return size


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a whole number") from None


def _seconds(name: str, text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a number of seconds") from None


def _durability(name: str, text: str) -> Durability:
    try:
        return Durability(text.lower())
    except ValueError:
        known = [str(value) for value in Durability]
        raise ConfigError(f"{name}: {text!r} must be one of {', '.join(known)}{suggestion(text, known)}") from None


def _path(_name: str, text: str) -> Path:
    return Path(text).expanduser()


def _text(_name: str, text: str) -> str:
    return text


_VARIABLES = {
    "KEEL_SERVING_HOST": ("host", _text),
    "KEEL_SERVING_PORT": ("port", _integer),
    "KEEL_SERVING_WORKERS": ("workers", _integer),
    "KEEL_SERVING_MAX_BODY": ("max_body", _bytes),
    "KEEL_SERVING_RECEIVE": ("receive_seconds", _seconds),
    "KEEL_SERVING_CONNECTIONS": ("connections", _integer),
    "KEEL_SERVING_POLL": ("poll_seconds", _seconds),
    "KEEL_API_KEYS_FILE": ("keys_file", _path),
    "KEEL_SPOOL": ("spool", _path),
    "KEEL_SPOOL_DURABILITY": ("durability", _durability),
    "KEEL_SPOOL_MAX_BYTES": ("spool_bytes", _bytes),
    "KEEL_HOME": ("home", _path),
}
