"""What is done every night for all models: prove the ledger, sign what it is, delete what nobody needs any more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keel.errors import LedgerBroken
from keel.lifecycle import retention
from keel.lifecycle.checkpoint import CHECKPOINTS, SIGNING_KEY, VERIFY_KEY, check, write
from keel.lifecycle.keys import private_key, public_keys
from keel.lifecycle.proof import agrees, verify

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.memory import Plain
    from keel.workspace import Workspace


def verify_ledger(ws: Workspace, *, now: datetime, environment: Mapping[str, str] | None = None) -> Plain:
    """Prove the chain and that the deployments follow from it; sign a checkpoint where a key and a place are set.

    environment: ``KEEL_SIGNING_KEY`` names the private key's file, ``KEEL_CHECKPOINTS`` the place, ``KEEL_VERIFY_KEY``
    a file of public keys whose earlier checkpoints count too.

    Raises
    ------
    LedgerBroken
        The ledger does not hold, or the deployments are not what it adds up to; nothing was signed.

    """
    environ = os.environ if environment is None else environment
    found = verify(ws.store)
    if found.broken_at is not None:
        raise LedgerBroken(f"row {found.broken_at} of the ledger: {found.reason}")
    if contradictions := agrees(ws.store):
        raise LedgerBroken("; ".join(contradictions))
    key, place = environ.get(SIGNING_KEY), environ.get(CHECKPOINTS)
    trusted = public_keys(Path(environ[VERIFY_KEY])) if environ.get(VERIFY_KEY) else []
    if place and trusted and not key:  # somebody else signs, where no task can read the key
        checked = check(ws.store, place, trusted)
        if checked.broken_at is not None:
            raise LedgerBroken(f"row {checked.broken_at} of the ledger: {checked.reason}")
    if not (key and place):
        return {"entries": found.entries, "signed": None}
    signed = write(ws.store, place, private_key(Path(key)), now, trusted=trusted)
    return {"entries": found.entries, "signed": signed.name if signed else None}


def prune(ws: Workspace, config: ModelConfig, *, now: datetime, actor: str, run_id: str) -> Plain:
    """Delete the versions of a model that are deployed nowhere and were kept as long as its policy wants."""
    deleted = retention.prune(ws.store, ws.registry, config, now=now, actor=actor, run_id=run_id)
    return {"model": config.model, "deleted": [each.to_dict() for each in deleted]}
