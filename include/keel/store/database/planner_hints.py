"""Hints for SQLite's planner, which has no statistics of a store before its first compaction.

Without hints it expects few labels of a model and many rows in a time range. It then reads all labels to find those of
one hour.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SHARE = 0.001
"""Of all rows, in any time range. A share this small makes the planner begin with the time."""


class Seldom(FunctionElement[Any]):
    """A condition that few rows meet."""

    type = sa.Integer()  # for a boolean SQLAlchemy would compare it with 1 on SQLite, and hide it from the planner
    inherit_cache = True


@compiles(Seldom)
def _as_it_is(element: Seldom, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses.clauses[0], **options))


@compiles(Seldom, "sqlite")
def _with_likelihood(element: Seldom, compiler: Any, **options: Any) -> str:
    return f"likelihood({_as_it_is(element, compiler, **options)}, {SHARE})"


def within(time: sa.ColumnElement[int], start: int, end: int) -> sa.ColumnElement[bool]:
    """Return the condition start ≤ time < end, as one that few rows meet."""
    return sa.and_(Seldom(time >= start), Seldom(time < end))
