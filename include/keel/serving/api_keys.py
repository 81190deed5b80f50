"""API keys: which clients have access. Keys are in a file with a name each; memory holds only their digests."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from keel.errors import ConfigError

log = logging.getLogger(__name__)

MIN_LENGTH = 16
"""Characters of a key. 16 random letters and digits are 95 bits, which cannot be guessed."""
_LINE = re.compile(r"(?P<name>[\w.-]+)(?:\s*:\s*|\s+)(?P<key>\S+)")
_FORMAT = "write one 'name:key' per line; # starts a comment"


@dataclass(frozen=True)
class _FileStamp:
    """Shows a change of the file, whether it is written in place or replaced."""

    inode: int
    size: int
    modified: int


class ApiKeys:
    """The keys of one file, read again when it changes.

    While the file is invalid, the keys read before stay valid. An empty file gives no client access.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError, naming path and line but no key, if it cannot be used."""
        self._path = path
        self._stamp: _FileStamp | None = self._file_stamp()
        self._digests = read_keys(path)

    def __len__(self) -> int:
        return len(self._digests)

    def name_of(self, key: str) -> str | None:
        """Return the name of ``key``, or None if it is unknown.

        The time does not depend on whether or where a key matches: all digests are compared in full.
        """
        self._refresh()
        digest, found = _digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _refresh(self) -> None:
        stamp = self._file_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = read_keys(self._path)
            log.info(
                "read %s again: %d keys (%s)", self._path, len(self), ", ".join(self._digests) or "no client has access"
            )
        except ConfigError as error:
            log.error("the keys read before stay valid: %s", error)

    def _file_stamp(self) -> _FileStamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _FileStamp(found.st_ino, found.st_size, found.st_mtime_ns)


def read_keys(path: Path) -> dict[str, bytes]:
    """Return the digests of the keys in a file, by name.

    Raises ConfigError, naming path and line but no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"KEEL_API_KEYS_FILE: cannot read {path}: {error}") from None
    digests: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigError(f"{path}, line {number}: not a name and a key; {_FORMAT}")
        if len(match["key"]) < MIN_LENGTH:
            raise ConfigError(
                # without the name: if key and name are swapped, the name is the key
                f"{path}, line {number}: the key has fewer than {MIN_LENGTH} characters; {_FORMAT}; create a key with: "
                "openssl rand -hex 32"
            )
        if match["name"] in digests:
            raise ConfigError(f"{path}, line {number}: {match['name']} already has a key; use another name")
        digests[match["name"]] = _digest(match["key"])
    return digests


def key_in(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the key in a request's raw headers, from ``Authorization: Bearer`` or ``X-API-Key``; None without one.

    >>> key_in([(b"x-api-key", b"s3cret")]), key_in([(b"authorization", b"Bearer s3cret")]), key_in([])
    ('s3cret', 's3cret', None)
    """
    for name, value in headers:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
