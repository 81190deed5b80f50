"""Keel keeps deployed models on course: counts on a reference grid, and what follows from them.

The public names load on first use, so that importing ``keel`` for its configuration costs no numerical library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import DriftConfig, ModelConfig, load_models
    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid
    from keel.monitoring.drift import detect

__all__ = ["Counts", "DriftConfig", "ModelConfig", "ReferenceGrid", "detect", "load_models"]

_HOME = {
    "Counts": "keel.grid.counts",
    "DriftConfig": "keel.config",
    "ModelConfig": "keel.config",
    "ReferenceGrid": "keel.grid.reference",
    "detect": "keel.monitoring.drift",
    "load_models": "keel.config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'keel' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
