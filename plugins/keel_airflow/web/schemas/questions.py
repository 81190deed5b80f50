"""Questions that are computed for the answer alone, and the answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from keel_airflow.web.schemas.actions import Duration, Overrides, Version
from keel_airflow.web.schemas.common import Answer, AnswerTime, Body, ModelName, Time

MOST_ROWS = 100_000
SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types of a value in a row."""
ROWS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_ROWS,
    "items": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
    "examples": [[{"distance": 733, "carrier": "UA"}]],
}


class PerformanceQuestion(Body):
    """A question about a window: from since to until, or the lookback before until. By default the model's own."""

    model: ModelName
    version: Version | None = None
    """Default: the one in production."""
    since: Time | None = None
    until: Time | None = None
    """Default: now."""
    lookback: Duration | None = None
    """In place of since; default: the model's check.lookback."""
    overrides: Overrides


class DriftQuestion(PerformanceQuestion):
    """A question about a window, or about the rows that come with it."""

    rows: Annotated[list[Any] | None, WithJsonSchema(ROWS_SCHEMA)] = None
    """A value a feature; a score and a prediction, where there are some."""


class Window(Answer):
    """A window of full hours: start ≤ time < end."""

    start: AnswerTime
    end: AnswerTime


class DriftAnswer(Answer):
    """The drift of a window, or of rows, from what a version was trained on. Nothing was stored."""

    model: str
    version: int
    window: Window | None
    """None for rows that came with the question."""
    rows: int
    """How many were compared."""
    status: str
    """ok, warn, drift, or insufficient below drift.min_rows."""
    sentence: str
    drifted: list[str]
    """Features that have drifted, the largest impact first."""
    drifted_outputs: list[str]
    """Of the score and the prediction."""
    ignored: list[str]
    """Columns of the rows that the version does not have; the first 100."""
    not_given: list[str]
    """Outputs that the rows do not have, and that are therefore not compared."""
    report: dict[str, Any]
    """The measures of every column, as in a stored report of the kind drift."""


class PerformanceAnswer(Answer):
    """The performance of a version in a window beside its holdout's. Nothing was stored."""

    model: str
    version: int
    window: Window
    """The labels are those of predictions that are the label delay earlier: of report.window."""
    status: str
    """ok, degraded, undefined, insufficient below performance.min_rows, or no_labels."""
    sentence: str
    report: dict[str, Any]
    """As in a stored report of the kind performance."""
    labels: dict[str, Any]
    """Whether the labels themselves can be trusted, as in a stored report of the kind labels."""
