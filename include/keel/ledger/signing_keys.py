"""The Ed25519 key pair that signs and verifies the ledger's checkpoints, in two PEM files."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keel.errors import ConfigError

PUBLIC_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)


def keygen(path: Path) -> str:
    """Write a new private key, readable by its owner only, and the public key beside it (``.pub``); return its id.

    Raises
    ------
    ConfigError
        One of the files exists already, or the folder does not.

    """
    public_path = path.with_name(f"{path.name}.pub")
    if existing := [str(each) for each in (path, public_path) if os.path.lexists(each)]:
        raise ConfigError(f"{' and '.join(existing)} would be overwritten: name another file")
    key = Ed25519PrivateKey.generate()
    pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(pem, spki)
    try:
        for file, content, mode in ((path, private, 0o600), (public_path, public, 0o644)):
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(content)
    except OSError as error:
        raise ConfigError(f"the key cannot be written to {path}: {error.strerror}") from None
    return key_id(key.public_key())


def key_id(key: Ed25519PublicKey) -> str:
    """Return the first sixteen hexadecimal digits of the SHA-256 of a public key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key; `ConfigError`, without any of the content, for another file."""
    content = _read(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):  # TypeError: the key is encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no private Ed25519 key; to make one: keel ledger keygen FILE")
    return key


def public_keys(path: Path) -> list[Ed25519PublicKey]:
    """Read the public keys of a PEM file; `ConfigError` for another file."""
    content = _read(path)
    try:
        keys = [serialization.load_pem_public_key(pem) for pem in PUBLIC_PEM.findall(content)]
    except ValueError:
        keys = []
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not found or len(found) != len(keys):
        raise ConfigError(f"{path} is not a public key that keel ledger keygen writes")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror}") from None
