"""Settings of the scoring service: command-line options, else environment variables, else defaults."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from keel.errors import ConfigError, suggestion
from keel.serving.prediction_log.spool import Durability

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090
MAX_BODY = 16 * 2**20
"""Bytes of a request; 10,000 rows of fifty numbers are about 5 MB as JSON."""
SPOOL_BYTES = 2**30
"""Space for the hours that a store may be down: about three million rows of ten features."""
RECEIVE_SECONDS = 30.0
"""For a head, and again for a body; 16 MiB in that time are 4.5 Mbit/s."""
CONNECTIONS = 1_000
POLL_SECONDS = 2.0
STOP_SECONDS = 10.0
"""Time that a stopping service gives to requests in progress, and again to the way from the spool to the store."""
ANY_HOST = "*"
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise ValueError("must be a size: bytes, or a number with k, M or G, such as 16M")
    return int(match[1]) * _UNITS[match[2]]


def _seconds(value: object) -> object:
    return value.removesuffix("s") if isinstance(value, str) else value


def _names(value: object) -> object:
    return tuple(filter(None, re.split(r"[,\s]+", value))) if isinstance(value, str) else value


def _durability(value: object) -> object:
    known = [str(level) for level in Durability]
    if isinstance(value, str) and value.lower() not in known:
        raise ValueError(f"must be one of {', '.join(known)}{suggestion(value, known)}")
    return value.lower() if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1024)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0.05, le=3600)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]


class Settings(BaseModel):
    """How one scoring service runs. A field's alias is its environment variable.

    Raises ConfigError, naming the variable, for a value that cannot be used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, allow_inf_nan=False)

    host: str = Field(DEFAULT_HOST, validation_alias="KEEL_SERVING_HOST")
    port: int = Field(DEFAULT_PORT, validation_alias="KEEL_SERVING_PORT", ge=0, le=65_535)
    hosts: Names = Field((), validation_alias="KEEL_SERVING_HOSTS")
    """Host names that the service answers for; empty: local names without API keys, any with them. ``*``: any."""
    workers: int = Field(1, validation_alias="KEEL_SERVING_WORKERS", ge=1, le=64)
    models: tuple[str, ...] = ()
    """Models to serve; empty: all that are configured."""
    home: FilePath | None = Field(None, validation_alias="KEEL_HOME")
    """As for `keel.workspace.Workspace`."""
    keys_file: FilePath | None = Field(None, validation_alias="KEEL_API_KEYS_FILE")
    spool: FilePath | None = Field(None, validation_alias="KEEL_SPOOL")
    durability: Annotated[Durability, BeforeValidator(_durability)] = Field(
        Durability.FSYNC, validation_alias="KEEL_SPOOL_DURABILITY"
    )
    spool_bytes: Bytes = Field(SPOOL_BYTES, validation_alias="KEEL_SPOOL_MAX_BYTES")
    max_body: Bytes = Field(MAX_BODY, validation_alias="KEEL_SERVING_MAX_BODY")
    receive_seconds: Seconds = Field(RECEIVE_SECONDS, validation_alias="KEEL_SERVING_RECEIVE")
    connections: int = Field(CONNECTIONS, validation_alias="KEEL_SERVING_CONNECTIONS", ge=1, le=100_000)
    """Of one process."""
    poll_seconds: Seconds = Field(POLL_SECONDS, validation_alias="KEEL_SERVING_POLL")
    stop_seconds: float = STOP_SECONDS
    worker: int = 0
    """The number of this process among several. Worker 0 does the work that only one of them has to do."""

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_variable(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            field = str(found["loc"][0]) if found["loc"] else "settings"
            variable = cls.variables().get(field, field)
            message = found["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{variable}: {found['input']!r} is not valid: {message}") from None

    @model_validator(mode="after")
    def _require_keys_beyond_loopback(self) -> Self:
        """Refuse settings with which any client in the network could get predictions without a key."""
        if self.keys_file is None and not self.on_loopback:
            raise ConfigError(
                f"KEEL_SERVING_HOST: without API keys the service listens on the loopback address only, not on "
                f"{self.host}: write lines of 'name:key' into a file and set KEEL_API_KEYS_FILE to its path, "
                f"or leave the host at {DEFAULT_HOST}"
            )
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect to ``host``."""
        return is_loopback(self.host)

    def own_hosts(self) -> Callable[[str], bool] | None:
        """Return a function that tells whether a header ``Host`` names this service; None if all do.

        Names of the local machine always do: no page in a browser can make them its own.
        """
        if ANY_HOST in self.hosts or (self.keys_file is not None and not self.hosts):
            return None
        names = frozenset(_host_name(name) for name in (*self.hosts, self.host))

        @lru_cache(maxsize=64)
        def is_own(host: str) -> bool:
            name = _host_name(host)
            return name in names or is_loopback(name)

        return is_own

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Return the settings in ``environment`` (by default the process's); options that are not None take precedence.

        Empty variables count as not set. Raises ConfigError, naming the variable, for a value that cannot be used.
        """
        environ = os.environ if environment is None else environment
        given: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
        for field, variable in cls.variables().items():
            if field not in given and (text := environ.get(variable, "").strip()):
                given[field] = text
        return cls(**given)

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the environment variable of each field that has one."""
        return {
            name: field.validation_alias
            for name, field in cls.model_fields.items()
            if isinstance(field.validation_alias, str)
        }

    def spool_folder(self, home: Path) -> Path:
        """Return the folder of this installation's spools."""
        return self.spool or home / "spool"


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is one of the local machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("example.org")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(host: str) -> str:
    """Return the name or address in a header ``Host``, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return (host.rpartition(":")[0] if host.count(":") == 1 else host).removesuffix(".")
