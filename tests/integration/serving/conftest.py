"""One trained installation and one running service, for the tests that only send requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving.process import Serving, copy_home, make_home


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a version in production, to copy."""
    return make_home(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="package")
def shared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One service, started by the command."""
    home = copy_home(trained, tmp_path_factory.mktemp("shared"))
    with Serving(home, KEEL_SERVING_MAX_BODY="64k", KEEL_SERVING_RECEIVE="2") as serving:
        yield serving


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """An installation of a test's own."""
    return copy_home(trained, tmp_path)
