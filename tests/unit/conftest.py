"""What the unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.unsynced_sqlite import unsynced

DURABLE = {"store", "serving"}
"""Folders whose tests need files that survive a power failure, as in production."""


@pytest.fixture(scope="module", autouse=True)
def _unsynced_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let commits of the other tests not wait for the disk."""
    if DURABLE & set(request.path.parts):
        yield
    else:
        with unsynced():
            yield
