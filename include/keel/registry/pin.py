"""What a version's artifacts were when it was registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """What a version's artifacts were when it was registered: SHA-256 by path, within the run that made it."""

    version: int
    run_id: str
    files: Mapping[str, str]
    seq: int
