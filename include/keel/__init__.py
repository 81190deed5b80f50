"""Keel monitors, retrains, promotes and A/B-tests deployed models.

In a notebook, with the models and the store that the environment names::

    import keel

    with keel.open() as ws:
        found = keel.check(ws, keel.load_models()["flight_delay"])
        print(found.action, found.sentence)

The public names load on first use, so that importing ``keel`` for its configuration imports no numerical library.
"""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import DriftConfig, ModelConfig, load_models
    from keel.grid.counts import Counts
    from keel.grid.reference import ReferenceGrid
    from keel.loop import check
    from keel.reports.compared import compare
    from keel.reports.detected import detect
    from keel.workspace import Workspace

    open = Workspace.open

__all__ = [
    "Counts",
    "DriftConfig",
    "ModelConfig",
    "ReferenceGrid",
    "Workspace",
    "check",
    "compare",
    "detect",
    "load_models",
    "open",
]

_HOMES = {
    "Counts": "keel.grid.counts",
    "DriftConfig": "keel.config",
    "ModelConfig": "keel.config",
    "ReferenceGrid": "keel.grid.reference",
    "Workspace": "keel.workspace",
    "check": "keel.loop",
    "compare": "keel.reports.compared",
    "detect": "keel.reports.detected",
    "load_models": "keel.config",
    "open": "keel.workspace",
}
_PATHS = {"open": "Workspace.open"}
"""The names that are attributes of something else there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'keel' has no attribute {name!r}")
    return attrgetter(_PATHS.get(name, name))(import_module(_HOMES[name]))
