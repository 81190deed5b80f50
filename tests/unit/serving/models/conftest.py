"""Fixtures for tests that fit and score models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keel.serving.models.loaded_version import limit_to_one_thread, preload


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Fit with one thread, as the service scores: on a busy machine, OpenMP threads wait seconds for each other."""
    preload()
    with limit_to_one_thread():
        yield
