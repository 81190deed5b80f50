"""Signed checkpoints of the ledger, stored where the owner of the database cannot change them.

Hashes alone do not show rows that were cut off at the end, nor a chain that was rewritten by someone who can compute
hashes. A checkpoint holds the number of rows and the hash of the last one, signed with Ed25519 by a key that is neither
in the database nor in Airflow, and the SHA-256 of the checkpoint before it. A check needs only the rows, the
checkpoints and the public key.

Checkpoints are stored in a folder or at any URL that fsspec supports. Someone who can write to the database must not be
able to remove or replace files there: the newest checkpoint can be removed without a trace.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cryptography.exceptions import InvalidSignature

from keel.errors import ConfigError, KeelError, LedgerBroken, without_credentials
from keel.ledger.signing_keys import key_id
from keel.ledger.verification import GENESIS, Row, Verification, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from keel.store import Store

SIGNING_KEY, VERIFY_KEY, CHECKPOINTS = "KEEL_SIGNING_KEY", "KEEL_VERIFY_KEY", "KEEL_CHECKPOINTS"
"""Environment variables: the file of the private key, the file of the public keys, and the checkpoints' location."""
PURPOSE = b"keel ledger checkpoint 1\n"
"""Prefix of the signed bytes, so that a signature made for another purpose is not valid here."""


class CheckpointsUnavailable(KeelError):
    """The location of the checkpoints cannot be reached, or refuses the write."""

    exit_code = 3
    permanent = False


@dataclass(frozen=True)
class Checkpoint:
    """The ledger's first ``size`` rows, by the number and hash of the last of them, and the signing key."""

    size: int
    seq: int
    head: str
    at: datetime
    previous: str
    """SHA-256 of the previous checkpoint's file; 64 zeros in the first."""
    key_id: str
    signature: bytes = b""

    @property
    def name(self) -> str:
        """The name of its file; names sort in the order of the checkpoints."""
        return f"checkpoint-{self.size:012d}.json"

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return PURPOSE + json.dumps(self._content(), sort_keys=True).encode("ascii")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {**self._content(), "signature": self.signature.hex()}

    def to_bytes(self) -> bytes:
        """Return the content of its file."""
        return json.dumps(self.to_dict(), indent=2).encode("ascii") + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes) -> Checkpoint:
        """Return the checkpoint of a file; ValueError unless every byte is as `to_bytes` writes it."""
        fields = json.loads(content)
        if not isinstance(fields, dict) or not all(isinstance(fields.get(name), str) for name in ("at", "signature")):
            raise ValueError("not a checkpoint")
        at, signature = datetime.fromisoformat(fields.pop("at")), bytes.fromhex(fields.pop("signature"))
        try:
            found = cls(**fields, at=at, signature=signature)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if type(found.size) is not int or found.to_bytes() != content:
            raise ValueError("not as Keel writes it")
        return found

    def _content(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "seq": self.seq,
            "head": self.head,
            "at": self.at.isoformat(),
            "previous": self.previous,
            "key_id": self.key_id,
        }


def write(
    store: Store, place: str | Path, key: Ed25519PrivateKey, now: datetime, *, trusted: Iterable[Ed25519PublicKey] = ()
) -> Checkpoint | None:
    """Verify the ledger and all earlier checkpoints, then sign its present state; None without new rows.

    Parameters
    ----------
    trusted
        Public keys beside this one's whose earlier checkpoints are valid, such as after a change of key.

    Raises
    ------
    LedgerBroken
        The ledger or an earlier checkpoint is not valid; nothing was signed.

    """
    from keel.ledger.entries import stored_rows

    folder = CheckpointFolder(place)
    with store.lock("ledger-checkpoints"):  # two at once would both follow the same checkpoint
        files, rows = folder.read(), stored_rows(store)
        found = _checked(files, rows, [key.public_key(), *trusted])
        if found.broken_at is not None:
            raise LedgerBroken(f"nothing was signed: row {found.broken_at} of the ledger: {found.reason}")
        if len(rows) == found.covered:
            return None
        last = hashlib.sha256(files[-1][1]).hexdigest() if files else GENESIS
        unsigned = Checkpoint(len(rows), rows[-1]["seq"], rows[-1]["hash"], now, last, key_id(key.public_key()))
        signature = key.sign(unsigned.signed)
        signed = Checkpoint(**{**unsigned.__dict__, "signature": signature})
        folder.add(signed.name, signed.to_bytes())
    return signed


def check(source: Store | Iterable[Row], place: str | Path, keys: Collection[Ed25519PublicKey]) -> Verification:
    """Verify the rows, and compare them with every checkpoint.

    Raises
    ------
    ConfigError
        There is no checkpoint, so nothing can be verified by one.

    """
    files = CheckpointFolder(place).read()  # before the rows, which may grow: a checkpoint may not cover more rows
    if not files:
        raise ConfigError(
            f"there is no checkpoint in {without_credentials(str(place))}; to write one: keel ledger checkpoint"
        )
    return _checked(files, _rows_of(source), keys)


def verified(source: Store | Iterable[Row]) -> Verification:
    """Verify the rows without checkpoints."""
    return verify(_rows_of(source))


def _rows_of(source: Store | Iterable[Row]) -> list[Row]:
    if isinstance(source, Iterable):
        return list(source)
    from keel.ledger.entries import stored_rows  # verifying rows from a file needs no database

    return stored_rows(source)


class CheckpointFolder:
    """The location of the checkpoints: a folder, or a URL that fsspec supports."""

    def __init__(self, place: str | Path) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self._name = without_credentials(str(place))
        with self._reached():  # some file systems connect here
            try:
                self._files, self._root = url_to_fs(str(place))
            except (ImportError, ValueError) as error:
                raise ConfigError(f"checkpoints cannot be stored in {self._name}: {error}") from None
        self._is_local = "file" in self._protocols()

    def read(self) -> list[tuple[str, bytes]]:
        """Return the names and contents of the checkpoints' files, in order of their names."""
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
            raise CheckpointsUnavailable(f"a checkpoint is in {self._name} already, and is not overwritten") from None
        except Exception as error:  # fsspec's file systems raise their own errors, whose text may hold a secret
            why = getattr(error, "strerror", None) or type(error).__name__
            raise CheckpointsUnavailable(f"the checkpoints in {self._name} cannot be reached: {why}") from None


def _checked(files: list[tuple[str, bytes]], rows: list[Row], keys: Iterable[Ed25519PublicKey]) -> Verification:
    """Verify the checkpoints, then the chain of rows, then that the rows are those that were signed."""
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
    """Return the checkpoint of a file, or why it is not valid."""
    try:
        found = Checkpoint.from_bytes(content)
    except (ValueError, RecursionError):
        return "it does not have the form of a checkpoint: it was changed"
    if found.name != name:
        return f"it has the name of another: it is the checkpoint of {found.size} rows"
    if found.key_id not in trusted:
        return f"it is signed by key {found.key_id}, which is not trusted; trusted: {', '.join(sorted(trusted))}"
    try:
        trusted[found.key_id].verify(found.signature, found.signed)
    except InvalidSignature:
        return "its signature does not match its content: it was changed or forged"
    if found.previous != previous:
        return "it does not follow the checkpoint before it: a checkpoint between them was removed or replaced"
    return found


def _rewritten(checkpoint: Checkpoint, covered: int, rows: list[Row]) -> str:
    """Return how the rows differ from those that were signed, or an empty string."""
    size, on = checkpoint.size, f"{checkpoint.at:%Y-%m-%d %H:%M} UTC"
    if len(rows) < size:
        return f"{size} rows were signed on {on}, but the ledger has {len(rows)}: rows were cut off at the end"
    last = rows[size - 1]
    if (last["seq"], last["hash"]) != (checkpoint.seq, checkpoint.head):
        return f"rows {covered + 1} to {size} differ from those that were signed on {on}: the chain was rewritten"
    return ""
