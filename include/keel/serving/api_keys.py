"""API keys: which clients have access, and to what. Keys are in a file; memory holds only their digests."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keel.errors import ConfigError, suggestion

log = logging.getLogger(__name__)

MIN_LENGTH = 16
"""Characters of a key. 16 random letters and digits are 95 bits, which cannot be guessed."""
SETTLED_SECONDS = 1.0
"""After which a changed file counts as written to its end. Until then its keys are added to those known before."""
ALL = "*"
_LINE = re.compile(r"(?P<name>[\w.-]+)(?:\s*:\s*|\s+)(?P<key>\S+)(?:\s+(?P<scopes>.*))?")
_FORMAT = "write one 'name:key' per line, and after a space the key's scopes; # starts a comment"


class Scope(StrEnum):
    """What a key is for."""

    PREDICT = "predict"
    """Ask for predictions."""
    LABEL = "label"
    """Hand in labels."""
    READ = "read"
    """See the service's state, metrics, performance and experiments, and the reasons of its problems."""


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True)
class ApiKey:
    """A key: its name, the SHA-256 of it, and its scopes."""

    name: str
    digest: bytes
    scopes: frozenset[Scope] = EVERYTHING


@dataclass(frozen=True)
class _FileStamp:
    """Shows a change of the file, whether it is written in place or replaced."""

    inode: int
    size: int
    modified: int


class ApiKeys:
    """The keys of one file, read again when it changes.

    An editor or a service manager may empty a file before it writes it, so a file just changed may lack keys. Therefore
    a new key is valid at once, and one that is no longer there becomes invalid `SETTLED_SECONDS` after the last change.
    While the file is invalid, the keys read before stay valid. An empty file gives no client access.

    clock: returns seconds, as `time.monotonic`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises ConfigError, naming path and line but no key, if it cannot be used."""
        self._path, self._clock = path, clock
        self._stamp: _FileStamp | None = self._file_stamp()
        self._keys: Mapping[str, Sequence[ApiKey]] = {key.name: (key,) for key in read_keys(path).values()}
        self._settles_at: float | None = clock() + SETTLED_SECONDS  # it may be written at this moment

    def __len__(self) -> int:
        return len(self._keys)

    def scopes_of(self, keys: Sequence[bytes]) -> frozenset[Scope] | None:
        """Return the scopes of the known ones among a request's keys together; None if none is known.

        The time does not depend on whether or where a key matches: all digests are compared in full.
        """
        self._refresh()
        found: frozenset[Scope] | None = None
        for key in keys:
            digest = _digest(key)
            for same_name in self._keys.values():
                for known in same_name:
                    if hmac.compare_digest(digest, known.digest):
                        found = (found or frozenset()) | known.scopes
        return found

    def _refresh(self) -> None:
        stamp = self._file_stamp()
        if stamp == self._stamp and (self._settles_at is None or self._clock() < self._settles_at):
            return
        if stamp == self._stamp or _is_old(stamp):
            self._stamp, self._settles_at = stamp, None
            self._replace_keys()
        else:
            self._stamp, self._settles_at = stamp, self._clock() + SETTLED_SECONDS
            self._add_new_keys()

    def _add_new_keys(self) -> None:
        """Add the keys of a file that may not be written to its end. Keys that were known keep their scopes."""
        try:
            read = read_keys(self._path, whole=False)
        except ConfigError:  # it counts only once the file has settled
            return
        added = {}
        for name, key in read.items():
            known = self._keys.get(name, ())
            if not any(key.digest == each.digest for each in known):
                added[name] = (*known, key)
        if added:
            self._keys = {**self._keys, **added}
            log.info("%s: new keys (%s)", self._path, ", ".join(added))

    def _replace_keys(self) -> None:
        try:
            read = {name: (key,) for name, key in read_keys(self._path).items()}
        except ConfigError as error:
            log.error("the keys read before stay valid: %s", error)
            return
        if read != self._keys:
            self._keys = read
            log.info("%s: %d keys (%s)", self._path, len(self), ", ".join(read) or "no client has access")

    def _file_stamp(self) -> _FileStamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _FileStamp(found.st_ino, found.st_size, found.st_mtime_ns)


def read_keys(path: Path, *, whole: bool = True) -> dict[str, ApiKey]:
    """Return the keys in a file, by name.

    whole: also read a last line without an end. A key that no client can send in a header is skipped and logged. Raises
    ConfigError, naming path and line but no key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"KEEL_API_KEYS_FILE: cannot read {path}: {error}") from None
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.strip() or line.lstrip().startswith("#") or not (whole or line.endswith("\n")):
            continue
        try:
            key = _parse(line.strip())
        except _Unsendable as error:
            log.warning("%s, line %d is skipped: %s", path, number, error)
            continue
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        if key.name in keys:
            raise ConfigError(f"{path}, line {number}: {key.name} already has a key; use another name")
        keys[key.name] = key
    return keys


class _Unsendable(ValueError):
    """The line is valid, but no client can send its key in a header. The message does not show the key."""


def _parse(line: str) -> ApiKey:
    """Return the key of a line; `ValueError`, whose message does not show what may be a part of a key."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"not a name of one word and a key; {_FORMAT}")
    name, key = found["name"], found["key"]
    if len(key) < MIN_LENGTH:
        raise ValueError(
            # without the name: if key and name are swapped, the name is the key
            f"the key has fewer than {MIN_LENGTH} characters; {_FORMAT}; create a key with: openssl rand -hex 32"
        )
    if not (key.isascii() and key.isprintable()):
        whose = f"the key of {name}" if len(name) < MIN_LENGTH else "the key"  # see above
        raise _Unsendable(f"{whose} has other characters than ASCII, which clients cannot send in a header")
    return ApiKey(name, _digest(key.encode()), _scopes(found["scopes"] or ""))


def _scopes(text: str) -> frozenset[Scope]:
    words = text.replace(",", " ").split()
    for word in words:
        if word not in (*Scope, ALL):
            near = suggestion(word, map(str, Scope))
            raise ValueError(f"unknown scope{near}; valid: {', '.join(Scope)} and {ALL} for all; {_FORMAT}")
    return EVERYTHING if not words or ALL in words else frozenset(map(Scope, words))


def keys_in(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Return all keys in a request's raw headers, from ``Authorization: Bearer`` and ``X-API-Key``.

    >>> keys_in([(b"x-api-key", b"s3cret"), (b"authorization", b"Bearer other")]), keys_in([])
    ([b's3cret', b'other'], [])
    """
    found = []
    for name, value in headers:
        if name == b"x-api-key":
            found.append(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.append(value[7:].strip())
    return found


def _is_old(stamp: _FileStamp | None) -> bool:
    """Return whether a file was written so long ago that nobody writes it any more."""
    return stamp is not None and time.time() - stamp.modified / 1e9 >= SETTLED_SECONDS


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
