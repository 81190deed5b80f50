"""The few operations on files that a spool needs, so that a test can put a disk that forgets in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A file system as a spool uses it; every operation raises OSError when it fails."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents; there is no harm in its being there."""

    def names(self, path: Path) -> list[str]:
        """Return the names in a folder, in no order; none if it does not exist."""
