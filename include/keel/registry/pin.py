"""The artifacts of a version as they were registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """The run of a version and the SHA-256 of its artifacts by path, when it was registered.

    seq: of the ledger row that records them.
    """

    version: int
    run_id: str
    files: Mapping[str, str]
    seq: int
