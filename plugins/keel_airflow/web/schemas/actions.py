"""What requests that act hold, and the run that they start."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from keel.config.loading import parse_duration
from keel.window import ceil_hour, now_utc
from keel_airflow.web.schemas.common import Answer, Body, ModelName, StoredId, Time, VersionName, VersionNumber, iso

NO_REASON = "requested by hand"
LONGEST = timedelta(days=3_660)
"""Of a duration: no sum with a time of a request is out of range."""
LARGEST, MOST_TEXT, DEEPEST = 2**63 - 1, 20_000, 10
"""An integer in overrides, and characters and levels of all of them as JSON: every database and task can hold these."""


def _storable(text: str) -> str:
    """Refuse what databases do not store, and what no one reads."""
    if any(ord(char) < 32 and char not in "\t\n\r" for char in text):
        raise ValueError("a text has no control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text is valid Unicode") from None
    return text


def _overrides(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse what a run cannot be started with: a database or a task would fail on it."""
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        level = [part for each in level for part in _parts(each)]
    if level:
        raise ValueError(f"overrides have at most {DEEPEST} levels")
    if len(json.dumps(values)) > MOST_TEXT:
        raise ValueError(f"overrides have at most {MOST_TEXT:,} characters")
    return values


def _parts(value: Any) -> list[Any]:
    """Return what an object or an array of JSON holds, and nothing of a plain value; check that value."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        _storable(value)
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"an integer is at most {LARGEST}")
    return []


def _duration(text: str) -> str:
    length = parse_duration(text)
    assert isinstance(length, timedelta)
    if not timedelta(0) < length <= LONGEST:
        raise ValueError(f"a duration is longer than nothing, and has at most {LONGEST.days} days")
    return text


def _over(time: datetime) -> datetime:
    if time > ceil_hour(now_utc()):
        raise ValueError(f"{iso(time)} is not over yet: leave it out for now, or name an earlier time")
    return time


End = Annotated[Time, AfterValidator(_over)]
"""A time that is over, at the latest with this hour."""
Text = Annotated[str, AfterValidator(_storable)]
Reason = Annotated[
    Text,
    StringConstraints(strip_whitespace=True),
    Field(min_length=3, max_length=500, description="why; others read it, and the ledger or the run keeps it"),
]
Note = Annotated[Text, Field(max_length=500, description="for others")]
Duration = Annotated[
    str,
    Field(max_length=20, examples=["7d", "24h", "30m"]),
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}(\.\d{1,3})?[smhdw]$", "examples": ["7d", "24h", "30m"]}),
]
"""A number and one of s, m, h, d and w."""
Version = Annotated[VersionNumber | VersionName, Field(description="number or alias of a version")]
Overrides = Annotated[
    dict[str, Any],
    Field(
        default_factory=dict,
        description="configuration for this once, by dotted key",
        examples=[{"drift.alpha": 0.01}],
        max_length=100,
    ),
    AfterValidator(_overrides),
]


class Run(Answer):
    """A run of a DAG that a request has started."""

    dag_id: str
    run_id: str
    state: str
    """queued, running, success or failed."""
    url: str
    """Of the run's page in Airflow."""
    status_url: str
    """Of Airflow's public API, which tells how the run is."""
    paused: bool
    """Whether the DAG is paused. Then the run starts when somebody switches the DAG on."""
    message: str | None
    """What keeps the run from its start."""
    outcome: str | None
    """What the run has done, or why it failed; none before its end."""


class CheckRequest(Body):
    """A check of a model in production, which may retrain it."""

    model: ModelName
    start: Time | None = None
    """First hour of the window; default: its end less the configured lookback."""
    end: End | None = None
    """Hour at which the window ends; default: now."""
    overrides: Overrides


class PromoteRequest(Body):
    """A promotion, which compares the version with the one in production first."""

    model: ModelName
    version: Version = "staging"
    reason: Reason = NO_REASON
    force: bool = False
    """Promote whatever the comparison finds; needs a reason."""
    experiment: StoredId | None = None
    """Id of the experiment whose verdict is the evidence; default: a comparison on a holdout."""
    end: End | None = None
    """Until when rows of the holdout count; default: now."""

    @model_validator(mode="after")
    def _forced_with_a_reason(self) -> PromoteRequest:
        if self.force and self.reason == NO_REASON:
            raise ValueError("a forced promotion needs a reason of your own")
        return self


class RollbackRequest(Body):
    """A rollback of the version in production, which is quarantined."""

    model: ModelName
    version: Version | None = None
    """The version to roll back to; default: the previous one."""
    reason: Reason = NO_REASON


class MessageRequest(Body):
    """A message that shows that alerts arrive."""

    model: ModelName
    """Whose recipients it is sent to, and whose name it has."""
    channel: Literal["email", "slack", "teams", "pagerduty", "apprise"] = "email"
    to: (
        Annotated[
            Text, StringConstraints(strip_whitespace=True), Field(min_length=1, max_length=300, pattern=r"^[^\r\n\t]+$")
        ]
        | None
    ) = None
    """In place of the model's recipients."""


class ExperimentRequest(Body):
    """An experiment with a challenger in production."""

    challenger: Version = "staging"
    mode: Literal["ab", "shadow"] = "ab"
    allocation: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the entities that the challenger answers; default: half of them, or the ramp."""
    ramp: Annotated[Text, Field(min_length=1, max_length=200, examples=["5:24h,20:24h,50"])] | None = None
    metric: Annotated[Text, Field(min_length=1, max_length=40)] | None = None
    margin: float | None = None
    """Improvement that the challenger must exceed; default: promotion.margin."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Probability of a wrong verdict; default: promotion.alpha."""
    max_outcomes: Annotated[int, Field(ge=1, le=10**9)] = 100_000
    min_duration: Duration | None = None
    max_duration: Duration | None = None
    start_at: Time | None = None
    """From when on rows count, by the data's clock; default: now."""
    reason: Reason = NO_REASON


class StopRequest(Body):
    """The end of an experiment by a person."""

    reason: Reason = NO_REASON


class AcknowledgeRequest(Body):
    """Who sends it looks after an alert."""

    reason: Note = ""


class SilenceRequest(Body):
    """A time in which nobody is told of some alerts of a model."""

    kind: Annotated[str, Field(max_length=40, pattern=r"^[a-z_]+$")] | None = None
    """Only this kind of alert; default: every kind but a broken ledger."""
    subject: Annotated[Text, Field(min_length=1, max_length=300)] | None = None
    """Only subjects that match this shell pattern, such as wind_*."""
    start: Time | None = None
    """From when on; default: at once."""
    until: Time | None = None
    duration: Duration | None = None
    """How long, in place of until."""
    reason: Reason

    @model_validator(mode="after")
    def _has_one_end(self) -> SilenceRequest:
        if (self.until is None) == (self.duration is None):
            raise ValueError("give either until or duration")
        return self


class NoBody(Body):
    """A request that says nothing more."""
