"""docs/metrics.md: every view and column is there with its type, and every query runs on both databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from keel.store.database.migrations import metric_views
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from keel.store import Store

PAGE = (PROJECT / "docs" / "metrics.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
TYPES = {sa.TIMESTAMP: "time", sa.BOOLEAN: "boolean", sa.BIGINT: "integer", sa.TEXT: "text", sa.Double: "number"}


def documented() -> dict[str, dict[str, str]]:
    """Return the types of the columns by view, in the order of the page."""
    sections = re.split(r"^## (keel_\w+)$", PAGE, flags=re.M)[1:]
    rows = re.compile(r"^\| `(\w+)` \| (\w+) \| \S.* \|$", re.M)
    return {name: dict(rows.findall(text)) for name, text in zip(sections[::2], sections[1::2], strict=True)}


def test_every_view_and_column_is_documented_in_order(store: Store) -> None:
    inspector = sa.inspect(store.engine)
    found = documented()
    assert sorted(found) == sorted(metric_views.names())
    for name, columns in found.items():
        assert list(columns) == [column["name"] for column in inspector.get_columns(name)], name


@pytest.mark.postgres
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_types_are_those_of_postgresql(store: Store) -> None:
    inspector = sa.inspect(store.engine)
    for name, columns in documented().items():
        types = {c["name"]: next(word for kind, word in TYPES.items() if isinstance(c["type"], kind))
                 for c in inspector.get_columns(name)}  # fmt: skip
        assert columns == types, name


@pytest.mark.parametrize("query", QUERIES)
def test_documented_query_runs(store: Store, query: str) -> None:
    with store.connect() as connection:
        assert connection.execute(sa.text(query)).all() == []


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 3
