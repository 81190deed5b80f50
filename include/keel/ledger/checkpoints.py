"""Signed checkpoints: what the ledger was at a time, kept where the database's owner cannot change it.

Hashes alone do not show an end that was cut off, nor a chain that was written anew by somebody who can compute hashes.
A checkpoint says how many rows there were and what the last one's hash was, signed with Ed25519 by a key that is
neither in the database nor in Airflow; each holds the SHA-256 of the checkpoint before it. Whoever checks needs the
rows, the place and the public key, and nothing else.

The place is a folder or any URL that fsspec knows. What it must give is that nobody who can write to the database
can remove or replace what lies there: a checkpoint that is gone from the end of the place cannot be missed from within.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cryptography.exceptions import InvalidSignature

from keel.errors import ConfigError, KeelError, LedgerBroken
from keel.ledger.signing_keys import key_id
from keel.ledger.verification import GENESIS, Row, Verification, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from keel.store import Store

SIGNING_KEY, VERIFY_KEY, CHECKPOINTS = "KEEL_SIGNING_KEY", "KEEL_VERIFY_KEY", "KEEL_CHECKPOINTS"
"""The environment's names for the private key's file, the public keys' file, and the place."""
PURPOSE = b"keel ledger checkpoint 1\n"
"""Signed with each checkpoint, so that a signature made for anything else is none here."""


class CheckpointsUnavailable(KeelError):
    """The place of the checkpoints cannot be reached, or refuses."""

    exit_code = 3
    permanent = False


@dataclass(frozen=True)
class Checkpoint:
    """The ledger's first ``size`` rows, by the number and the hash of the last of them, and who says so."""

    size: int
    seq: int
    head: str
    at: datetime
    previous: str
    """SHA-256 of the file of the checkpoint before; 64 zeros for the first."""
    key_id: str
    signature: bytes = b""

    @property
    def name(self) -> str:
        """Its file's name; names sort as the checkpoints follow each other."""
        return f"checkpoint-{self.size:012d}.json"

    @property
    def signed(self) -> bytes:
        """What the signature covers."""
        return PURPOSE + json.dumps(self._content(), sort_keys=True).encode("ascii")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {**self._content(), "signature": self.signature.hex()}

    def to_bytes(self) -> bytes:
        """Return its file's content."""
        return json.dumps(self.to_dict(), indent=2).encode("ascii") + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Checkpoint:
        """Return the checkpoint of a file; ValueError for one that is not to the byte as `to_bytes` writes it."""
        said = json.loads(content)
        if not isinstance(said, dict) or not all(isinstance(said.get(name), str) for name in ("at", "signature")):
            raise ValueError("not a checkpoint")
        at, signature = datetime.fromisoformat(said.pop("at")), bytes.fromhex(said.pop("signature"))
        try:
            found = cls(**said, at=at, signature=signature)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if type(found.size) is not int or found.to_bytes() != content:
            raise ValueError("not as Keel writes it")
        return found

    def _content(self) -> dict[str, Any]:
        return {
            "size": self.size, "seq": self.seq, "head": self.head, "at": self.at.isoformat(),
            "previous": self.previous, "key_id": self.key_id,
        }  # fmt: skip


def write(
    store: Store, place: str | Path, key: Ed25519PrivateKey, now: datetime, *, trusted: Iterable[Ed25519PublicKey] = ()
) -> Checkpoint | None:
    """Sign what the ledger is now, after checking it against itself and all that was signed before; None if no row is
    new.

    trusted: public keys, beside this one's, whose earlier checkpoints count, as after a change of key.

    Raises
    ------
    LedgerBroken
        The ledger or an earlier checkpoint does not hold; nothing was signed.

    """
    from keel.ledger.entries import stored_rows

    there = Place(place)
    with store.lock("ledger-checkpoints"):  # two at a time would both follow the same checkpoint
        files, rows = there.read(), stored_rows(store)
        found = _checked(files, rows, [key.public_key(), *trusted])
        if found.broken_at is not None:
            raise LedgerBroken(f"nothing was signed: row {found.broken_at} of the ledger: {found.reason}")
        if len(rows) == found.covered:
            return None
        last = hashlib.sha256(files[-1][1]).hexdigest() if files else GENESIS
        unsigned = Checkpoint(len(rows), rows[-1]["seq"], rows[-1]["hash"], now, last, key_id(key.public_key()))
        signature = key.sign(unsigned.signed)
        signed = Checkpoint(**{**unsigned.__dict__, "signature": signature})
        there.add(signed.name, signed.to_bytes())
    return signed


def check(source: Store | Iterable[Row], place: str | Path, keys: Collection[Ed25519PublicKey]) -> Verification:
    """Verify the rows against themselves and against every checkpoint in the place.

    Raises
    ------
    ConfigError
        There is no checkpoint in the place, which is no proof of anything.

    """
    files = Place(place).read()  # before the rows: those may grow meanwhile, and a checkpoint may not cover more
    if not files:
        raise ConfigError(f"there is no checkpoint in {shown(place)}; to write one: keel ledger checkpoint")
    return _checked(files, _rows_of(source), keys)


def verified(source: Store | Iterable[Row]) -> Verification:
    """Verify the rows against themselves only."""
    return verify(_rows_of(source))


def _rows_of(source: Store | Iterable[Row]) -> list[Row]:
    if isinstance(source, Iterable):
        return list(source)
    from keel.ledger.entries import stored_rows  # whoever verifies rows from a file needs no database

    return stored_rows(source)


class Place:
    """Where checkpoints lie: a folder or a URL that fsspec knows."""

    def __init__(self, place: str | Path) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self._shown = shown(place)
        with self._reached():  # some file systems connect already now
            try:
                self._files, self._root = url_to_fs(str(place))
            except (ImportError, ValueError) as error:
                raise ConfigError(f"checkpoints cannot be kept in {self._shown}: {error}") from None
        self._is_local = "file" in self._protocols()

    def read(self) -> list[tuple[str, bytes]]:
        """Return the checkpoints' files, in order of their names, with their content."""
        with self._reached():
            self._files.invalidate_cache()
            try:
                paths = self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
            named = sorted((path.rstrip("/").rpartition("/")[2], path) for path in paths)
            return [(name, self._files.cat_file(path)) for name, path in named if name.startswith("checkpoint-")]

    def add(self, name: str, content: bytes) -> None:
        """Write a new file, as a whole or not at all; `CheckpointsUnavailable` if the file exists already."""
        with self._reached():
            if not self._is_local:
                self._files.pipe_file(f"{self._root}/{name}", content, mode="create")
                return
            folder = Path(self._root)
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = folder / f".{uuid4().hex}.unfinished"
            try:
                with unfinished.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(unfinished, folder / name)  # unlike a rename, it overwrites nothing
            finally:
                unfinished.unlink(missing_ok=True)

    def _protocols(self) -> tuple[str, ...]:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except KeelError:
            raise
        except FileExistsError:
            raise CheckpointsUnavailable(f"a checkpoint is in {self._shown} already, and is not overwritten") from None
        except Exception as error:  # each of fsspec's file systems raises its own, and its words may hold a secret
            why = getattr(error, "strerror", None) or type(error).__name__
            raise CheckpointsUnavailable(f"the checkpoints in {self._shown} cannot be reached: {why}") from None


def shown(place: str | Path) -> str:
    """Return a place for people, without a user's name and password.

    >>> shown("ftp://keel:secret@example.com/checkpoints")
    'ftp://example.com/checkpoints'
    """
    return re.sub(r"//[^/]*@", "//", str(place))


def _checked(files: list[tuple[str, bytes]], rows: list[Row], keys: Iterable[Ed25519PublicKey]) -> Verification:
    """Verify the checkpoints as such, then the rows, then that the rows are those that were signed."""
    trusted = {key_id(key): key for key in keys}
    signed: list[Checkpoint] = []
    previous = GENESIS
    for name, content in files:
        found = _authentic(name, content, previous, trusted)
        if isinstance(found, str):
            covered = signed[-1].size if signed else 0
            return Verification(len(rows), covered + 1, f"{name}: {found}", len(signed), covered)
        signed.append(found)
        previous = hashlib.sha256(content).hexdigest()
    chain = verify(rows)
    covered = 0
    for checkpoint in signed:
        if chain.broken_at is not None and chain.broken_at <= checkpoint.size:
            break
        if reason := _rewritten(checkpoint, covered, rows):
            return Verification(len(rows), checkpoint.size, f"{checkpoint.name}: {reason}", len(signed), covered)
        covered = checkpoint.size
    return Verification(len(rows), chain.broken_at, chain.reason, len(signed), covered)


def _authentic(name: str, content: bytes, previous: str, trusted: Mapping[str, Ed25519PublicKey]) -> Checkpoint | str:
    """Return the checkpoint of a file, or why it is none."""
    try:
        found = Checkpoint.from_bytes(content)
    except (ValueError, RecursionError):
        return "it is not a checkpoint as Keel writes it: somebody has changed it"
    if found.name != name:
        return f"it lies in the place of another: it is that of {found.size} rows"
    if found.key_id not in trusted:
        return f"it is signed by key {found.key_id}, which is not trusted here: {', '.join(sorted(trusted))} is"
    try:
        trusted[found.key_id].verify(found.signature, found.signed)
    except InvalidSignature:
        return "its signature is not of what it says: somebody has changed or forged it"
    if found.previous != previous:
        return "it does not follow the checkpoint before it: one between them was removed or replaced"
    return found


def _rewritten(checkpoint: Checkpoint, covered: int, rows: list[Row]) -> str:
    """Return why the rows are not those that were signed, or an empty string."""
    size, on = checkpoint.size, f"{checkpoint.at:%Y-%m-%d %H:%M} UTC"
    if len(rows) < size:
        return f"{size} rows were signed on {on}, and the ledger has {len(rows)}: its end was cut off"
    last = rows[size - 1]
    if (last["seq"], last["hash"]) != (checkpoint.seq, checkpoint.head):
        return f"rows {covered + 1} to {size} are not those that were signed on {on}: they were written anew"
    return ""
