"""docs/statistics.md cites files and tests that exist, and has a place for every table that is measured."""

from __future__ import annotations

import re

import pytest

from benchmarks import validate
from tests.support.paths import PROJECT

PAGE = (PROJECT / "docs" / "statistics.md").read_text(encoding="utf-8")
CITED = sorted(set(re.findall(r"`((?:keel|tests)/[\w/.]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "test"), CITED)
def test_a_cited_file_and_test_exists(path: str, test: str) -> None:
    source = (PROJECT / ("include" if path.startswith("keel") else "") / path).read_text(encoding="utf-8")
    assert not test or f"def {test}(" in source


@pytest.mark.parametrize("name", validate.MEASURES)
def test_a_measured_table_has_its_markers(name: str) -> None:
    assert f"<!-- table: {name} -->\nreplaced\n<!-- end of table -->" in validate.write(PAGE, name, "replaced")
