"""API keys: who may ask. Kept in a file of named keys, and in memory as digests only."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from keel.errors import ConfigError

log = logging.getLogger(__name__)

SHORTEST = 16
"""Characters of a key; 16 random letters and digits are 95 bits, which nobody guesses."""
_LINE = re.compile(r"(?P<name>[\w.-]+)(?:\s*:\s*|\s+)(?P<key>\S+)")
_HOW = "each line is 'name:key', and # begins a comment"


@dataclass(frozen=True)
class _Stamp:
    """By which a change of the file shows, whether it is written in place or replaced."""

    inode: int
    size: int
    modified: int


class Keys:
    """The keys of one file, read again when it changes. What a broken file said before holds until it is mended.

    An empty file lets nobody in.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError, naming path and line but no key, if it cannot be used."""
        self._path = path
        self._stamp: _Stamp | None = self._look()
        self._digests = read_keys(path)

    def __len__(self) -> int:
        return len(self._digests)

    def name_of(self, key: str) -> str | None:
        """Return the name that ``key`` is kept under, or None.

        Takes the same time wherever, and whether, a key matches: digests of equal length are compared in full, all of
        them.
        """
        self._refresh()
        given, found = _digest(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = read_keys(self._path)
            log.info("read %s again: %d keys (%s)", self._path, len(self), ", ".join(self._digests) or "nobody may ask")
        except ConfigError as error:
            log.error("the keys read before still hold: %s", error)

    def _look(self) -> _Stamp | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def read_keys(path: Path) -> dict[str, bytes]:
    """Return the digests of the keys in a file, by name.

    Raises ConfigError, naming path and line but no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"KEEL_API_KEYS_FILE: {path} cannot be read: {error}") from None
    digests: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigError(f"{path}, line {number}: no name and key; {_HOW}")
        if len(match["key"]) < SHORTEST:
            raise ConfigError(
                # not with its name: where the two have changed places, that is the key
                f"{path}, line {number}: the key has fewer than {SHORTEST} characters; {_HOW}; make a key with: "
                "openssl rand -hex 32"
            )
        if match["name"] in digests:
            raise ConfigError(f"{path}, line {number}: {match['name']} has a key already; every name has one")
        digests[match["name"]] = _digest(match["key"])
    return digests


def presented(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the key that a request's raw headers carry, as ``Authorization: Bearer`` or ``X-API-Key``.

    >>> presented([(b"x-api-key", b"s3cret")]), presented([(b"authorization", b"Bearer s3cret")]), presented([])
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
