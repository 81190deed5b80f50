"""Charts as plain JSON values, so that a chart can pass from one task to another without its picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from keel.errors import SchemaError
from keel.reports.charts.specs import Chart

DIGITS = 9
"""Significant digits of a number: more than a picture shows, and half of what JSON would write."""


def to_plain(chart: Chart) -> dict[str, Any]:
    """Return a chart as JSON values, numbers rounded to `DIGITS` and null for what is not finite.

    >>> from keel.reports.charts.specs import Sparkline
    >>> to_plain(Sparkline((0.1, None), threshold=1 / 3))
    {'kind': 'Sparkline', 'values': [0.1, None], 'threshold': 0.333333333, 'from_zero': False}
    """
    kind = type(chart)
    values = _adapter(kind.__name__).dump_python(chart, mode="json")
    return {"kind": kind.__name__, **{name: _rounded(value) for name, value in values.items()}}


def from_plain(values: Mapping[str, Any]) -> Chart:
    """Return the chart that `to_plain` described.

    Raises
    ------
    SchemaError
        The values describe no chart of this release.

    """
    kind = str(values.get("kind"))
    if kind not in _KINDS:
        raise SchemaError(f"a chart of kind {kind!r} is not one of {', '.join(_KINDS)}")
    try:
        chart: Chart = _adapter(kind).validate_python({name: value for name, value in values.items() if name != "kind"})
    except ValidationError as error:
        raise SchemaError(f"a {kind} cannot be read: {error.error_count()} of its values are not valid") from None
    return chart


_KINDS = {kind.__name__: kind for kind in get_args(Chart)}


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[kind])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if isfinite(value) else None  # JSON has no other numbers
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value
